"""What a run's function gets, and how it ends.

The function returns when its work is done; it raises `Permanent` when trying again is no use, `Retry` when it may be.
A failure of *user code* is neither: it is data, written to the version, and the run is COMPLETE.
Every transaction of a run checks the fence first: once another agent owns the run, `ClaimLost` is raised and nothing is
written, so a run that was taken over can't finish twice.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.container import Container
from modelyard.database import Database, JsonObject
from modelyard.execution.logs import LogWriter
from modelyard.execution.records import Run, RunState
from modelyard.gpus import Gpu
from modelyard.ids import RunId
from modelyard.settings import Settings


class Permanent(Exception):
    """The run can't be done, now or later; the message is for the user."""


#: In a session's `info`: runs that it has ended, whose rows it has locked by that.
_ENDED = "ended runs"


class Retry(Exception):
    """The run could not be done now; another attempt is made after `after_s` seconds, up to the run's limit.

    One that only waited for something else to end is not `counted` as an attempt: it may come again for ever.
    """

    def __init__(self, message: str, after_s: float = 1.0, *, counted: bool = True) -> None:
        super().__init__(message)
        self.after_s, self.counted = after_s, counted


class ClaimLost(Exception):
    """Another agent owns the run now, or it was ended; this attempt must stop without writing."""


class Stopped(Exception):
    """The agent is shutting down; the run goes back on the table without losing an attempt."""


@dataclass(frozen=True, slots=True)
class RunKind:
    """What can be run: its name on the table, its function, and how its owner hears that it was given up."""

    name: str
    execute: Callable[["RunContext"], None]
    #: Called in the transaction that ends the run as FAILED or CANCELLED, with payload and reason; marks the owner.
    give_up: Callable[[Session, JsonObject, str], None]
    #: Serves until it is cancelled; takes no part in the count of attempts.
    long_lived: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt at a run: valid as long as the row carries the same fence."""

    run_id: RunId
    kind: str
    target: str
    payload: JsonObject
    attempt: int
    fence: int
    cores: float
    memory_gib: float
    gpus: int
    cancel_requested: bool


class RunContext:
    """One attempt at one run, as its function sees it."""

    def __init__(
        self,
        claim: Claim,
        database: Database,
        parts: Container,
        settings: Settings,
        clock: Clock,
        gpus: tuple[Gpu, ...] = (),
    ) -> None:
        self.claim = claim
        #: The GPUs that are this run's alone while it runs, as many as its claim says.
        self.gpus = gpus
        self.parts, self.settings, self.clock = parts, settings, clock
        #: Set when the run was cancelled, was lost, or the agent stops: end soon.
        self.cancelled = threading.Event()
        #: Set when the agent stops; the run will be claimed again.
        self.stopping = threading.Event()
        self.logs = LogWriter(database, claim.run_id, claim.attempt, settings.log_limit, clock)
        self._database = database

    @property
    def run_id(self) -> RunId:
        return self.claim.run_id

    @property
    def payload(self) -> JsonObject:
        return self.claim.payload

    @property
    def attempt(self) -> int:
        return self.claim.attempt

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that is only ever committed while this attempt owns the run; else ClaimLost.

        The run's own row is locked last. Whoever cancels a run holds what it writes, a deployment say, and then asks
        for its row; in the other order each would wait for the other.
        """
        with self._database.write() as session:
            self._check_owned(session)
            yield session
            if not self._database.is_sqlite and self.run_id not in session.info.get(_ENDED, ()):
                session.flush()
                self._check_owned(session, lock=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading, without the check."""
        with self._database.read() as session:
            yield session

    def complete(self, session: Session) -> None:
        """Ends the run as COMPLETE together with what else `session` (from `transaction`) writes."""
        self._end(session, RunState.COMPLETE, None)

    def fail(self, session: Session, reason: str) -> None:
        """Ends the run as FAILED together with what else `session` writes; `give_up` is not called."""
        self._end(session, RunState.FAILED, reason)

    def log(self, stream: str, text: str) -> None:
        """Keeps what was printed, with its moment; readable by others within half a second."""
        self.logs.write(stream, text)

    def check_cancelled(self) -> None:
        """Raises when the run should end: Stopped or ClaimLost."""
        if self.stopping.is_set():
            raise Stopped
        if self.cancelled.is_set():
            raise ClaimLost("the run was cancelled")

    def _check_owned(self, session: Session, *, lock: bool = False) -> None:
        mine = (Run.run_id == self.run_id, Run.fence == self.claim.fence, Run.state == RunState.RUNNING)
        query = select(Run.run_id).where(*mine)
        if session.execute(query.with_for_update() if lock else query).first() is None:
            raise ClaimLost(f"run {self.run_id} belongs to another attempt or has ended")

    def _end(self, session: Session, state: RunState, reason: str | None) -> None:
        values = {"state": state, "reason": reason, "completed_at": self.clock()}
        values |= {"lease_until": None, "claimed_by": None}
        mine = (Run.run_id == self.run_id, Run.fence == self.claim.fence, Run.state == RunState.RUNNING)
        session.flush()
        if session.connection().execute(update(Run).where(*mine).values(**values)).rowcount != 1:
            raise ClaimLost(f"run {self.run_id} belongs to another attempt or has ended")
        session.info.setdefault(_ENDED, set()).add(self.run_id)
