"""Files by location: `file:///data/sales.csv`, below one of the folders of the setting `file_roots` and nowhere else.

A location is resolved once, symbolic links and all, and must then lie below a resolved root; it is opened folder by
folder without following a link, so that what is swapped in between is refused and not followed.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def check_location(settings: Settings, location: str) -> None:
    """Raises InvalidParameterError unless `open_location` would give a file now."""
    open_location(settings, location).close()


def open_location(settings: Settings, location: str) -> BinaryIO:
    """The file at that location, for reading; InvalidParameterError says what can't be read and what could."""
    root, below = _resolve(settings, location)
    try:
        handle = _open_below(root, below.parts)
    except OSError:
        raise _refused(location, "there is no such file, or it may not be read") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _refused(location, "it is not a file")
    return os.fdopen(handle, "rb")


def _resolve(settings: Settings, location: str) -> tuple[Path, Path]:
    """The root that holds the location, and the location below it."""
    if not settings.file_roots:
        raise InvalidParameterError(
            "No location can be read here: the operator has opened no folder (setting file_roots); upload the file"
        )
    path = Path(os.path.realpath(_path_of(location)))
    for root in settings.file_roots:
        resolved = Path(os.path.realpath(root))
        if path.is_relative_to(resolved):
            return resolved, path.relative_to(resolved)
    raise _refused(location, "it lies outside of the folders that the operator has opened (setting file_roots)")


def _path_of(location: str) -> str:
    if "\0" in location or "\\" in location or len(location) > 4096:
        raise _refused(location, "it is not a location")
    try:
        parts = urlsplit(location)
    except ValueError:
        raise _refused(location, "it is not a location") from None
    if parts.scheme != "file":
        kind = f"{parts.scheme}: locations" if parts.scheme else "locations without a scheme"
        raise InvalidParameterError(
            f"{kind} can't be read here, only file: ones below the operator's folders (file:///folder/name.csv); "
            "or upload the file with createDatasetFromUpload"
        )
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or "\0" in path or path[:1] != "/":
        raise _refused(location, "write it as file:///folder/name.csv")
    return path


def _open_below(root: Path, names: tuple[str, ...]) -> int:
    handle = os.open(root, _DIRECTORY)
    try:
        for name in names[:-1]:
            handle, upper = os.open(name, _DIRECTORY, dir_fd=handle), handle
            os.close(upper)
        return os.open(names[-1] if names else ".", _REGULAR, dir_fd=handle)
    finally:
        os.close(handle)


def _refused(location: str, reason: str) -> InvalidParameterError:
    return InvalidParameterError(f"The location {location[:200]!r} can't be read: {reason}")
