"""Writes rows: what several callers want at the same moment is committed together.

Each caller waits for its own change, which is durable when `write` returns. Whoever gets hold of the pen writes for all
who wait behind it, in one transaction, in the order in which they came; the others find their work done. A commit to
disk costs as much for a hundred rows as for one, so the more callers there are, the cheaper a row.
"""

import threading
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import Executable, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.database import Database
from modelyard.errors import AlreadyExistsError, ApiError, DataNotFoundError
from modelyard.ids import OnlineTableId
from modelyard.online_rows.changes import Change, Row, Verb, WrittenRow, merge_kinds
from modelyard.online_rows.reading import floor_of
from modelyard.online_rows.records import OnlineRow, OnlineTable
from modelyard.online_rows.retention import drop_past_count

#: Rows that one transaction may write, so that nobody waits long for the database.
MOST_ROWS = 20_000
#: Keys that one query asks for.
KEYS_AT_ONCE = 5_000


class _Job:
    """One caller's change, and what became of it."""

    def __init__(self, table_id: OnlineTableId, change: Change) -> None:
        self.table_id, self.change = table_id, change
        self.is_done = False
        self.written: list[WrittenRow] = []
        self.error: BaseException | None = None


class RowWriter:
    """The one pen of this process; a part of the house. Thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._pen = threading.Lock()
        self._waiting: deque[_Job] = deque()

    def write(self, table_id: OnlineTableId, change: Change) -> list[WrittenRow]:
        """Makes the change and gives its rows as they were written. When it returns, they are on disk.

        DataNotFoundError: the table, or a row that was to go, isn't there. AlreadyExistsError: an appended key is there
        already. InvalidParameterError: a value is of another kind than its column. Nothing of the change happened then.
        """
        job = _Job(table_id, change)
        self._waiting.append(job)
        with self._pen:
            while not job.is_done:
                self._write_some(self._take())
        if job.error is not None:
            raise job.error
        return job.written

    def _take(self) -> list[_Job]:
        jobs: list[_Job] = []
        rows = 0
        while self._waiting and (not jobs or rows + len(self._waiting[0].change.rows) <= MOST_ROWS):
            jobs.append(self._waiting.popleft())
            rows += len(jobs[-1].change.rows)
        return jobs

    def _write_some(self, jobs: Sequence[_Job]) -> None:
        try:
            with self._database.write() as session:
                # By id, so that two gateways that write to the same tables lock them in the same order.
                ordered = sorted(jobs, key=lambda job: job.table_id)
                for table_id, theirs in groupby(ordered, key=lambda job: job.table_id):
                    _write_table(session, table_id, list(theirs), self._clock())
        except BaseException as error:  # noqa: BLE001 - every caller hears of it in its own thread
            for job in jobs:
                job.error = job.error or error
        finally:
            for job in jobs:
                job.is_done = True


def _write_table(session: Session, table_id: OnlineTableId, jobs: Sequence[_Job], now: datetime) -> None:
    table = session.get(OnlineTable, table_id, with_for_update=True)
    if table is None:
        for job in jobs:
            job.error = DataNotFoundError("The table was deleted meanwhile")
        return
    page = _Page(session, table, [row.key for job in jobs for row in job.change.rows], now)
    for job in jobs:
        try:
            job.written = page.apply(job.change)
        except ApiError as error:
            job.error = error
    page.save(session)


class _Page:
    """The rows of one table that a transaction is about: as they are, then as they are to be."""

    def __init__(self, session: Session, table: OnlineTable, keys: Sequence[str], now: datetime) -> None:
        self._table, self._now = table, now
        self._columns: dict[str, str] = dict(table.columns)
        #: Key -> the moment of its creation.
        self._there = _created(session, table, keys, now)
        self._count_before = len(self._there)
        self._new: dict[str, dict[str, object]] = {}
        self._gone: set[str] = set()

    def apply(self, change: Change) -> list[WrittenRow]:
        """Takes the change into account; an error leaves everything as it was."""
        if change.verb == Verb.DELETE:
            return self._delete(change.rows)
        columns = dict(self._columns)
        keys: set[str] = set()
        for place, row in enumerate(change.rows, 1):
            columns |= merge_kinds(columns, row, place)
            if change.verb == Verb.APPEND and (row.key in self._there or row.key in keys):
                raise AlreadyExistsError(
                    f"Row {place}: there is a row with the {self._table.primary_key} {row.key[:100]!r} already; "
                    "upsertData changes it"
                )
            keys.add(row.key)
        self._columns = columns
        return [self._put(row) for row in change.rows]

    def save(self, session: Session) -> None:
        """Writes what is different now."""
        table = self._table
        gone = self._gone - self._new.keys()
        if gone:
            _delete_keys(session, table, list(gone))
        if self._new:
            session.execute(_UPSERTS[session.get_bind().dialect.name], list(self._new.values()))
        table.row_count += len(self._there) - self._count_before
        if self._columns != table.columns:
            table.columns = self._columns
        drop_past_count(session, table)

    def _put(self, row: Row) -> WrittenRow:
        self._table.last_change += 1
        created_at = self._there.setdefault(row.key, self._now)
        self._new[row.key] = {
            "online_table_id": self._table.online_table_id,
            "primary_key": row.key,
            "contents": row.contents,
            "change": self._table.last_change,
            "created_at": created_at,
            "updated_at": self._now,
        }
        return WrittenRow(row.key, row.contents, created_at, self._now)

    def _delete(self, rows: Sequence[Row]) -> list[WrittenRow]:
        missing = next((row.key for row in rows if row.key not in self._there), None)
        if missing is not None:
            raise DataNotFoundError(f"There is no row with the {self._table.primary_key} {missing[:100]!r}")
        for row in rows:
            self._table.last_change += 1
            self._there.pop(row.key, None)
            self._new.pop(row.key, None)
            self._gone.add(row.key)
        return []


def _created(session: Session, table: OnlineTable, keys: Sequence[str], now: datetime) -> dict[str, datetime]:
    """When those of the keys that are there were created. A row past its time counts as gone, and is."""
    floor = floor_of(table, now)
    found: dict[str, datetime] = {}
    past: list[str] = []
    wanted = list(dict.fromkeys(keys))
    for begin in range(0, len(wanted), KEYS_AT_ONCE):
        some = wanted[begin : begin + KEYS_AT_ONCE]
        for key, created_at, updated_at in session.execute(
            _CREATED, {"table": table.online_table_id, "keys": some}
        ).tuples():
            if floor is not None and updated_at < floor:
                past.append(key)
            else:
                found[key] = created_at
    if past:
        _delete_keys(session, table, past)
        table.row_count -= len(past)
        table.last_change += 1
    return found


def _delete_keys(session: Session, table: OnlineTable, keys: list[str]) -> None:
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[begin : begin + KEYS_AT_ONCE]
        session.execute(_DELETE, {"table": table.online_table_id, "keys": some})


_CREATED = select(OnlineRow.primary_key, OnlineRow.created_at, OnlineRow.updated_at).where(
    OnlineRow.online_table_id == bindparam("table"), OnlineRow.primary_key.in_(bindparam("keys", expanding=True))
)
_DELETE = (
    delete(OnlineRow)
    .where(OnlineRow.online_table_id == bindparam("table"))
    .where(OnlineRow.primary_key.in_(bindparam("keys", expanding=True)))
    .execution_options(synchronize_session=False)
)


def _upsert(statement: sqlite.Insert | postgresql.Insert) -> Executable:
    changed = {name: statement.excluded[name] for name in ("contents", "change", "created_at", "updated_at")}
    return statement.on_conflict_do_update(index_elements=["online_table_id", "primary_key"], set_=changed)


#: By the name of the database's dialect.
_UPSERTS = {"sqlite": _upsert(sqlite.insert(OnlineRow)), "postgresql": _upsert(postgresql.insert(OnlineRow))}
