"""What every kind of place offers: files by name and size, their bytes in chunks, and a way to write one."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from modelyard.errors import InvalidParameterError


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

    def write(self, name: str, chunks: Iterable[bytes]) -> str:
        """Writes a file and gives its location; `name` is used where the location is a folder."""
        ...


def refused(location: str, reason: str) -> InvalidParameterError:
    """Says what can't be done with a location."""
    return InvalidParameterError(f"The location {location[:200]!r} can't be used: {reason}")
