"""What a table version is at rest: Parquet blobs by digest, the columns, the counts.

A `Table` is kept as JSON in the row of the version that owns it. For guests a table has an uncompressed Arrow IPC twin
in the agent's cache (`arrow_path`), which is made anew whenever it is missing. The host never opens either.
"""

import hashlib
from pathlib import Path

import msgspec

from modelyard.ids import Digest


class TableColumn(msgspec.Struct, frozen=True, rename="camel"):
    """A column: its name, its Arrow type as text (`int64`, `timestamp[us]` ...), and whether it holds nulls."""

    name: str
    type: str
    nullable: bool = True


class TablePart(msgspec.Struct, frozen=True, rename="camel"):
    """One Parquet blob of the table."""

    digest: Digest
    rows: int
    size: int


class Table(msgspec.Struct, frozen=True, rename="camel"):
    """An immutable table: its parts in order, its columns, rows in all, Parquet bytes in all."""

    parts: tuple[TablePart, ...]
    columns: tuple[TableColumn, ...]
    rows: int
    size: int

    @property
    def digest(self) -> Digest:
        """What the table holds, as one name: equal for equal parts in equal order."""
        return Digest(hashlib.sha256("\n".join(part.digest for part in self.parts).encode()).hexdigest())


def arrow_path(cache: Path, table: Table) -> Path:
    """Where the table's Arrow IPC twin lies in an agent's cache, if it is there."""
    return cache / f"{table.digest}.arrow"
