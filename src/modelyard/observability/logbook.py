"""The gateway's logbook: a thread that writes what the lane has counted, and the calls that it has sampled.

The lane calls `add` for each call that is sampled; it neither waits nor touches the database. Once a second
the thread writes the minute's counts of each deployment that was called, and what is in the ring. Writing a row of
counts again gives the same row, so a transaction that failed is simply tried again; what came meanwhile is in the next.
A gateway that is killed loses what it had not written: at most its last second.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from modelyard.clock import Clock
from modelyard.database import Database
from modelyard.deployments.calls.line import Line
from modelyard.deployments.calls.tally import BOUNDS, Tally
from modelyard.ids import DeploymentId, new_id
from modelyard.observability.records import DeploymentStatistic, PredictionLog
from modelyard.settings import Settings

log = logging.getLogger(__name__)

#: Seconds between two writes.
WRITE_S = 1.0
#: Sampled calls that wait to be written at most; further ones are counted as dropped.
RING = 4096
#: Rows of counts that wait for a database that does not answer; past it the oldest are given up, and told.
MOST_ROWS = 10_000
#: How the bounds of latencies are written.
BOUND_NAMES = (*(f"{round(bound * 1e6)}" for bound in BOUNDS), "inf")
KEY_COLUMNS = ("deployment_id", "minute", "gateway_id")
#: The key under which a body may carry its deployment's token.
SECRET = b"deploymentToken"


class Entry(NamedTuple):
    """One sampled call, as the lane hands it over; texts are cut already."""

    deployment_id: str
    timestamp_ms: int
    request_id: str
    action: str
    status: int
    took_us: int
    query_size: int
    query: bytes | None
    response_size: int
    response: bytes | None
    error_type: str | None


class Sums(NamedTuple):
    """What calls add up to."""

    statuses: dict[int, int]
    latencies: list[int]
    seconds: float

    def plus(self, other: "Sums", sign: int = 1) -> "Sums":
        """Both together, or what this one has more."""
        statuses = {
            status: self.statuses.get(status, 0) + sign * other.statuses.get(status, 0)
            for status in self.statuses.keys() | other.statuses.keys()
        }
        latencies = [mine + sign * theirs for mine, theirs in zip(self.latencies, other.latencies, strict=True)]
        return Sums(statuses, latencies, self.seconds + sign * other.seconds)


NOTHING = Sums({}, [0] * len(BOUND_NAMES), 0.0)
Key = tuple[DeploymentId, datetime]


class Logbook:
    """A part of the gateway; the lane starts and ends it."""

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self._database, self._settings, self._clock = database, settings, clock
        self.gateway_id = new_id()
        #: The lines whose calls are counted; none before the start.
        self.lines: Mapping[str, Line] = {}
        #: Sampled calls that were written down, and those that could not be.
        self.written = self.dropped = 0
        #: HTTP status -> calls that named no deployment that their caller may use.
        self.strays: dict[int, int] = {}
        self._told_dropped = 0
        self._ring: deque[Entry] = deque()
        self._seen: dict[str, tuple[Tally, Sums]] = {}
        #: The present minute's rows, and those of former minutes that could not be written yet.
        self._rows: dict[Key, Sums] = {}
        self._unwritten: set[Key] = set()
        self._minute = datetime.min.replace(tzinfo=UTC)
        self._writing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, lines: Mapping[str, Line]) -> None:
        """Begins to write what those lines count."""
        self.lines = lines
        self._thread = threading.Thread(target=self._loop, name="logbook", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Writes the rest and ends."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)
        self._try()

    def note_stray(self, status: int) -> None:
        """Counts a call without a deployment."""
        self.strays[status] = self.strays.get(status, 0) + 1

    def add(self, entry: Entry) -> None:
        """Has a call written down; counted as dropped where too many wait already."""
        if len(self._ring) >= RING:
            self.dropped += 1
        else:
            self._ring.append(entry)

    @property
    def waiting(self) -> int:
        """Sampled calls that wait to be written."""
        return len(self._ring)

    def write(self) -> None:
        """Writes what has been counted and sampled since the last time. Raises where the database does not answer."""
        with self._writing:
            self._count()
            entries = [self._ring.popleft() for _ in range(len(self._ring))]
            if not self._unwritten and not entries:
                return
            try:
                self._put([(key, self._rows[key]) for key in self._unwritten], entries)
            except SQLAlchemyError:
                self._ring.extendleft(reversed(entries))
                raise
            self.written += len(entries)
            self._unwritten.clear()
            self._rows = {key: sums for key, sums in self._rows.items() if key[1] == self._minute}

    def _put(self, rows: list[tuple[Key, Sums]], entries: list[Entry]) -> None:
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        with self._database.write() as session:
            if rows:
                counting = insert(DeploymentStatistic)
                counted = {name: counting.excluded[name] for name in ("statuses", "latencies", "seconds")}
                statement = counting.on_conflict_do_update(index_elements=KEY_COLUMNS, set_=counted)
                session.execute(statement, [_counted(key, sums, self.gateway_id) for key, sums in rows])
            if entries:
                # A transaction may have been committed although its answer was lost: it is then written twice.
                session.execute(insert(PredictionLog).on_conflict_do_nothing(), [_logged(entry) for entry in entries])

    def _count(self) -> None:
        """Adds what the tallies have more than last time to the present minute."""
        self._minute = max(self._minute, self._clock().replace(second=0, microsecond=0))
        lines = dict(self.lines)
        self._seen = {each: seen for each, seen in self._seen.items() if each in lines}
        for deployment_id, line in lines.items():
            tally = line.tally
            former, before = self._seen.get(deployment_id, (tally, NOTHING))
            if former is not tally:
                before = NOTHING
            if tally.statuses == before.statuses:
                continue  # most of many deployments are silent
            now = Sums(tally.statuses.copy(), tally.latencies.copy(), tally.seconds)
            key = (DeploymentId(deployment_id), self._minute)
            self._rows[key] = self._rows.get(key, NOTHING).plus(now.plus(before, -1))
            self._unwritten.add(key)
            self._seen[deployment_id] = (tally, now)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Keeps what waits for a database that does not answer within bounds."""
        excess = sorted(self._unwritten, key=lambda key: key[1])[: max(len(self._unwritten) - MOST_ROWS, 0)]
        for key in excess:
            self._unwritten.discard(key)
            self._rows.pop(key, None)
        if excess:
            log.warning("%d minutes of statistics were given up: the database has not answered for long", len(excess))

    def _loop(self) -> None:
        while not self._stopping.wait(WRITE_S):
            self._try()

    def _try(self) -> None:
        try:
            self.write()
        except SQLAlchemyError as error:
            log.warning("what was observed could not be written, trying again: %s", error)
        if self.dropped > self._told_dropped:
            log.warning("%d sampled predictions were not written down: too many waited", self.dropped)
            self._told_dropped = self.dropped


def _counted(key: Key, sums: Sums, gateway_id: str) -> dict[str, object]:
    return {
        "deployment_id": key[0],
        "minute": key[1],
        "gateway_id": gateway_id,
        "statuses": {str(status): count for status, count in sums.statuses.items() if count},
        "latencies": {name: count for name, count in zip(BOUND_NAMES, sums.latencies, strict=True) if count},
        "seconds": sums.seconds,
    }


def _logged(entry: Entry) -> dict[str, object]:
    query = without_secrets(entry.query, is_whole=len(entry.query or b"") == entry.query_size)
    if query is None or query is entry.query:
        return entry._asdict() | {"query": query}
    return entry._asdict() | {"query": query, "query_size": len(query)}


def without_secrets(query: bytes | None, *, is_whole: bool) -> bytes | None:
    """The query without a deployment's token, which a body may carry; what can't be cleaned is not kept."""
    if query is None or SECRET not in query:
        return query
    if not is_whole:
        return None
    try:
        values = msgspec.json.decode(query, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    values.pop(SECRET.decode(), None)
    return msgspec.json.encode(values)
