"""Keeps one replica of a serving alive, in a thread of its own: starts it, watches it, replaces it, ends it.

`serving.py` has one for each replica that there is to be. A replica that ends is replaced after a pause that grows with
each that follows at once. Its end is told to the gateways first, and waits until none of them uses it any more.
"""

import logging
import threading
import time
from typing import Protocol

from modelyard.deployments.changes import note_change
from modelyard.deployments.records import Replica as ReplicaRecord
from modelyard.deployments.records import ReplicaState
from modelyard.deployments.replicas import replica
from modelyard.deployments.replicas.replica import Replica, ReplicaFailed
from modelyard.deployments.servable import Servable
from modelyard.execution import ClaimLost, RunContext
from modelyard.execution.liveness import machine_name
from modelyard.ids import DeploymentId, ReplicaId, ServingId
from modelyard.sandbox import GuestNotStarted, Interpreter, SandboxUnavailable

log = logging.getLogger(__name__)

#: First pause before a replica is replaced; doubled with each that follows, up to the longest.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 30.0
#: A replica that took calls for so long has its successor start with the first pause again.
HEALTHY_S = 10.0
#: Replicas that may fail one after the other before a serving that never was ready is given up.
START_ATTEMPTS = 3
#: Seconds between two looks at whether a replica is still wanted.
WATCH_S = 0.25
#: How long calls under way may take to end when the agent itself stops.
HURRIED_DRAIN_S = 5.0


class Owner(Protocol):
    """The serving, as its keepers know it."""

    run: RunContext
    deployment_id: DeploymentId
    serving_id: ServingId
    #: Whether all replicas have once been ready; before that, one that does not come up ends the serving.
    was_ready: bool
    #: Why the serving can't come up, for the user.
    failure: str | None
    #: What went wrong with the platform itself.
    error: Exception | None

    def ring(self) -> None:
        """There is news."""


class Keeper:
    """One replica's keeper."""

    def __init__(self, serving: Owner, served: Servable, interpreter: Interpreter) -> None:
        #: The replica that takes calls now.
        self.ready: ReplicaId | None = None
        self._serving, self._served, self._interpreter = serving, served, interpreter
        self._run = serving.run
        self._ending = threading.Event()
        self._condemned: ReplicaId | None = None
        self._thread = threading.Thread(target=self._work, name=f"replica of {serving.deployment_id}", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether the replica has gone for good."""
        return not self._thread.is_alive()

    def end(self) -> None:
        """Has the replica end as soon as no gateway uses it; waits for nothing."""
        self._ending.set()

    def condemn(self, replica_id: ReplicaId) -> None:
        """Has that replica replaced, without waiting for its calls."""
        self._condemned = replica_id

    def join(self) -> None:
        """Waits for the replica's end."""
        self._thread.join()

    def _work(self) -> None:
        try:
            self._live_on()
        except ClaimLost:
            self._run.cancelled.set()  # another agent serves now, or the serving has ended
        except Exception as error:  # noqa: BLE001 - a thread's end: the run's own thread raises it
            self._serving.error = error
        finally:
            self._serving.ring()

    def _live_on(self) -> None:
        pause_s, failures = FIRST_BACKOFF_S, 0
        while not self._ending.is_set() and not self._run.cancelled.is_set():
            lived_s = 0.0
            try:
                lived_s = self._live()
                failures = 0
            except (ReplicaFailed, GuestNotStarted, SandboxUnavailable) as error:
                failures += 1
                self._say(f"a replica did not come up: {error}")
                if failures >= START_ATTEMPTS and not self._serving.was_ready:
                    self._serving.failure = str(error)
                    return
            pause_s = FIRST_BACKOFF_S if lived_s > HEALTHY_S else pause_s
            self._ending.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_BACKOFF_S)

    def _live(self) -> float:
        """One replica, from its start to its end; gives the seconds for which it took calls."""
        run = self._run
        up = replica.start(run.parts, run.settings, self._interpreter, self._served, run.log, run.cancelled)
        try:
            if self._ending.is_set():
                return 0.0
            self._note_ready(up)
            began = time.monotonic()
            self._watch(up)
            lived_s = time.monotonic() - began
            self.ready = None
            self._note_gone(up)
            self._drain(up)
            return lived_s
        finally:
            self.ready = None
            up.close()

    def _watch(self, up: Replica) -> None:
        """Returns when the replica has ended, or shall."""
        while not self._ending.is_set():
            ended = up.wait(WATCH_S)
            if ended is not None:
                self._say(f"a replica ended: {ended.sentence}")
                return
            if self._condemned == up.replica_id:
                self._say("a replica is replaced: a call passed its time limit")
                up.guest.kill()
                return

    def _drain(self, up: Replica) -> None:
        if not up.guest.alive:
            return
        stopping = self._run.stopping
        limit_s = HURRIED_DRAIN_S if stopping.is_set() else self._run.settings.prediction_timeout_s
        began = time.monotonic()
        if not up.place.wait_until_unused(
            limit_s, lambda: not up.guest.alive or (stopping.is_set() and time.monotonic() - began > HURRIED_DRAIN_S)
        ):
            self._say("a replica was ended although calls were under way")

    def _note_ready(self, up: Replica) -> None:
        serving = self._serving
        with self._run.transaction() as session:
            session.add(
                ReplicaRecord(
                    replica_id=up.replica_id,
                    deployment_id=serving.deployment_id,
                    serving_id=serving.serving_id,
                    state=ReplicaState.READY,
                    machine=machine_name(),
                    socket=str(up.place.path),
                    is_thread_safe=self._served.is_thread_safe,
                    started_at=self._run.clock(),
                )
            )
            note_change(session, serving.deployment_id)
        self.ready = up.replica_id
        serving.ring()

    def _note_gone(self, up: Replica) -> None:
        try:
            with self._run.transaction() as session:
                record = session.get(ReplicaRecord, up.replica_id)
                if record is not None:
                    session.delete(record)
                    note_change(session, self._serving.deployment_id)
        except ClaimLost:
            self._run.cancelled.set()

    def _say(self, sentence: str) -> None:
        log.warning("deployment %s: %s", self._serving.deployment_id, sentence.splitlines()[0])
        self._run.log("stderr", sentence + "\n")
