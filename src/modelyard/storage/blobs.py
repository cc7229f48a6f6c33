"""Bytes by digest: written once, never changed, found again under the sha256 of what they hold.

Every write goes to a temporary file that is synced and then renamed to its digest, so a name in the store is a whole
blob or is absent, whatever was killed when; what a killed process had begun is removed by the next one. Names are
digests only; no string of a caller ever becomes a path.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from modelyard.ids import Digest
from modelyard.storage.own_folder import OwnFolder

CHUNK = 1024**2
#: From this size on a thread of its own is little beside what it saves.
_LARGE_BYTES = 8 * 1024**2
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blob(NamedTuple):
    """A stored blob: its digest and its size in bytes."""

    digest: Digest
    size: int


class BlobStore:
    """Blobs in one folder, safe to share between threads and processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._own = OwnFolder(root / "incoming")
        self._incoming = self._own.path

    def put_bytes(self, content: bytes) -> Blob:
        """Stores `content`; storing it again is free."""
        return self.put_chunks((content,))

    def put_stream(self, stream: IO[bytes]) -> Blob:
        """Stores what `stream` still holds, a megabyte at a time."""
        return self.put_chunks(iter(lambda: stream.read(CHUNK), b""))

    def put_file(self, path: Path) -> Blob:
        """Stores a copy of the file at `path`."""
        with path.open("rb") as stream:
            return self.put_stream(stream)

    def put_chunks(self, chunks: Iterable[bytes]) -> Blob:
        """Stores the chunks one after the other as one blob."""
        hasher, size = hashlib.sha256(), 0
        temporary = self._incoming / secrets.token_hex(16)
        try:
            with temporary.open("xb") as out:
                for chunk in chunks:
                    hasher.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                _sync(out)
            digest = Digest(hasher.hexdigest())
            self._keep(temporary, digest)
        finally:
            temporary.unlink(missing_ok=True)
        return Blob(digest, size)

    def adopt(self, bring: Callable[[Path], IO[bytes]], look: Callable[[bytes], None] | None = None) -> Blob:
        """Stores a file without copying it: `bring` moves it to the path that it gets, and opens it for reading.

        Nobody else may have it open for writing. It is read once for its digest; `look` sees the same pieces.
        """
        hasher, size = hashlib.sha256(), 0
        temporary = self._incoming / secrets.token_hex(16)
        try:
            with bring(temporary) as stream, _synced(stream):
                while chunk := stream.read(CHUNK):
                    hasher.update(chunk)
                    size += len(chunk)
                    if look is not None:
                        look(chunk)
            digest = Digest(hasher.hexdigest())
            self._keep(temporary, digest)
        finally:
            temporary.unlink(missing_ok=True)
        return Blob(digest, size)

    def path(self, digest: Digest) -> Path:
        """Where the blob lies; ValueError for what is no digest."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a digest")
        return self.root / digest[:2] / digest

    def open(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, for reading; FileNotFoundError if it isn't there."""
        return self.path(digest).open("rb")

    def read(self, digest: Digest) -> bytes:
        """The whole blob in memory; for small ones."""
        return self.path(digest).read_bytes()

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self.path(digest).is_file()

    def delete(self, digest: Digest) -> None:
        """Removes the blob; nothing happens if it isn't there."""
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[Digest]:
        """All blobs that are there, in no order."""
        for folder in self.root.glob("[0-9a-f][0-9a-f]"):
            for entry in os.scandir(folder):
                if _DIGEST.fullmatch(entry.name):
                    yield Digest(entry.name)

    def delete_if_older(self, digest: Digest, before: datetime) -> int | None:
        """Removes the blob if it was stored, for the last time, before that moment; gives its size, or None.

        Storing the same bytes again makes a blob new, and can't happen between the look and the end.
        """
        path = self.path(digest)
        with self._guarded(fcntl.LOCK_EX):
            try:
                found = path.stat()
            except FileNotFoundError:
                return None
            # The moment of its rename: a file that was moved in may have been written long before.
            if found.st_ctime >= before.timestamp():
                return None
            path.unlink()
        return found.st_size

    def writer(self) -> "BlobWriter":
        """A blob written piece by piece, for callers that can't hand over an iterable."""
        return BlobWriter(self._incoming / secrets.token_hex(16), self._keep)

    def _keep(self, temporary: Path, digest: Digest) -> None:
        target = self.path(digest)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        temporary.chmod(0o400)
        with self._guarded(fcntl.LOCK_SH):
            temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _guarded(self, kind: int) -> Iterator[None]:
        """Keeps removing apart from storing: shared to store, exclusive to remove. Its holder's end frees it."""
        guard = os.open(self.root / "guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(guard, kind)
            yield
        finally:
            os.close(guard)


class BlobWriter:
    """Collects one blob; nothing is in the store until `finish`. Leaving its `with` block discards the rest."""

    def __init__(self, temporary: Path, keep: Callable[[Path, Digest], None]) -> None:
        self._temporary, self._keep = temporary, keep
        self._out = temporary.open("xb")
        self._hasher = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Adds `chunk` to the blob."""
        self._hasher.update(chunk)
        self.size += len(chunk)
        self._out.write(chunk)

    def finish(self) -> Blob:
        """Syncs the blob and puts it into the store."""
        _sync(self._out)
        self._out.close()
        digest = Digest(self._hasher.hexdigest())
        self._keep(self._temporary, digest)
        return Blob(digest, self.size)

    def __enter__(self) -> "BlobWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()
        self._temporary.unlink(missing_ok=True)


def _sync(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


@contextmanager
def _synced(stream: IO[bytes]) -> Iterator[None]:
    """On the disk when the block has ended well. A large file is synced while the block reads it."""
    if os.fstat(stream.fileno()).st_size < _LARGE_BYTES:
        yield
        os.fsync(stream.fileno())
        return
    with ThreadPoolExecutor(1, thread_name_prefix="blob-sync") as disk:
        synced = disk.submit(os.fsync, stream.fileno())
        yield
        synced.result()
