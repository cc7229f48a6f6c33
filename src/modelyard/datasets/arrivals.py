"""Takes a table out of a guest: its Parquet parts into the blob store, its Arrow twin into the cache.

Imports, queries and functions all end here. What a guest says about its table is hostile input: names are opened below
its scratch folder only, counts and sizes are checked against what is there, and every byte is stored under the digest
that the host computes itself. The host never looks into the bytes.
"""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from modelyard.container import Container
from modelyard.sandbox import Guest
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.settings import Settings
from modelyard.storage import BlobStore, Table, TableColumn, TablePart
from modelyard.storage.tables import arrow_path

#: Columns that one table may have.
MOST_COLUMNS = 20_000
#: Parts that one table may have.
MOST_PARTS = 10_000


class BadTable(Exception):
    """What the guest left is no table; the message is for the user."""


class _Part(msgspec.Struct, frozen=True):
    path: str
    rows: int


class _Reply(msgspec.Struct, frozen=True):
    parts: list[_Part]
    columns: list[TableColumn]
    twin: str | None = None


def collect_table(parts: Container, settings: Settings, guest: Guest, result: dict[str, object]) -> Table:
    """The table that a guest described and left in its scratch folder, now ours; BadTable if there is none."""
    try:
        reply = msgspec.convert(result, _Reply)
    except msgspec.ValidationError as error:
        raise BadTable(f"There is no table: {error}") from error
    if not reply.parts or len(reply.parts) > MOST_PARTS or not 0 < len(reply.columns) <= MOST_COLUMNS:
        raise BadTable(f"The table has {len(reply.columns):,} columns; it must have 1 to {MOST_COLUMNS:,}")
    store = parts.get(BlobStore)
    try:
        kept = tuple(_store(store, guest, part) for part in reply.parts)
        table = Table(kept, tuple(reply.columns), sum(part.rows for part in kept), sum(part.size for part in kept))
        if reply.twin is not None:
            keep_twin(settings, guest, reply.twin, table)
    except ScratchRefused as error:
        raise BadTable(str(error)) from error
    return table


def keep_twin(settings: Settings, guest: Guest, name: str, table: Table) -> None:
    """Puts the Arrow file that a guest left into the cache; ScratchRefused if there is none."""
    path = twin_path(settings, table)
    if not path.exists():
        with _arriving(path) as temporary:
            guest.take(name, temporary).close()


def twin_path(settings: Settings, table: Table) -> Path:
    """Where the table's Arrow twin lies, if it is there."""
    return arrow_path(settings.cache_dir / "tables", table)


def _store(store: BlobStore, guest: Guest, part: _Part) -> TablePart:
    blob = store.adopt(lambda target: guest.take(part.path, target))
    return TablePart(blob.digest, max(part.rows, 0), blob.size)


@contextlib.contextmanager
def _arriving(path: Path) -> Iterator[Path]:
    """A temporary file that takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
