"""How long rows are kept: so many hours, so many rows, or from a moment on; and the sweeper that removes the others.

Readers never see a row past its time; the sweeper, one in every agent, takes it off the disk a little later, and with
it the rows of tables that were dropped. The number of rows is kept to by whoever writes.
"""

from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement, Connection, delete, func, select
from sqlalchemy.orm import Session

from modelyard.clock import Clock, utc_now
from modelyard.database import Database
from modelyard.errors import InvalidParameterError
from modelyard.execution.companion import Companion
from modelyard.ids import OnlineTableId
from modelyard.online_rows.records import OnlineRow, OnlineTable

#: Seconds between two sweeps.
SWEEP_S = 20.0
#: Rows that one transaction of the sweeper removes.
ROWS_AT_ONCE = 5_000


class TableState(Protocol):
    """What of a table readers and writers must know: a record, or a row of one."""

    online_table_id: OnlineTableId
    primary_key: str
    columns: dict[str, str]
    last_change: int
    row_count: int
    retention_hours: int | None
    retention_row_count: int | None
    ignore_before: datetime | None


def floor_of(table: TableState, now: datetime) -> datetime | None:
    """Rows last written before it are past their time; None: none are."""
    floors = [table.ignore_before] if table.ignore_before is not None else []
    if table.retention_hours is not None:
        floors.append(now - timedelta(hours=table.retention_hours))
    return max(floors, default=None)


def set_retention(table: OnlineTable, hours: int | None, row_count: int | None, ignore_before: datetime | None) -> None:
    """Says how long rows are kept; what is None stays as it is, 0 lifts a limit."""
    for name, value in (("retentionHours", hours), ("retentionRowCount", row_count)):
        if value is not None and value < 0:
            raise InvalidParameterError(f"{name} is {value}; it must be at least 1, or 0 for no limit")
    if hours is not None:
        table.retention_hours = hours or None
    if row_count is not None:
        table.retention_row_count = row_count or None
    if ignore_before is not None:
        table.ignore_before = ignore_before
    table.last_change += 1


def drop_past_count(connection: Connection, table: TableState, count: int) -> int:
    """Removes the rows that were written first, past the number that is kept; gives how many of `count` are left."""
    limit = table.retention_row_count
    if limit is None or count <= limit:
        return count
    mine = OnlineRow.online_table_id == table.online_table_id
    newest = select(OnlineRow.change).where(mine).order_by(OnlineRow.change.desc()).offset(limit - 1).limit(1)
    least = connection.scalar(newest)
    if least is not None:
        connection.execute(delete(OnlineRow).where(mine, OnlineRow.change < least))
    return limit


def sweeper(database: Database, clock: Clock = utc_now) -> Companion:
    """What removes rows past their time, beside an agent."""
    return Companion("online-rows-sweeper", SWEEP_S, lambda: sweep(database, clock()))


def sweep(database: Database, now: datetime) -> int:
    """Removes every row past its time and every row without a table; gives how many there were."""
    with database.read() as session:
        limited = (OnlineTable.retention_hours.is_not(None)) | (OnlineTable.ignore_before.is_not(None))
        tables = session.scalars(select(OnlineTable.online_table_id).where(limited)).all()
        known = select(OnlineTable.online_table_id)
        orphans = session.scalars(
            select(OnlineRow.online_table_id).where(OnlineRow.online_table_id.not_in(known)).distinct()
        ).all()
    removed = 0
    for table_id in (*tables, *orphans):
        while some := _sweep_some(database, table_id, now):
            removed += some
    return removed


def _sweep_some(database: Database, table_id: OnlineTableId, now: datetime) -> int:
    """Removes up to ROWS_AT_ONCE rows, those that were written first; gives how many there were."""
    mine = OnlineRow.online_table_id == table_id
    with database.write() as session:
        table = session.get(OnlineTable, table_id, with_for_update=True)
        floor = floor_of(table, now) if table is not None else None
        if table is not None and floor is None:
            return 0
        oldest = select(OnlineRow.change, OnlineRow.updated_at).where(mine).order_by(OnlineRow.change)
        past = [
            change
            for change, updated_at in session.execute(oldest.limit(ROWS_AT_ONCE))
            if floor is None or updated_at < floor
        ]
        if not past:
            return 0
        _remove(session, mine, OnlineRow.change <= past[-1])
        if table is not None:
            table.last_change += 1
            table.row_count = session.scalar(select(func.count()).select_from(OnlineRow).where(mine)) or 0
        return len(past)


def _remove(session: Session, *which: ColumnElement[bool]) -> None:
    session.execute(delete(OnlineRow).where(*which).execution_options(synchronize_session=False))
