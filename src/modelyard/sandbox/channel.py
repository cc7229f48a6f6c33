"""The host's end of the one socket between host and guest: length-prefixed JSON, and open files beside it.

A frame is four bytes of length, big-endian, then JSON. Whatever comes from the guest may be a lie: the length is
limited, the JSON is decoded into typed records, file descriptors are never accepted.
"""

import array
import contextlib
import json
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

#: Largest frame that a guest may send; big results travel as files.
FRAME_LIMIT = 64 * 1024**2
#: File descriptors that one message of the kernel carries at most (SCM_MAX_FD is 253).
FDS_A_MESSAGE = 200
_HEADER = struct.Struct("!I")


class WireError(msgspec.Struct, frozen=True):
    """A failure as the guest tells it."""

    kind: Literal["exception", "unpicklable", "memory", "exit"]
    type: str
    value: str
    traceback: str = ""


#: One line of metrics.jsonl: names, and finite numbers, texts and flags.
Step = dict[str, str | float | bool]


class Frame(msgspec.Struct, frozen=True):
    """Anything that a guest may say: it is ready, a user function begins, steps of a training, the answer."""

    event: Literal["ready", "started", "steps", "reply"]
    at: float | None = None
    result: dict[str, Any] | None = None
    error: WireError | None = None
    #: Place of the first of the steps; those that were told from there on are void.
    first: int = 0
    steps: list[Step] | None = None


class ChannelClosed(Exception):
    """The guest's end is closed."""


class ChannelGarbage(Exception):
    """The guest sent something that is no frame."""


class Channel:
    """Frames over one connected socket. Used by one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._decoder = msgspec.json.Decoder(Frame)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: dict[str, object], fds: Sequence[int] = ()) -> None:
        """Sends one frame; it tells how many `fds` there are, and they follow in small messages of their own."""
        body = json.dumps({**message, "fds": len(fds)}).encode()
        try:
            self._socket.settimeout(30)
            self._socket.sendall(_HEADER.pack(len(body)) + body)
            for start in range(0, len(fds), FDS_A_MESSAGE):
                rights = array.array("i", fds[start : start + FDS_A_MESSAGE])
                self._socket.sendmsg([b"F"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, deadline: float | None, tick: Callable[[], None]) -> Frame | None:
        """The next frame; None when `deadline` (time.monotonic) has passed. `tick` is called ten times a second."""
        while (frame := self._parse()) is None:
            tick()
            wait = 0.1 if deadline is None else min(0.1, deadline - time.monotonic())
            if wait <= 0:
                return None
            if select.select([self._socket], [], [], wait)[0]:
                self._fill()
        return frame

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _fill(self) -> None:
        try:
            # `recv` drops descriptors that a guest may have sent along: the kernel closes them.
            data = self._socket.recv(1 << 18)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not data:
            raise ChannelClosed("end of stream")
        self._buffer += data

    def _parse(self) -> Frame | None:
        if len(self._buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._buffer)
        if length > FRAME_LIMIT:
            raise ChannelGarbage(f"a message of {length} bytes, more than {FRAME_LIMIT}")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ChannelGarbage("a message that is not what it should be") from error
