"""Takes a table out of a guest: its Parquet parts into the blob store, its Arrow twin into the cache.

What a guest says about its table is hostile input: names are opened below its scratch folder only, counts and sizes are
checked against what is there, and every byte is stored under the digest that the host computes itself.
"""

from dataclasses import dataclass

import msgspec

from modelyard.container import Container
from modelyard.feature_groups.twins import keep_twin
from modelyard.sandbox import Guest
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.settings import Settings
from modelyard.storage import BlobStore, Table, TableColumn, TablePart

#: Columns that one table may have.
MOST_COLUMNS = 20_000
#: Parts that one table may have.
MOST_PARTS = 10_000


class BadTable(Exception):
    """What the guest left is no table; the message is for the user."""


class _Part(msgspec.Struct, frozen=True):
    path: str
    rows: int


class _Column(msgspec.Struct, frozen=True):
    name: str
    type: str
    nullable: bool = True


class _Reply(msgspec.Struct, frozen=True):
    parts: list[_Part]
    columns: list[_Column]
    rows: int
    twin: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """Where an arriving table goes."""

    parts: Container
    settings: Settings


def collect_table(expected: Expected, guest: Guest, result: dict[str, object]) -> Table:
    """The table that a guest described and left in its scratch folder, now ours; BadTable if there is none."""
    try:
        reply = msgspec.convert(result, _Reply)
    except msgspec.ValidationError as error:
        raise BadTable(f"The code gave no table: {error}") from error
    if not reply.parts or len(reply.parts) > MOST_PARTS or not 0 < len(reply.columns) <= MOST_COLUMNS:
        raise BadTable(f"The table has {len(reply.columns):,} columns; it must have 1 to {MOST_COLUMNS:,}")
    store = expected.parts.get(BlobStore)
    try:
        parts = tuple(_store(store, guest, part) for part in reply.parts)
    except ScratchRefused as error:
        raise BadTable(str(error)) from error
    columns = tuple(TableColumn(column.name, column.type, column.nullable) for column in reply.columns)
    table = Table(parts, columns, sum(part.rows for part in parts), sum(part.size for part in parts))
    if reply.twin is not None:
        keep_twin(expected.settings, guest, reply.twin, table)
    return table


def _store(store: BlobStore, guest: Guest, part: _Part) -> TablePart:
    with guest.open(part.path) as stream:
        blob = store.put_stream(stream)
    return TablePart(blob.digest, max(part.rows, 0), blob.size)
