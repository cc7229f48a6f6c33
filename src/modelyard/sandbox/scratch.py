"""The scratch folders of guests: made, read back without trusting a single name in them, and removed.

What a guest left is listed and opened relative to a directory descriptor, never through a path that it could have
bent: no symbolic link is followed, nothing but regular files is opened, and count, depth and bytes are limited.
"""

import contextlib
import fcntl
import io
import os
import secrets
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modelyard.sandbox.processes import end_orphans

#: The guest's own corner of its working directory: artifacts and results, not the user's files.
PRIVATE = ".modelyard"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DEPTH_LIMIT = 64


class ScratchRefused(Exception):
    """The guest left more, or something else, than is allowed; the message is for the user."""


@dataclass(frozen=True, slots=True)
class ScratchFile:
    """A regular file in a guest's working directory. `name` is relative, with `/` between its parts."""

    name: str
    size: int
    executable: bool = False


class ScratchRoot:
    """The folder in which this process keeps its guests' scratch folders; those of dead processes are swept."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(root)
        self._folder = root / secrets.token_hex(8)
        self._folder.mkdir(mode=0o700)
        # Held as long as this process lives: the sign that the folder is in use.
        self._lock = os.open(self._folder, _DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._closed = False

    def make(self, owner: int | None) -> Path:
        """A new empty scratch folder that user id `owner` may write."""
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        if owner is not None:
            os.chown(folder, owner, owner)
        return folder

    def close(self) -> None:
        remove(self._folder)
        if not self._closed:
            self._closed = True
            os.close(self._lock)


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        try:
            lock = os.open(folder, _DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end_orphans(folder)
            remove(folder)
        except OSError:
            continue  # its process lives
        finally:
            os.close(lock)


def files(folder: Path, *, private: bool = False, count: int = 10_000, total: int | None = None) -> list[ScratchFile]:
    """The regular files below `folder`, sorted by name. Links, devices, sockets and pipes are left out.

    `private` includes the guest's own corner. ScratchRefused when there are more than `count` or `total` bytes.
    """
    found: list[ScratchFile] = []
    size = 0
    root = os.open(folder, _DIRECTORY)
    try:
        for parts, entry in _walk(root, private):
            found.append(ScratchFile("/".join(parts), entry.st_size, bool(entry.st_mode & 0o100)))
            size += entry.st_size
            if len(found) > count:
                raise ScratchRefused(f"The code left more than {count} files in the working directory.")
            if total is not None and size > total:
                raise ScratchRefused(f"The code left more than {total} bytes of files in the working directory.")
    finally:
        os.close(root)
    return sorted(found, key=lambda file: file.name)


def open_file(folder: Path, name: str) -> IO[bytes]:
    """Opens the regular file `name` below `folder`, following no link. ScratchRefused if it is no such file."""
    parts = name.split("/")
    if not all(parts) or any(part in (".", "..") for part in parts) or "\0" in name:
        raise ScratchRefused(f"{name!r} names no file of the working directory.")
    root = os.open(folder, _DIRECTORY)
    try:
        with _directory(root, tuple(parts[:-1])) as directory:
            handle = os.open(parts[-1], _REGULAR, dir_fd=directory)
    except OSError as error:
        raise ScratchRefused(f"The file {name!r} can't be read: {error.strerror}.") from None
    finally:
        os.close(root)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ScratchRefused(f"{name!r} is not a regular file.")
    return os.fdopen(handle, "rb")


def take_file(folder: Path, name: str, target: Path, *, may_move: bool) -> IO[bytes]:
    """Puts the regular file `name` at `target`, owned and readable by us alone, and opens it for reading.

    With `may_move` it is moved, where it has no second name and lies on the same file system; else it is copied.
    """
    source = open_file(folder, name)
    try:
        if may_move and os.fstat(source.fileno()).st_nlink == 1 and _moved(folder, name, source.fileno(), target):
            return source
        with target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1024**2)
    except BaseException:
        source.close()
        raise
    source.close()
    return target.open("rb")


def _moved(folder: Path, name: str, handle: int, target: Path) -> bool:
    *parents, last = name.split("/")
    root = os.open(folder, _DIRECTORY)
    try:
        with _directory(root, tuple(parents)) as directory:
            os.rename(last, target, src_dir_fd=directory)
    except OSError:
        return False  # another file system
    finally:
        os.close(root)
    if not os.path.samestat(os.fstat(handle), target.stat(follow_symlinks=False)):
        target.unlink()
        raise ScratchRefused(f"The file {name!r} was replaced by another.")
    os.fchown(handle, os.geteuid(), os.getegid())
    os.fchmod(handle, 0o600)
    return True


def pack(folder: Path, target: IO[bytes], *, count: int = 10_000, total: int | None = None) -> list[ScratchFile]:
    """Writes the user's files below `folder` into `target` as one uncompressed tar; gives what is in it.

    The bytes depend on names and contents alone: the same files give the same archive.
    """
    listed = files(folder, count=count, total=total)
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for file in listed:
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode = file.size, 0o755 if file.executable else 0o644
            with open_file(folder, file.name) as source:
                archive.addfile(entry, _Exactly(source, file.size))
    return listed


class _Exactly(io.RawIOBase):
    """Reads exactly `size` bytes of a file, padding with zeros if it shrank meanwhile."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source, self._left = source, size

    def read(self, size: int = -1) -> bytes:
        want = self._left if size < 0 else min(size, self._left)
        data = self._source.read(want)
        self._left -= want
        return data + bytes(want - len(data))


def used_bytes(folder: Path) -> int:
    """Bytes that the files below `folder` take on disk. ScratchRefused where they are nested beyond reason."""
    total = 0
    root = os.open(folder, _DIRECTORY)
    try:
        for _, entry in _walk(root, private=True, depth=1000):
            total += entry.st_blocks * 512
    finally:
        os.close(root)
    return total


def _walk(root: int, private: bool, depth: int = _DEPTH_LIMIT) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
    pending: list[tuple[str, ...]] = [()]
    while pending:
        parts = pending.pop()
        if len(parts) > depth:
            raise ScratchRefused(f"The code left folders nested deeper than {depth}.")
        with contextlib.suppress(OSError), _directory(root, parts) as directory:
            for name in os.listdir(directory):  # noqa: PTH208 - a descriptor has no path
                if not parts and name == PRIVATE and not private:
                    continue
                with contextlib.suppress(OSError):
                    entry = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if stat.S_ISDIR(entry.st_mode):
                        pending.append((*parts, name))
                    elif stat.S_ISREG(entry.st_mode) and _is_text(name):
                        yield (*parts, name), entry


@contextlib.contextmanager
def _directory(root: int, parts: tuple[str, ...]) -> Iterator[int]:
    handle = os.dup(root)
    try:
        for part in parts:
            handle, upper = os.open(part, _DIRECTORY, dir_fd=handle), handle
            os.close(upper)
        yield handle
    finally:
        os.close(handle)


def _is_text(name: str) -> bool:
    """Whether the name is honest UTF-8: others could not be told to a caller."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def remove(folder: Path) -> None:
    """Removes `folder` and all below it, however deep a guest has nested it, following no link."""
    try:
        root = os.open(folder, _DIRECTORY)
    except OSError:
        return
    try:
        _flatten(root)
    finally:
        os.close(root)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _flatten(root: int) -> None:
    """Deletes everything below `root`, moving each folder's folders up to `root` first: no recursion, no deep path."""
    number = 0
    pending = [""]
    while pending:
        name = pending.pop()
        with contextlib.suppress(OSError):
            if name:
                os.chmod(name, 0o700, dir_fd=root)
            directory = os.open(name or ".", _DIRECTORY, dir_fd=root)
            try:
                for entry in os.listdir(directory):  # noqa: PTH208 - a descriptor has no path
                    if not stat.S_ISDIR(os.stat(entry, dir_fd=directory, follow_symlinks=False).st_mode):
                        os.unlink(entry, dir_fd=directory)
                        continue
                    number += 1
                    moved = f"{secrets.token_hex(8)}-{number}"
                    os.chmod(entry, 0o700, dir_fd=directory)
                    os.rename(entry, moved, src_dir_fd=directory, dst_dir_fd=root)
                    pending.append(moved)
            finally:
                os.close(directory)
            if name:
                os.rmdir(name, dir_fd=root)
