"""Files of this machine: `file:///data/sales.csv`, below a folder that the operator has named and nowhere else.

A location is resolved once, symbolic links and all, and must then lie below a resolved root; it is opened folder by
folder without following a link, so that what is swapped in between is refused and not followed. Folders and patterns
stand for the files below them, links among them passed over.
"""

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from modelyard.connectors.files import File, refused, taken
from modelyard.connectors.patterns import Pattern, read_pattern
from modelyard.errors import InvalidParameterError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 1024**2


class Folder:
    """A `file:` location, below one of `roots`."""

    def __init__(self, location: str, roots: tuple[Path, ...], setting: str = "file_roots") -> None:
        self._location, self._setting = location, setting
        if not roots:
            raise InvalidParameterError(
                f"No file: location can be used here: the operator has opened no folder (setting {setting}); "
                "upload the file, or download the result"
            )
        self._pattern = read_pattern(_path_of(location))
        self._root, self._start = self._resolve(roots)

    def files(self) -> list[File]:
        """The files, by their path; one that can't be opened is refused, and a location that means none."""
        if self._pattern.rule is None:
            with self._open(self._start.parts) as file:
                return [File(self._location, os.fstat(file.fileno()).st_size)]
        found = sorted(self._below())
        if not found:
            raise refused(self._location, "no file fits it")
        return found

    def read(self, file: File) -> Iterator[bytes]:
        """The file's bytes."""
        with self.open(file) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def open(self, file: File) -> BinaryIO:
        """The file for reading."""
        path = Path(_path_of(file.name))
        below = self._start.parts if self._pattern.rule is None else path.relative_to(self._root).parts
        return self._open(below)

    def path(self) -> Path:
        """Where the location's one file is, resolved; it was there, below a root, a moment ago."""
        self._open(self._start.parts).close()
        return self._root / self._start

    def write(self, name: str, chunks: Iterable[bytes], *, overwrite: bool = True) -> str:
        """Writes a file, whole or not at all, and gives its location; `name` counts where the location is a folder."""
        is_folder = self._pattern.prefix.endswith("/")
        parts = (*self._start.parts, name) if is_folder else self._start.parts
        if not parts or (self._pattern.rule is not None and not is_folder) or "/" in name or name in ("", ".", ".."):
            raise refused(self._location, "it is no place for a file")
        with self._folder(parts[:-1], make=True) as folder:
            draft, handle = self._draft(parts[-1], folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    for chunk in chunks:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                if overwrite:
                    os.rename(draft, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
                else:  # unlike a rename, a link never takes the place of a file
                    os.link(draft, parts[-1], src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                    os.unlink(draft, dir_fd=folder)
                os.fsync(folder)
            except BaseException as error:
                with contextlib.suppress(OSError):
                    os.unlink(draft, dir_fd=folder)
                if isinstance(error, FileExistsError) and not overwrite:
                    raise taken(self._location) from error
                if isinstance(error, OSError):
                    raise refused(self._location, f"it can't be written: {error.strerror}") from error
                raise
        return f"file://{quote(str(self._root.joinpath(*parts)))}"

    def _draft(self, name: str, folder: int) -> tuple[str, int]:
        try:
            _sweep_drafts(name, folder)
            return _create_draft(name, folder)
        except OSError as error:
            raise refused(self._location, f"it can't be written: {error.strerror}") from error

    def names(self) -> list[str]:
        """The files that lie in the folder itself, or the one file, if it is there."""
        if not self._pattern.prefix.endswith("/"):
            return [self._start.name] if (self._root / self._start).is_file() else []
        if not (self._root / self._start).is_dir():
            return []
        with self._folder(self._start.parts) as folder:
            return sorted(os.listdir(folder))  # noqa: PTH208 - a descriptor has no path

    def remove(self, name: str) -> None:
        """Removes a file that lies in the folder itself."""
        with self._folder(self._start.parts) as folder:
            os.unlink(name, dir_fd=folder)

    def _resolve(self, roots: tuple[Path, ...]) -> tuple[Path, Path]:
        """The root that holds the location, and the location (or the folder where its pattern begins) below it."""
        prefix = self._pattern.prefix
        start = prefix if self._pattern.rule is None else prefix[: prefix.rfind("/") + 1]
        path = Path(os.path.realpath(start))
        for root in roots:
            resolved = Path(os.path.realpath(root))
            if path.is_relative_to(resolved):
                self._pattern = _moved(self._pattern, start, path)
                return resolved, path.relative_to(resolved)
        raise refused(
            self._location, f"it lies outside of the folders that the operator has opened (setting {self._setting})"
        )

    def _below(self) -> Iterator[File]:
        """Every regular file below the start that the pattern fits."""
        top = self._root / self._start
        with self._folder(self._start.parts) as start:
            for folder, _, names, handle in os.fwalk(".", dir_fd=start, follow_symlinks=False):
                for name in names:
                    path = str(top / folder / name)
                    state = os.stat(name, dir_fd=handle, follow_symlinks=False)
                    if self._pattern.fits(path) and stat.S_ISREG(state.st_mode):
                        yield File(f"file://{quote(path)}", state.st_size)

    def _open(self, parts: tuple[str, ...]) -> BinaryIO:
        try:
            with self._folder(parts[:-1]) as folder:
                handle = os.open(parts[-1] if parts else ".", _REGULAR, dir_fd=folder)
        except OSError:
            raise refused(self._location, "there is no such file, or it may not be read") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise refused(self._location, "it is not a file")
        return os.fdopen(handle, "rb")

    @contextlib.contextmanager
    def _folder(self, names: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        try:
            handle = os.open(self._root, _DIRECTORY)
        except OSError:
            raise refused(self._location, "there is no such folder") from None
        try:
            for name in names:
                with contextlib.suppress(FileExistsError):
                    if make:
                        os.mkdir(name, 0o755, dir_fd=handle)
                handle, upper = os.open(name, _DIRECTORY, dir_fd=handle), handle
                os.close(upper)
            yield handle
        finally:
            os.close(handle)


def _moved(pattern: Pattern, start: str, resolved: Path) -> Pattern:
    """The pattern as it reads after the links in front of it were resolved."""
    if pattern.rule is None or start.rstrip("/") == str(resolved).rstrip("/"):
        return pattern
    raise InvalidParameterError("A folder or pattern in a file: location must not lead through symbolic links")


def _create_draft(name: str, folder: int) -> tuple[str, int]:
    """A new file beside the one that it is to be, locked for as long as its writer lives, and its name."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        draft = f".{name[:200]}.{secrets.token_hex(6)}"
        handle = os.open(draft, flags, 0o644, dir_fd=folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return draft, handle
        os.close(handle)  # swept by another writer before it was locked


def _sweep_drafts(name: str, folder: int) -> None:
    """Removes what writers of that file left that were killed."""
    is_draft = re.compile(re.escape(f".{name[:200]}.") + "[0-9a-f]{12}")
    for draft in filter(is_draft.fullmatch, os.listdir(folder)):
        try:
            handle = os.open(draft, _REGULAR, dir_fd=folder)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(draft, dir_fd=folder)
        except OSError:
            continue  # its writer lives
        finally:
            os.close(handle)


def _path_of(location: str) -> str:
    if "\0" in location or "\\" in location or len(location) > 4096:
        raise refused(location, "it is not a location")
    try:
        parts = urlsplit(location.replace("?", "%3F"))
    except ValueError:
        raise refused(location, "it is not a location") from None
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or parts.fragment or "\0" in path or path[:1] != "/":
        raise refused(location, "write it as file:///folder/name.csv")
    return path
