"""The task `unpack_code`: an archive that somebody sent, a zip or a tar, as plain files in the working directory.

The one place where a foreign archive is opened, and it is a guest's. Nothing but folders and regular files comes out of
it, each once, below the working directory, under a name that means the same on every system; all else refuses the
archive as a whole. The host packs the files anew and keeps that.
"""

import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from .failures import Refused

if TYPE_CHECKING:
    from .work import Work

_CHUNK = 1024**2
_NAME_LIMIT = 1_000
_PART_LIMIT = 200
_DEPTH_LIMIT = 50
#: What archivers and systems leave behind; nobody's code.
_LITTER = ("__MACOSX", "__pycache__", ".DS_Store", ".git")


class _Member(NamedTuple):
    name: str
    #: What the archive says that it is: a permission and a type, as of `stat`.
    mode: int
    content: IO[bytes] | None


class _Room:
    """What may still come out of the archive."""

    def __init__(self, files: int, size: int) -> None:
        self.files_limit, self.size_limit = files, size
        self._files, self._size = files, size
        #: Name without regard to case -> the name.
        self._taken: dict[str, str] = {}

    def take_file(self, name: str) -> None:
        """One more file of that name, and the folders above it."""
        self._files -= 1
        if self._files < 0:
            raise _refused(f"it holds more than {self.files_limit:,} files (code_files)")
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            self._take("/".join(parts[:count]), is_file=count == len(parts))

    def take_bytes(self, count: int) -> None:
        self._size -= count
        if self._size < 0:
            raise _refused(f"it unpacks to more than {self.size_limit:,} bytes (code_unpacked_limit)")

    def _take(self, name: str, *, is_file: bool) -> None:
        shown = name if is_file else f"{name}/"
        before = self._taken.setdefault(name.casefold(), shown)
        if before != shown:
            raise _refused(f"{before!r} and {shown!r} can't stand beside each other on every system")
        if is_file and os.path.lexists(name):
            raise _refused(f"it holds {name!r} twice")


def unpack_code(work: "Work") -> dict[str, object]:
    """Message: kind (zip, tar), files_limit, size_limit. File: the archive."""
    message: dict[str, Any] = work.message
    room = _Room(int(message["files_limit"]), int(message["size_limit"]))
    os.umask(0o077)
    try:
        with os.fdopen(work.fds[0], "rb") as archive:
            for member in (_of_zip if message["kind"] == "zip" else _of_tar)(archive, room):
                _keep(member, room)
    except (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise _refused(str(error)) from None
    return {}


def _keep(member: _Member, room: _Room) -> None:
    name = _checked(member.name)
    kind = stat.S_IFMT(member.mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(f"{name!r} is a link or a device; only folders and regular files can be code")
    if member.content is None or any(part in _LITTER for part in name.split("/")):
        return
    room.take_file(name)
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    with member.content as packed, open(name, "xb") as out:
        while chunk := packed.read(_CHUNK):
            room.take_bytes(len(chunk))
            out.write(chunk)
    if member.mode & 0o100:
        os.chmod(name, 0o700)


def _checked(name: str) -> str:
    """The name, if it means a place below the working directory and the same one everywhere."""
    plain = name.rstrip("/")
    parts = plain.split("/")
    if len(name) > _NAME_LIMIT or len(parts) > _DEPTH_LIMIT or any(len(part.encode()) > _PART_LIMIT for part in parts):
        raise _refused(f"the name {name[:80]!r}... is too long")
    if any(part in ("", ".", "..") for part in parts):
        raise _refused(f"{name!r} leads out of the archive, or is no plain relative name")
    if "\\" in name or any(ord(letter) < 32 or letter == "\x7f" for letter in name) or parts[0][1:2] == ":":
        raise _refused(f"{name!r} holds a backslash, a drive or a control character")
    if parts[0] == ".modelyard":
        raise _refused(f"{name!r}: the folder .modelyard is the platform's own")
    return plain


def _of_zip(archive: IO[bytes], room: _Room) -> Iterator[_Member]:
    _check_count(archive, room)
    with zipfile.ZipFile(archive) as opened:
        for item in opened.infolist():
            if item.flag_bits & 1:
                raise _refused(f"{item.filename!r} is encrypted")
            # `filename` ends at a NUL and has had its backslashes turned; the name as it stands is the one to judge.
            name, mode = item.orig_filename, item.external_attr >> 16
            yield _Member(name, mode, None if name.endswith("/") else opened.open(item))


def _of_tar(archive: IO[bytes], room: _Room) -> Iterator[_Member]:
    del room
    with tarfile.open(fileobj=archive, mode="r|*") as opened:
        for item in opened:
            if item.isdir():
                yield _Member(item.name, stat.S_IFDIR, None)
            elif item.isreg():
                yield _Member(item.name, stat.S_IFREG | item.mode, opened.extractfile(item))
            else:
                yield _Member(item.name, stat.S_IFLNK, None)


def _check_count(archive: IO[bytes], room: _Room) -> None:
    """Refuses a directory of a million entries before it is read into memory; a false count is noticed later."""
    size = archive.seek(0, os.SEEK_END)
    archive.seek(max(0, size - 65_557))
    tail = archive.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise _refused("it is no zip file")
    (count, length) = struct.unpack_from("<HI", tail, at + 10)
    if count > 2 * room.files_limit + 1_000 or length > 2_000 * (room.files_limit + 1_000):
        raise _refused(f"it has {count:,} entries or more, and may hold {room.files_limit:,} files (code_files)")


def _refused(reason: str) -> Refused:
    return Refused(f"The archive can't be used as code: {reason}.", "ValueError")
