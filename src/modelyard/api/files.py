"""Bytes of files on their way out: pieces are read in a thread, each sent as it is.

Pieces of a megabyte were quicker than such of four, which fall out of the processor's caches between the read and the
send; for much smaller ones the way to the thread and back would count. Whoever leaves in the middle ends the reading.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelyard.actions import FileBytes

_PIECE = 1024**2
#: Answers up to this size go out without an ear for whether their reader is still there.
_SHORT = 16 * 1024**2
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class FileResponse(Response):
    """A piece of a file."""

    def __init__(self, piece: FileBytes, headers: Mapping[str, str], status: int = 200) -> None:
        size = piece.path.stat().st_size
        self._path, self._offset = piece.path, piece.offset
        self._left = max(min(piece.length, size - piece.offset), 0)
        given = {"content-length": str(self._left), **headers}
        super().__init__(None, status, given, "application/octet-stream")
        self.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
        self.raw_headers.append((b"content-type", b"application/octet-stream"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD" or not self._left:
            await send({"type": "http.response.body", "body": b""})
            return
        gone = asyncio.ensure_future(_disconnected(receive)) if self._left > _SHORT else None
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._send(descriptor, gone, send)
        finally:
            os.close(descriptor)
            if gone is not None:
                gone.cancel()

    async def _send(self, descriptor: int, gone: "asyncio.Future[None] | None", send: Send) -> None:
        offset, left = self._offset, self._left
        while left and not (gone is not None and gone.done()):
            data = await asyncio.to_thread(os.pread, descriptor, min(left, _PIECE), offset)
            if not data:
                raise OSError("the file became shorter")
            offset, left = offset + len(data), left - len(data)
            await send({"type": "http.response.body", "body": data, "more_body": left > 0})


def ranged(path: Path, wanted: str | None, headers: Mapping[str, str]) -> FileResponse:
    """The whole file, or the one range of bytes that the header `Range` asks for."""
    size = path.stat().st_size
    headers = {"accept-ranges": "bytes", **headers}
    found = _RANGE.fullmatch(wanted or "")
    if not found or not (found[1] or found[2]):
        return FileResponse(FileBytes(path, 0, size), headers)
    start = int(found[1]) if found[1] else max(size - int(found[2]), 0)
    end = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if start >= size or end < start:
        return FileResponse(FileBytes(path, 0, 0), {**headers, "content-range": f"bytes */{size}"}, 416)
    headers["content-range"] = f"bytes {start}-{end}/{size}"
    return FileResponse(FileBytes(path, start, end - start + 1), headers, 206)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
