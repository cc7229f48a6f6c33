"""A serve run at work: keeps the replicas of one version alive for one deployment until it is told to end.

One thread a replica (`keeper.py`) starts it, watches it and replaces it; the run's own thread waits until all are
ready, has the deployment switch over, keeps as many as the calls want (`scaling.py`), and in the end lets calls finish
before it ends the replicas. After a silence as long as the deployment allows, it ends by itself: the deployment sleeps,
at no cost, until a call wakes it. Killed at any moment, the run is claimed again and begins anew; what the dead attempt
left is recognised by the serving's id.
"""

import time

from sqlalchemy import select

from modelyard.deployments import following, progress
from modelyard.deployments.calls.routing import POLL_S
from modelyard.deployments.records import Deployment, ReplicaState, Version
from modelyard.deployments.records import Replica as ReplicaRecord
from modelyard.deployments.replicas import sockets
from modelyard.deployments.replicas.keeper import WATCH_S, Keeper
from modelyard.deployments.replicas.reports import Reports
from modelyard.deployments.replicas.scaling import Scaler
from modelyard.deployments.servable import Servable, servable
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.errors import ApiError
from modelyard.execution import RunContext
from modelyard.execution.liveness import machine_name
from modelyard.ids import DeploymentId, FeatureGroupVersionId, ServingId
from modelyard.sandbox import Interpreter

#: In which gateways learn of a switch.
SETTLE_S = 2.5 * POLL_S
#: Seconds between two looks at what the database says of a serving.
LOOK_S = 0.5


class Serving:
    """One version served for one deployment."""

    def __init__(self, run: RunContext) -> None:
        self.run = run
        self.deployment_id = DeploymentId(run.payload["deploymentId"])
        self.version: Version = run.payload["version"]
        self.serving_id = ServingId(run.payload["servingId"])
        #: Why this serving can't come up.
        self.failure: str | None = None
        #: What went wrong with the platform itself; the run is then tried again.
        self.error: Exception | None = None
        self.was_ready = False
        #: Versions of a feature group that it has gone on to, or could not.
        self._tried: set[FeatureGroupVersionId] = set()
        self._keepers: list[Keeper] = []
        #: Keepers whose replicas are no longer wanted, but may still have calls.
        self._parting: list[Keeper] = []

    def serve(self) -> None:
        """Serves until the run is cancelled or stopped, which it then raises; returns when it was given up."""
        self._remove_stale()
        with self.run.transaction() as session:
            wanted = progress.begin(session, self.deployment_id, self.serving_id, self.run.clock()) is not None
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

    def ring(self) -> None:
        """Has the run's own thread look around."""
        self._reports.ring()

    def _keep(self, served: Servable, interpreter: Interpreter) -> None:
        self._served, self._interpreter = served, interpreter
        self._reports = Reports(sockets.folder(self.run.settings), self.serving_id)
        try:
            with self.run.read() as session:
                options = progress.options_of(session, self.deployment_id)
            self._scaler = Scaler(options, self.run.settings, time.monotonic())
            self._resize()
            if self._await_ready() and self._activate():
                self._serve_on()
        finally:
            self._end_all()
            self._reports.close()
        self.run.check_cancelled()
        if self.error is not None:
            raise self.error
        if self.failure is not None:
            self._give_up(self.failure)

    # -- its life -----------------------------------------------------------------------------------------------

    def _await_ready(self) -> bool:
        while not all(keeper.ready for keeper in self._keepers):
            self._hear(WATCH_S)
            if self.failure is not None or self.error is not None or self.run.cancelled.is_set():
                return False
        self.was_ready = True
        return True

    def _activate(self) -> bool:
        with self.run.transaction() as session:
            wanted = progress.activate(session, self.deployment_id, self.serving_id, self.run.clock())
        if wanted:
            self.run.cancelled.wait(SETTLE_S)
            with self.run.transaction() as session:
                progress.settle(session, self.deployment_id, self.serving_id)
        return wanted

    def _serve_on(self) -> None:
        """Until the end is asked for, or nobody has called for long."""
        looked_at = time.monotonic()
        while not self.run.cancelled.is_set() and self.error is None:
            self._hear(LOOK_S)
            now = time.monotonic()
            if now - looked_at >= LOOK_S:
                looked_at = now
                if not self._look() and self._part():
                    return
            if self._scaler.is_idle(now) and self._fall_asleep():
                return
            self._scaler.wanted(now)
            self._resize()

    def _hear(self, timeout_s: float) -> None:
        """Takes note of what gateways say; returns early when somebody rings."""
        heard = self._reports.receive(timeout_s)
        now = time.monotonic()
        for report in heard:
            self._scaler.note(report.gateway, report.load, now)

    def _look(self) -> bool:
        """Takes over what the database says: other options, replicas to be replaced; False: it is not wanted."""
        up = {keeper.ready: keeper for keeper in self._keepers if keeper.ready is not None}
        with self.run.read() as session:
            rows = select(ReplicaRecord.replica_id).where(
                ReplicaRecord.serving_id == self.serving_id, ReplicaRecord.state == ReplicaState.READY
            )
            wanted = set(session.scalars(rows))
            options = progress.options_of(session, self.deployment_id)
            is_wanted = progress.is_wanted(session, self.deployment_id, self.serving_id, self.run.clock())
            newer = following.find_newer(session, self.deployment_id, self.serving_id, self._tried)
        self._scaler.adjust(options)
        if newer is not None:
            self._tried.add(newer)
            with self.run.transaction() as session:
                following.follow(session, self.deployment_id, newer)
        for replica_id, keeper in up.items():
            if is_wanted and replica_id not in wanted:  # of one that is not, calls under way end first
                keeper.condemn(replica_id)
        return is_wanted

    def _part(self) -> bool:
        with self.run.transaction() as session:
            return progress.part(session, self.deployment_id, self.serving_id, self.run.clock())

    def _fall_asleep(self) -> bool:
        with self.run.transaction() as session:
            asleep = progress.fall_asleep(session, self.deployment_id, self.serving_id)
        if not asleep:
            self._scaler.used_at = time.monotonic()  # something else is going on; asked again after another silence
        return asleep

    # -- its replicas -------------------------------------------------------------------------------------------

    def _resize(self) -> None:
        """Has as many replicas as the scaler said."""
        self._parting = [keeper for keeper in self._parting if not keeper.has_ended]
        while len(self._keepers) < self._scaler.count:
            self._keepers.append(Keeper(self, self._served, self._interpreter))
        while len(self._keepers) > self._scaler.count:
            newest = next((keeper for keeper in self._keepers if keeper.ready is None), self._keepers[-1])
            self._keepers.remove(newest)
            self._parting.append(newest)
            newest.end()

    def _end_all(self) -> None:
        keepers, self._keepers = [*self._keepers, *self._parting], []
        for keeper in keepers:
            keeper.end()
        for keeper in keepers:
            keeper.join()

    # -- the database -------------------------------------------------------------------------------------------

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
