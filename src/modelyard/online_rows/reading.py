"""Finds rows, and gives all of them as they stood at one moment. What is past its time is never shown.

Called by the actions of the rooms above, and by their runs that make a version of the rows.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.ids import OnlineTableId
from modelyard.online_rows.changes import WrittenRow
from modelyard.online_rows.records import OnlineRow, OnlineTable
from modelyard.online_rows.retention import floor_of

#: Rows that are fetched and joined at once while all of them are read.
ROWS_AT_ONCE = 5_000
_ROW = (OnlineRow.primary_key, OnlineRow.contents, OnlineRow.created_at, OnlineRow.updated_at)


class Moment(NamedTuple):
    """How a table stood when all of its rows were read."""

    last_change: int
    primary_key: str
    columns: dict[str, str]


def find_row(session: Session, table: OnlineTable, key: str, now: datetime) -> WrittenRow | None:
    """The row with that key."""
    found = session.execute(select(*_ROW).where(*_kept(table, now), OnlineRow.primary_key == key)).first()
    return None if found is None else WrittenRow(*found)


def find_contents(
    session: Session, table: OnlineTable, keys: Sequence[str], now: datetime
) -> Iterator[tuple[str, str]]:
    """Key and JSON of the rows that have one of the keys, in no order; read as they are asked for."""
    wanted = (*_kept(table, now), OnlineRow.primary_key.in_(keys))
    query = select(OnlineRow.primary_key, OnlineRow.contents).where(*wanted)
    for found in session.execute(query.execution_options(yield_per=100)):
        yield found.primary_key, found.contents


def newest_rows(session: Session, table: OnlineTable, count: int, now: datetime) -> list[WrittenRow]:
    """The rows that were written last, the newest first."""
    query = select(*_ROW).where(*_kept(table, now)).order_by(OnlineRow.change.desc()).limit(count)
    return [WrittenRow(*found) for found in session.execute(query)]


def get_table(session: Session, table_id: OnlineTableId) -> OnlineTable:
    """The table; LookupError where somebody above has lost it, which is a defect."""
    table = session.get(OnlineTable, table_id)
    if table is None:
        raise LookupError(f"there is no online table {table_id}")
    return table


def read_all(session: Session, table_id: OnlineTableId, clock: Clock) -> tuple[Moment, Iterator[bytes]]:
    """How the table stands, and all of its rows as JSON lines, in the order in which they were last written.

    The session must be `at_one_moment`, and stay open while the lines are read.
    """
    table = get_table(session, table_id)
    moment = Moment(table.last_change, table.primary_key, dict(table.columns))
    query = select(OnlineRow.contents).where(*_kept(table, clock())).order_by(OnlineRow.change)
    rows = session.scalars(query.execution_options(yield_per=ROWS_AT_ONCE))
    return moment, (("\n".join(some) + "\n").encode() for some in rows.partitions())


def _kept(table: OnlineTable, now: datetime) -> tuple[ColumnElement[bool], ...]:
    mine = OnlineRow.online_table_id == table.online_table_id
    floor = floor_of(table, now)
    return (mine,) if floor is None else (mine, OnlineRow.updated_at >= floor)
