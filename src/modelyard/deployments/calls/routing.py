"""What a gateway knows in memory: which tokens and keys open which deployment, and where its replicas listen.

A background thread asks the database for one number five times a second and reads the tables anew when it has grown.
The lane looks things up in the snapshot that `table` holds, without a lock and without SQL; on a miss it may ask for
an extra look at once (`look_again`), which is rate-limited. Keys that were used lately are checked again every second.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Row, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelyard.database import Database, JsonObject
from modelyard.deployments.calls.rates import Presence, Rates
from modelyard.deployments.changes import TOPIC, read_revision
from modelyard.deployments.options import DeploymentOptions, read_options
from modelyard.deployments.records import (
    Deployment,
    DeploymentStatus,
    DeploymentToken,
    Replica,
    ReplicaState,
    Role,
    SideVersion,
    sleeps,
)
from modelyard.execution.liveness import machine_name
from modelyard.ids import (
    DeploymentId,
    FeatureGroupId,
    OnlineTableId,
    OrganizationId,
    ProjectId,
    ReplicaId,
    ServingId,
)

log = logging.getLogger(__name__)

#: Seconds between two looks at the number.
POLL_S = 0.2
#: Shortest pause between two extra looks that misses ask for.
LOOK_PAUSE_S = 0.05
#: Every so often the tables are read although the number is the same.
FULL_LOOK_S = 30.0


class Place(NamedTuple):
    """A ready replica and where it listens."""

    replica_id: ReplicaId
    serving_id: ServingId
    socket: str
    is_thread_safe: bool


class SideRoute(NamedTuple):
    """A version beside the one that answers, which gets some of the calls, or copies of them."""

    deployment_id: DeploymentId
    role: Role
    serving_id: ServingId
    percent: float
    places: tuple[Place, ...]


class Route(NamedTuple):
    """A deployment as the gateway knows it."""

    deployment_id: DeploymentId
    organization_id: OrganizationId
    project_id: ProjectId
    status: DeploymentStatus
    error: str | None
    #: It answers look-ups of this group's rows; None: it answers predictions.
    feature_group_id: FeatureGroupId | None
    #: Where the rows are, if they are online: no replica is asked for them.
    online_table_id: OnlineTableId | None
    calls_per_second: int | None
    arguments: JsonObject | None
    arguments_override: bool
    options: DeploymentOptions
    #: The serving that answers; None: it sleeps, or needs none.
    serving_id: ServingId | None
    #: It has no replicas, and the first call brings them up again.
    is_asleep: bool
    #: Its canary and its shadow.
    sides: tuple[SideRoute, ...]
    places: tuple[Place, ...]


class RoutingTable(NamedTuple):
    """One consistent state of everything that the gateway must know."""

    revision: int
    routes: Mapping[str, Route]
    #: Token -> project.
    tokens: Mapping[str, ProjectId]
    #: Token -> calls that it may ask a second, of those that have a limit.
    limits: Mapping[str, int] = MappingProxyType({})


EMPTY = RoutingTable(-1, MappingProxyType({}), MappingProxyType({}))


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
        self._read_at = 0.0
        self._askers: list[Callable[[], None]] = []
        self._listeners: list[Callable[[RoutingTable], None]] = []
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

    def on_change(self, listener: Callable[[RoutingTable], None]) -> None:
        """Calls `listener` with each new table, from the thread; at once with the present one."""
        self._listeners.append(listener)
        listener(self.table)

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
        self._looked_at = time.monotonic()
        force = force or self._looked_at - self._read_at > FULL_LOOK_S
        with self._database.read() as session:
            revision = read_revision(session)
            if revision != self.table.revision or force:
                self._read_at = self._looked_at
                self.table = read_table(session, revision)
                changed = True
            else:
                changed = False
        if changed:
            for listener in self._listeners:
                listener(self.table)


def read_table(session: Session, revision: int) -> RoutingTable:
    """The routing table as the database has it."""
    places: dict[DeploymentId, list[Place]] = {}
    here = (Replica.state == ReplicaState.READY, Replica.machine == machine_name())
    for replica in session.scalars(select(Replica).where(*here).order_by(Replica.started_at, Replica.replica_id)):
        place = Place(replica.replica_id, replica.serving_id, replica.socket, replica.is_thread_safe)
        places.setdefault(replica.deployment_id, []).append(place)
    sides = _read_sides(session, places)
    routes: dict[str, Route] = {
        row.deployment_id: _route(row, places.get(row.deployment_id, []), sides.get(row.deployment_id, ()))
        for row in session.execute(_DEPLOYMENTS)
    }
    rows = session.execute(_TOKENS).all()
    tokens = {row.deployment_token: row.project_id for row in rows}
    limits = {row.deployment_token: row.calls_per_second for row in rows if row.calls_per_second is not None}
    return RoutingTable(revision, MappingProxyType(routes), MappingProxyType(tokens), MappingProxyType(limits))


#: Columns, not whole objects: this is read at each change, and there may be thousands.
_DEPLOYMENTS = select(
    Deployment.deployment_id,
    Deployment.organization_id,
    Deployment.project_id,
    Deployment.status,
    Deployment.error,
    Deployment.feature_group_id,
    Deployment.model_version,
    Deployment.feature_group_version,
    Deployment.online_table_id,
    Deployment.calls_per_second,
    Deployment.default_prediction_arguments,
    Deployment.arguments_override,
    Deployment.options,
    Deployment.serving_id,
)
_TOKENS = select(DeploymentToken.deployment_token, DeploymentToken.project_id, DeploymentToken.calls_per_second)


def _read_sides(
    session: Session, places: Mapping[DeploymentId, list[Place]]
) -> dict[DeploymentId, tuple[SideRoute, ...]]:
    found: dict[DeploymentId, tuple[SideRoute, ...]] = {}
    with_calls = (SideVersion.role != Role.FORMER, SideVersion.serving_id.is_not(None))
    for side in session.scalars(select(SideVersion).where(*with_calls).order_by(SideVersion.role)):
        assert side.serving_id is not None
        mine = tuple(place for place in places.get(side.deployment_id, ()) if place.serving_id == side.serving_id)
        route = SideRoute(side.deployment_id, Role(side.role), side.serving_id, side.percent, mine)
        found[side.deployment_id] = (*found.get(side.deployment_id, ()), route)
    return found


def _route(row: "Row[*tuple[Any, ...]]", places: list[Place], sides: tuple[SideRoute, ...]) -> Route:
    status, serving_id = DeploymentStatus(row.status), row.serving_id
    return Route(
        deployment_id=row.deployment_id,
        organization_id=row.organization_id,
        project_id=row.project_id,
        status=status,
        error=row.error,
        feature_group_id=row.feature_group_id,
        online_table_id=row.online_table_id,
        calls_per_second=row.calls_per_second,
        arguments=row.default_prediction_arguments,
        arguments_override=row.arguments_override,
        options=read_options(row.options),
        serving_id=serving_id,
        is_asleep=sleeps(status, serving_id, row.model_version or row.feature_group_version),
        sides=sides,
        places=tuple(place for place in places if place.serving_id == serving_id),
    )
