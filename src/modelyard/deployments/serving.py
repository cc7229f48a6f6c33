"""A serve run at work: keeps the replicas of one version alive for one deployment until it is told to end.

One thread a replica starts it, watches it and replaces it; the run's own thread waits until all are ready, has the
deployment switch over, and in the end lets calls finish before it ends the replicas. Killed at any moment, the run is
claimed again and begins anew; what the dead attempt left is recognised by the serving's id.
"""

import logging
import threading
import time

from sqlalchemy import select

from modelyard.deployments import progress, replica, sockets
from modelyard.deployments.changes import note_change
from modelyard.deployments.records import Deployment, ReplicaState, Version
from modelyard.deployments.records import Replica as ReplicaRecord
from modelyard.deployments.replica import Replica, ReplicaFailed
from modelyard.deployments.routing import POLL_S
from modelyard.deployments.servable import Servable, servable
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.errors import ApiError
from modelyard.execution import ClaimLost, RunContext
from modelyard.execution.liveness import machine_name
from modelyard.ids import DeploymentId, ServingId
from modelyard.sandbox import GuestNotStarted, Interpreter, SandboxUnavailable

log = logging.getLogger(__name__)

#: First pause before a replica is replaced; doubled with each that follows, up to the longest.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 30.0
#: A replica that lived so long has its successor start with the first pause again.
HEALTHY_S = 10.0
#: Replicas that may fail one after the other before a serving that never was ready is given up.
START_ATTEMPTS = 3
#: Seconds between two looks at whether a replica is still wanted.
WATCH_S = 0.25
#: In which gateways learn of a switch.
SETTLE_S = 2.5 * POLL_S
#: How long calls under way may take to end when the agent itself stops.
HURRIED_DRAIN_S = 5.0


class Serving:
    """One version served for one deployment."""

    def __init__(self, run: RunContext) -> None:
        self.run = run
        self.deployment_id = DeploymentId(run.payload["deploymentId"])
        self.version: Version = run.payload["version"]
        self.serving_id = ServingId(run.payload["servingId"])
        #: Set when the replicas are to end.
        self.ending = threading.Event()
        #: Set whenever a keeper has something to tell.
        self.news = threading.Event()
        #: Why this serving can't come up.
        self.failure: str | None = None
        #: What went wrong with the platform itself; the run is then tried again.
        self.error: Exception | None = None
        self.was_ready = False

    def serve(self) -> None:
        """Serves until the run is cancelled or stopped, which it then raises; returns when it was given up."""
        self._remove_stale()
        with self.run.transaction() as session:
            wanted = progress.begin(session, self.deployment_id, self.serving_id) is not None
        if not wanted:
            return
        try:
            served = self._read()
            environment = self.run.parts.get(Environments).ensure(
                served.requirements,
                lock=served.lock,
                on_progress=lambda line: self.run.log("stdout", line + "\n"),
                cancelled=self.run.cancelled,
            )
        except (ApiError, EnvironmentFailure) as error:
            self.run.check_cancelled()
            self._give_up(str(error))
            return
        with environment.hold():
            self._keep(served, environment.interpreter)

    def _keep(self, served: Servable, interpreter: Interpreter) -> None:
        keepers = [Keeper(self, served, interpreter) for _ in range(max(self.run.settings.replicas, 1))]
        try:
            if self._await_ready(keepers) and self._activate():
                self._await_end()
        finally:
            self.ending.set()
            for keeper in keepers:
                keeper.join()
        self.run.check_cancelled()
        if self.error is not None:
            raise self.error
        if self.failure is not None:
            self._give_up(self.failure)

    def _await_ready(self, keepers: "list[Keeper]") -> bool:
        while not all(keeper.is_ready for keeper in keepers):
            self.news.wait(WATCH_S)
            self.news.clear()
            if self.failure is not None or self.error is not None or self.run.cancelled.is_set():
                return False
        self.was_ready = True
        return True

    def _await_end(self) -> None:
        while not self.run.cancelled.is_set() and self.error is None:
            self.news.wait(1.0)
            self.news.clear()

    def _activate(self) -> bool:
        with self.run.transaction() as session:
            wanted = progress.activate(session, self.deployment_id, self.serving_id, self.run.clock())
        if wanted:
            self.run.cancelled.wait(SETTLE_S)
            with self.run.transaction() as session:
                progress.settle(session, self.deployment_id, self.serving_id)
        return wanted

    def _give_up(self, reason: str) -> None:
        self.run.log("stderr", reason + "\n")
        with self.run.transaction() as session:
            progress.fail(session, self.deployment_id, self.serving_id, reason)
            self.run.complete(session)

    def _read(self) -> Servable:
        with self.run.read() as session:
            deployment = session.get_one(Deployment, self.deployment_id)
            return servable(session, self.run.settings, deployment, self.version)

    def _remove_stale(self) -> None:
        with self.run.read() as session:
            rows = select(ReplicaRecord.socket).where(
                ReplicaRecord.serving_id == self.serving_id, ReplicaRecord.machine == machine_name()
            )
            stale = session.scalars(rows).all()
        for path in stale:
            sockets.remove_stale(path)


class Keeper:
    """Keeps one replica alive, in a thread of its own."""

    def __init__(self, serving: Serving, served: Servable, interpreter: Interpreter) -> None:
        self.is_ready = False
        self._serving, self._served, self._interpreter = serving, served, interpreter
        self._run = serving.run
        self._thread = threading.Thread(target=self._work, name=f"replica of {serving.deployment_id}", daemon=True)
        self._thread.start()

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
            self._serving.news.set()

    def _live_on(self) -> None:
        pause_s, failures = FIRST_BACKOFF_S, 0
        while not self._serving.ending.is_set() and not self._run.cancelled.is_set():
            began = time.monotonic()
            try:
                self._live()
                failures = 0
            except (ReplicaFailed, GuestNotStarted, SandboxUnavailable) as error:
                failures += 1
                self._say(f"a replica did not come up: {error}")
                if failures >= START_ATTEMPTS and not self._serving.was_ready:
                    self._serving.failure = str(error)
                    return
            pause_s = FIRST_BACKOFF_S if time.monotonic() - began > HEALTHY_S else pause_s
            self._serving.ending.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_BACKOFF_S)

    def _live(self) -> None:
        """One replica, from its start to its end."""
        run = self._run
        up = replica.start(run.parts, run.settings, self._interpreter, self._served, run.log, run.cancelled)
        try:
            self._note_ready(up)
            self._watch(up)
            self.is_ready = False
            self._note_gone(up)
            self._drain(up)
        finally:
            self.is_ready = False
            up.close()

    def _watch(self, up: Replica) -> None:
        """Returns when the replica has ended, or shall."""
        while not self._serving.ending.is_set():
            ended = up.wait(WATCH_S)
            if ended is not None:
                self._say(f"a replica ended: {ended.sentence}")
                return
            if self._is_condemned(up):
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
            note_change(session)
        self.is_ready = True
        serving.news.set()

    def _note_gone(self, up: Replica) -> None:
        try:
            with self._run.transaction() as session:
                record = session.get(ReplicaRecord, up.replica_id)
                if record is not None:
                    session.delete(record)
                    note_change(session)
        except ClaimLost:
            self._run.cancelled.set()

    def _is_condemned(self, up: Replica) -> bool:
        with self._run.read() as session:
            state = session.scalar(select(ReplicaRecord.state).where(ReplicaRecord.replica_id == up.replica_id))
        return state != ReplicaState.READY

    def _say(self, sentence: str) -> None:
        log.warning("deployment %s: %s", self._serving.deployment_id, sentence.splitlines()[0])
        self._run.log("stderr", sentence + "\n")
