"""What the readers of formats share: the uploaded file, how it is to be read, and what was found in it."""

import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

_HEAD_BYTES = 64 * 1024


class Again(Exception):
    """The table must be read once more, with these options: what was guessed of the file did not hold."""

    def __init__(self, **changes: bool) -> None:
        super().__init__(str(changes))
        self.changes: dict[str, Any] = dict(changes)


@dataclass(frozen=True)
class Options:
    """How the user says that the file is to be read."""

    format: str | None = None
    delimiter: str | None = None
    escape: str = '"'
    #: Files of one archive may have different columns; what one lacks is null there.
    merge_schemas: bool = False
    #: The sheet of a spreadsheet.
    sheet: str | None = None
    #: Column -> the data type that somebody said it has; such columns are read as text where the format has no types.
    column_types: dict[str, str] = field(default_factory=dict)
    #: Limits of the guest, for the engine.
    limits: dict[str, Any] = field(default_factory=dict)
    #: Bytes that archives may unpack to.
    unpacked_limit: int = 10 * 1024**3
    #: Types are not guessed by the first rows and checked, but taken from a pass of its own over the whole file.
    exact: bool = False
    #: The engine gets little memory, which is enough for all but very long rows.
    frugal: bool = True

    @classmethod
    def of(cls, message: dict[str, Any]) -> "Options":
        return cls(
            format=message.get("format"),
            delimiter=message.get("delimiter"),
            escape=message.get("escape") or '"',
            merge_schemas=bool(message.get("merge_schemas")),
            sheet=message.get("sheet"),
            column_types=dict(message.get("column_types") or {}),
            limits={name: message[name] for name in ("memory_gib", "scratch_gib", "threads") if name in message},
            unpacked_limit=int(float(message.get("scratch_gib", 10)) * 1024**3 / 3),
        )


@dataclass(frozen=True)
class Source:
    """A regular file in one piece, behind an open descriptor."""

    descriptor: int
    size: int
    head: bytes
    #: What to call it in messages: the file, or a member of an archive.
    name: str = "The file"

    @classmethod
    def of(cls, descriptor: int, name: str = "The file") -> "Source":
        size = os.fstat(descriptor).st_size
        return cls(descriptor, size, os.pread(descriptor, _HEAD_BYTES, 0), name)

    @property
    def path(self) -> str:
        """A path under which libraries can open it again."""
        return f"/proc/self/fd/{self.descriptor}"

    def open(self) -> IO[bytes]:
        """The file from its beginning."""
        file = os.fdopen(os.dup(self.descriptor), "rb")
        file.seek(0)
        return file

    def mapped(self) -> "pyarrow.BufferReader":
        """The file as Arrow reads it without copying."""
        import pyarrow

        return pyarrow.BufferReader(pyarrow.py_buffer(mmap.mmap(self.descriptor, 0, prot=mmap.PROT_READ)))


@dataclass(frozen=True)
class Found:
    """A table as it comes out of a file: its columns, its rows once, and what was noticed on the way."""

    schema: "pyarrow.Schema"
    batches: "Iterable[pyarrow.RecordBatch]"
    inspected: dict[str, Any] = field(default_factory=dict)
