"""What every kind of place offers: files by name and size, their bytes in chunks, and a way to write one."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from modelyard.errors import AlreadyExistsError, InvalidParameterError


class File(NamedTuple):
    """A file at a location."""

    #: Its own location.
    name: str
    #: In bytes; None where the place says so only when it is read.
    size: int | None


class Place(Protocol):
    """A location that was opened. A place that can't be read or written says so by InvalidParameterError."""

    def files(self) -> list[File]:
        """The files that the location stands for, by name; at least one."""
        ...

    def read(self, file: File) -> Iterator[bytes]:
        """The bytes of one of them."""
        ...

    def write(self, name: str, chunks: Iterable[bytes], *, overwrite: bool = True) -> str:
        """Writes a file, whole or not at all, and gives its location; `name` is used where the location is a folder.

        Without `overwrite`, AlreadyExistsError where there is one.
        """
        ...

    def names(self) -> list[str]:
        """What files lie in the location itself, if it is a folder; none where there is no such folder."""
        ...

    def remove(self, name: str) -> None:
        """Removes one of them."""
        ...


def taken(location: str) -> AlreadyExistsError:
    """Says that there is a file already."""
    return AlreadyExistsError(
        f"There is a file at {location[:500]} already; choose another location, or allow to overwrite it"
    )


def refused(location: str, reason: str) -> InvalidParameterError:
    """Says what can't be done with a location."""
    return InvalidParameterError(f"The location {location[:200]!r} can't be used: {reason}")
