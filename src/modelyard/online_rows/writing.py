"""Writes rows: what several callers want at the same moment is committed together.

One thread of a gateway writes for all of its callers. While a commit is on its way to the disk others' changes come in,
and all of these are in the next one: a commit costs as much for a hundred rows as for one, so the more callers there
are, the cheaper a row. A caller is answered when its own change is durable.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Executable, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from modelyard.clock import Clock
from modelyard.database import Database
from modelyard.errors import AlreadyExistsError, ApiError, DataNotFoundError
from modelyard.ids import OnlineTableId
from modelyard.online_rows.changes import Change, Row, Verb, WrittenRow, merge_kinds
from modelyard.online_rows.records import OnlineRow, OnlineTable
from modelyard.online_rows.retention import TableState, drop_past_count, floor_of

Result = TypeVar("Result")

#: Rows that one transaction may write, so that nobody waits long for the database.
MOST_ROWS = 20_000
#: Keys that one query asks for.
KEYS_AT_ONCE = 5_000


class Order(NamedTuple):
    """What is to be written where."""

    table_id: OnlineTableId
    change: Change


class _Job:
    """One caller's order, and what became of it."""

    def __init__(self, prepare: Callable[[], Order], answer: Callable[[list[WrittenRow]], Any]) -> None:
        self.prepare, self.answer = prepare, answer
        self.future: Future[Any] = Future()
        self.order: Order
        self.written: list[WrittenRow] = []
        self.error: BaseException | None = None


class RowWriter:
    """The one pen of this process; a part of the house. Thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, prepare: Callable[[], Order], answer: Callable[[list[WrittenRow]], Result]) -> "Future[Result]":
        """Has a change made, and never waits: the future is what `answer` makes of the rows as they are on disk.

        `prepare` is called by the writing thread. What it raises is the future's error, as are DataNotFoundError: the
        table, or a row that was to go, isn't there; AlreadyExistsError: an appended key is there already;
        InvalidParameterError: a value is of another kind than its column. Nothing of the change happened then.
        """
        job = _Job(prepare, answer)
        self._waiting.put(job)
        if self._thread is None:
            self._start()
        return job.future

    def close(self) -> None:
        """Writes what waits and ends."""
        with self._starting:
            if self._thread is not None:
                self._waiting.put(None)
                self._thread.join(30)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="row-writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        ended = False
        while not ended:
            jobs, ended = self._take()
            self._write(jobs)
            for job in jobs:
                _settle(job)

    def _take(self) -> tuple[list[_Job], bool]:
        """The orders that wait, as many as go into one transaction, and whether they are the last; waits for one."""
        jobs: list[_Job] = []
        rows, next_job = 0, self._waiting.get()
        while next_job is not None:
            jobs.append(next_job)
            try:
                next_job.order = next_job.prepare()
                rows += len(next_job.order.change.rows)
            except Exception as error:  # noqa: BLE001 - its caller hears of it
                next_job.error = error
            if rows >= MOST_ROWS:
                return jobs, False
            try:
                next_job = self._waiting.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _write(self, jobs: Sequence[_Job]) -> None:
        # By id, so that two gateways that write to the same tables lock them in the same order.
        good = sorted((job for job in jobs if job.error is None), key=lambda job: job.order.table_id)
        if not good:
            return
        try:
            with self._database.write() as session:
                connection, now = session.connection(), self._clock()
                for table_id, theirs in groupby(good, key=lambda job: job.order.table_id):
                    _write_table(connection, table_id, list(theirs), now)
        except Exception as error:  # noqa: BLE001 - every caller hears of it
            for job in good:
                job.error = job.error or error


def _settle(job: _Job) -> None:
    if job.error is not None:
        job.future.set_exception(job.error)
        return
    try:
        job.future.set_result(job.answer(job.written))
    except Exception as error:  # noqa: BLE001 - its caller hears of it
        job.future.set_exception(error)


# Statements of SQLAlchemy's core from here on: the ORM would cost more than all the rest for a row or two.


def _write_table(connection: Connection, table_id: OnlineTableId, jobs: Sequence[_Job], now: datetime) -> None:
    table = connection.execute(_TABLE, {"table": table_id}).first()
    if table is None:
        for job in jobs:
            job.error = DataNotFoundError("The table was deleted meanwhile")
        return
    page = _Page(connection, table, [row.key for job in jobs for row in job.order.change.rows], now)
    for job in jobs:
        try:
            job.written = page.apply(job.order.change)
        except ApiError as error:
            job.error = error
    page.save(connection)


class _Page:
    """The rows of one table that a transaction is about: as they are, then as they are to be."""

    def __init__(self, connection: Connection, table: TableState, keys: Sequence[str], now: datetime) -> None:
        self._table, self._now = table, now
        self._columns: dict[str, str] = dict(table.columns)
        there, past = _find(connection, table, keys, now)
        self._last_change = table.last_change + len(past)
        #: Key -> the moment of its creation.
        self._there = there
        self._count = table.row_count - len(there) - len(past)  # without those that this is about
        self._new: dict[str, dict[str, object]] = {}
        self._gone = set(past)

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

    def save(self, connection: Connection) -> None:
        """Writes what is different now."""
        gone = list(self._gone - self._new.keys())
        for begin in range(0, len(gone), KEYS_AT_ONCE):
            some = gone[begin : begin + KEYS_AT_ONCE]
            connection.execute(_DELETE, {"table": self._table.online_table_id, "keys": some})
        if self._new:
            connection.execute(_UPSERTS[connection.dialect.name], list(self._new.values()))
        if self._last_change == self._table.last_change:
            return
        count = drop_past_count(connection, self._table, self._count + len(self._there))
        values = {"last_change": self._last_change, "row_count": count, "columns": self._columns}
        connection.execute(_SAVE_TABLE, {"table": self._table.online_table_id} | values)

    def _put(self, row: Row) -> WrittenRow:
        self._last_change += 1
        created_at = self._there.setdefault(row.key, self._now)
        self._new[row.key] = {
            "online_table_id": self._table.online_table_id,
            "primary_key": row.key,
            "contents": row.contents,
            "change": self._last_change,
            "created_at": created_at,
            "updated_at": self._now,
        }
        return WrittenRow(row.key, row.contents, created_at, self._now)

    def _delete(self, rows: Sequence[Row]) -> list[WrittenRow]:
        missing = next((row.key for row in rows if row.key not in self._there), None)
        if missing is not None:
            raise DataNotFoundError(f"There is no row with the {self._table.primary_key} {missing[:100]!r}")
        for row in rows:
            self._last_change += 1
            self._there.pop(row.key, None)
            self._new.pop(row.key, None)
            self._gone.add(row.key)
        return []


def _find(
    connection: Connection, table: TableState, keys: Sequence[str], now: datetime
) -> tuple[dict[str, datetime], list[str]]:
    """When those of the keys that are there were created, and those whose rows are past their time: they are to go."""
    floor = floor_of(table, now)
    there: dict[str, datetime] = {}
    past: list[str] = []
    wanted = list(dict.fromkeys(keys))
    for begin in range(0, len(wanted), KEYS_AT_ONCE):
        asked = {"table": table.online_table_id, "keys": wanted[begin : begin + KEYS_AT_ONCE]}
        for key, created_at, updated_at in connection.execute(_FIND, asked):
            if floor is not None and updated_at < floor:
                past.append(key)
            else:
                there[key] = created_at
    return there, past


_TABLE = select(OnlineTable.__table__).where(OnlineTable.online_table_id == bindparam("table")).with_for_update()
_SAVE_TABLE = (
    update(OnlineTable.__table__)  # type: ignore[arg-type]  # a table, whatever the mapping calls it
    .where(OnlineTable.online_table_id == bindparam("table"))
    .values(last_change=bindparam("last_change"), row_count=bindparam("row_count"), columns=bindparam("columns"))
)
_THESE = (
    OnlineRow.online_table_id == bindparam("table"),
    OnlineRow.primary_key.in_(bindparam("keys", expanding=True)),
)
_FIND = select(OnlineRow.primary_key, OnlineRow.created_at, OnlineRow.updated_at).where(*_THESE)
_DELETE = delete(OnlineRow).where(*_THESE)


def _upsert(statement: sqlite.Insert | postgresql.Insert) -> Executable:
    changed = {name: statement.excluded[name] for name in ("contents", "change", "created_at", "updated_at")}
    return statement.on_conflict_do_update(index_elements=["online_table_id", "primary_key"], set_=changed)


#: By the name of the database's dialect.
_UPSERTS = {"sqlite": _upsert(sqlite.insert(OnlineRow)), "postgresql": _upsert(postgresql.insert(OnlineRow))}
