"""What a gateway knows in memory: which tokens and keys open which deployment, and where its replicas listen.

A background thread asks the database for one number five times a second. When it has grown, what was written down as
changed since is read anew (`routes.py`), and now and then everything, in case somebody changed rows and did not say so.
The lane looks things up in the snapshot that `table` holds, without a lock and without SQL; on a miss it may ask for an
extra look at once (`look_again`), which is rate-limited. Keys that were used lately are checked again every second.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelyard.database import Database
from modelyard.deployments.calls.rates import Presence, Rates
from modelyard.deployments.calls.routes import EMPTY, RoutingTable, read_table, update_table
from modelyard.deployments.changes import TOPIC, Changes, read_changes, read_revision

log = logging.getLogger(__name__)

#: Seconds between two looks at the number.
POLL_S = 0.2
#: Shortest pause between two extra looks that misses ask for.
LOOK_PAUSE_S = 0.05
#: Every so often everything is read although the number is the same; less often where that takes long: it gets one part
#: in so many of the time at most.
FULL_LOOK_S, FULL_LOOK_PART = 30.0, 200.0
#: Hears of a new table, and of what has changed since the one before; None: anything may have.
Listener = Callable[[RoutingTable, Changes | None], None]


class Routing:
    """The gateway's routing table and the thread that keeps it fresh; a part of the house."""

    def __init__(self, database: Database, home: Path, poll_s: float = POLL_S) -> None:
        self.rates = Rates(home / "rates")
        # A SQLite file has one home; homes that share a server share the limits as well.
        self._presence = None if database.is_sqlite else Presence(self.rates, home)
        #: The newest snapshot. Replaced as a whole, never changed.
        self.table: RoutingTable = EMPTY
        self._database, self._poll_s = database, poll_s
        self._wanted = threading.Event()
        self._looking = threading.Lock()
        self._closing = threading.Event()
        self._looked_at = 0.0
        #: When everything is to be read again.
        self._read_all_at = 0.0
        self._askers: list[Callable[[], None]] = []
        self._listeners: list[Listener] = []
        self._errands: list[Callable[[Session], None]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Reads the tables once and keeps them fresh from then on."""
        self._look(force=True)
        self._database.subscribe(TOPIC, self._look_at_own_change)
        self._thread = threading.Thread(target=self._run, name="gateway-routing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(5)

    def on_change(self, listener: Listener) -> None:
        """Calls `listener` with each new table, from the thread; at once with the present one."""
        with self._looking:  # it hears of every table once, in order
            self._listeners.append(listener)
            listener(self.table, None)

    def look_again(self, then: Callable[[], None] | None = None) -> None:
        """Asks for a look at once and never waits; many askers share one. The thread calls `then` after it."""
        if then is not None:
            self._askers.append(then)
        self._wanted.set()

    def run_errand(self, errand: Callable[[Session], None]) -> None:
        """Has the thread run `errand` in a transaction soon: the lane itself never touches the database."""
        self._errands.append(errand)
        self._wanted.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            asked = self._wanted.wait(self._poll_s)
            if asked:
                self._wanted.clear()
                time.sleep(max(self._looked_at + LOOK_PAUSE_S - time.monotonic(), 0))
            askers, self._askers = self._askers, []
            try:
                self._run_errands()
                self._show()
                self._look(force=False)
            except SQLAlchemyError as error:
                log.warning("the database does not answer, serving with what is known: %s", error)
                self._closing.wait(self._poll_s)
            for then in askers:
                then()

    def _run_errands(self) -> None:
        while self._errands:
            with self._database.write() as session:
                self._errands[0](session)
            self._errands.pop(0)

    def _show(self) -> None:
        if self._presence is not None and self._presence.is_due:
            with self._database.write() as session:
                self._presence.sign(session)

    def _look_at_own_change(self) -> None:
        try:
            self._look(force=False)
        except SQLAlchemyError:
            self._wanted.set()  # the thread tries again, and says so if it fails too

    def _look(self, *, force: bool) -> None:
        with self._looking:
            self._look_alone(force=force)

    def _look_alone(self, *, force: bool) -> None:
        self._looked_at, before = time.monotonic(), self.table
        changes: Changes | None = None
        with self._database.read() as session:
            revision = read_revision(session)
            if not force and self._looked_at < self._read_all_at:
                if revision == before.revision:
                    return
                changes = read_changes(session, before.revision, revision)
            if changes is None:
                self.table = read_table(session, revision)
                took_s = time.monotonic() - self._looked_at
                self._read_all_at = self._looked_at + max(FULL_LOOK_S, took_s * FULL_LOOK_PART)
            else:
                self.table = update_table(session, before, revision, changes)
        for listener in self._listeners:
            listener(self.table, changes)
