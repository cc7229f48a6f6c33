"""The line of calls of one deployment, over the connections to its ready replicas.

Lives in the gateway's event loop; `dispatch.py` makes it and tells it what the routing table says. It connects to
replicas that came, retires connections to those that went, and keeps the calls of a moment without any replica (a
crash, a restart of the agent) until one is there. A call that surely had not begun when its replica was lost is sent
again elsewhere; one that had is answered with an error, since it may be what ended the replica.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine

from sqlalchemy import update
from sqlalchemy.orm import Session

from modelyard.deployments.batching import Batcher
from modelyard.deployments.changes import note_change
from modelyard.deployments.connection import WAITING_BYTES, Connection, PendingCall, connect
from modelyard.deployments.frames import Answer, Kind
from modelyard.deployments.lifecycle import wake
from modelyard.deployments.options import DeploymentOptions
from modelyard.deployments.rates import Bucket
from modelyard.deployments.records import DeploymentStatus, Replica, ReplicaState, Role
from modelyard.deployments.replicas.reports import Reporter
from modelyard.deployments.rollouts.splitting import Split
from modelyard.deployments.routing import Place, Route, Routing, SideRoute
from modelyard.deployments.sampling import Sampler
from modelyard.deployments.tally import Tally
from modelyard.errors import ApiError, NotReadyError, PredictionError, RequestTimeoutError, TooManyRequestsError
from modelyard.ids import DeploymentId, ProjectId, ReplicaId
from modelyard.settings import Settings

log = logging.getLogger(__name__)
#: Runs something beside everything else.
Spawn = Callable[[Coroutine[None, None, None]], None]

#: Seconds that a call waits for a replica of an ACTIVE deployment before it is answered NotReadyError.
REPLICA_WAIT_S = 15.0
#: Seconds between two looks at the routing table while calls wait.
LOOK_S = 0.05
#: Seconds until a replica that could not be reached is tried again.
RECONNECT_S = 0.2
#: Times that one call is sent again.
RESENDS = 3


class Line:
    """The calls of one deployment."""

    def __init__(
        self, route: Route, routing: Routing, settings: Settings, spawn: Spawn, elsewhere: "Line | None" = None
    ) -> None:
        self.route = route
        #: Which calls go to a version beside this one, while there is any.
        self.split: Split | None = None
        #: Gathers single predictions, where that is wanted.
        self.batcher: Batcher | None = None
        #: Who takes the calls that this line has no room for; of a canary's, the version that answers.
        self._elsewhere = elsewhere
        self.project_id: ProjectId = route.project_id
        self.bucket: Bucket | None = None
        #: What the lane counts here, and which calls it writes down.
        self.tally, self.sampler = Tally(), Sampler()
        self._routing, self._settings, self._spawn = routing, settings, spawn
        self._loop = asyncio.get_running_loop()
        self._retired = False
        self._links: list[Connection] = []
        self._connecting: set[ReplicaId] = set()
        #: Places that gave out; left alone until the table no longer names them, or some time has passed.
        self._broken: dict[ReplicaId, float] = {}
        self._waiting: deque[PendingCall] = deque()
        self._turn = 0
        #: Calls answered when the serving was last told how much there is to do, and how much it was told.
        self._reported = (0, 0)
        self._is_waking = self._is_looking = False
        self.apply(route)

    # -- calls --------------------------------------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """Whether calls wait for a replica here, and so nobody has begun them."""
        return bool(self._waiting)

    @property
    def load(self) -> tuple[int, int]:
        """Calls that replicas have, and calls that wait until there is one; readable from any thread."""
        under_way, waiting = sum(len(link.pending) for link in tuple(self._links)), len(self._waiting)
        batcher = self.batcher
        if batcher is not None:
            under_way, waiting = under_way + batcher.more_under_way, waiting + batcher.waiting
        return under_way, waiting

    @property
    def is_ready(self) -> bool:
        """Whether there is a replica that takes calls."""
        return bool(self._links)

    def send(self, kind: int, body: bytes) -> "asyncio.Future[Answer]":
        """Sends a call on its way and gives the future of its answer. Raises where it can't be taken now."""
        self.admit()
        if self.batcher is not None:
            return self.pass_on(kind, body)
        call = PendingCall(kind, body, self._loop.create_future())
        links = self._links
        if len(links) == 1:
            link = links[0]
            if len(link.pending) < self._settings.replica_queue and link.waiting_bytes < WAITING_BYTES:
                link.send(call)
                return call.future
        self.place(call)
        return call.future

    def pass_on(self, kind: int, body: bytes) -> "asyncio.Future[Answer]":
        """As `send`, of a call that has been counted already."""
        if self.batcher is not None and kind == Kind.PREDICT:
            return self.batcher.send(body)
        call = PendingCall(kind, body, self._loop.create_future())
        if self.batcher is not None:
            call.future.add_done_callback(self.batcher.wake)
        self.place(call)
        return call.future

    def admit(self) -> None:
        """Counts one more call; TooManyRequestsError past the deployment's callsPerSecond."""
        if self.bucket is not None and not self.bucket.take():
            raise TooManyRequestsError(
                f"More than {self.bucket.rate} calls a second to this deployment; see callsPerSecond",
                self.bucket.retry_after_s(),
                limit="deployment",
            )

    def place(self, call: PendingCall) -> None:
        """Sends the call to the replica with the fewest, or has it wait until there is one."""
        if self.route.status != DeploymentStatus.ACTIVE:
            raise not_ready(self.route)
        if not self._links:
            if self._elsewhere is not None:
                self._elsewhere.place(call)
            else:
                self._keep(call)
            return
        self._turn += 1
        links = self._links
        link = min(links[self._turn % len(links) :] + links[: self._turn % len(links)], key=_load)
        if len(link.pending) < self._settings.replica_queue and link.waiting_bytes < WAITING_BYTES:
            link.send(call)
        elif self._elsewhere is not None:
            self._elsewhere.place(call)
        else:
            raise self._too_many()

    def _keep(self, call: PendingCall) -> None:
        """Has the call wait for a replica. Calls whose callers have left take no room."""
        limit = self._settings.replica_queue
        if len(self._waiting) >= limit:
            self._waiting = deque(each for each in self._waiting if not each.future.done())
        if len(self._waiting) >= limit:
            raise self._too_many()
        self._waiting.append(call)
        asleep = self.route.is_asleep
        limit_s = self._settings.wake_timeout_s if asleep or self._is_waking else REPLICA_WAIT_S
        self._loop.call_later(limit_s, self._give_up, call, limit_s)
        if asleep and not self._is_waking:
            self._is_waking = True
            deployment_id = self.route.deployment_id
            self._routing.run_errand(lambda session: wake(session, deployment_id))
        if not self._is_looking:
            self._look_on()

    def _look_on(self) -> None:
        """Looks at the routing table again and again while calls wait for a replica."""
        self._is_looking = bool(self._waiting)
        if self._is_looking:
            self._routing.look_again()
            self._loop.call_later(LOOK_S, self._look_on)

    def _too_many(self) -> TooManyRequestsError:
        return TooManyRequestsError(
            f"{self._settings.replica_queue} calls wait at each of {max(len(self._links), 1)} replicas already"
        )

    def _give_up(self, call: PendingCall, limit_s: float) -> None:
        if not call.future.done() and call in self._waiting:
            self._waiting.remove(call)
            message = f"Deployment {self.route.deployment_id} has had no working replica for {limit_s:g} seconds"
            call.future.set_exception(NotReadyError(message))

    def _send_again(self, call: PendingCall) -> None:
        call.resent += 1
        if call.future.done():
            return
        try:
            if call.resent > RESENDS:
                raise NotReadyError("The replicas of this deployment ended again and again before this call's turn")
            self.place(call)
        except ApiError as error:
            call.future.set_exception(error)

    def report(self, reporter: Reporter) -> None:
        """Tells the serving how much there is to do, if there is anything, or was when it was last told."""
        if self.split is not None:
            self.split.report(reporter)
            for errand in self.split.errands():
                self._routing.run_errand(errand)
        if not self._links:
            return
        now = (self.tally.calls, sum(self.load))
        if now[1] or now != self._reported:
            self._reported = now
            place = self._links[0].place
            reporter.report(place.socket, place.serving_id, now[1])

    # -- what connections tell ----------------------------------------------------------------------------------

    def timed_out(self, connection: Connection, call: PendingCall) -> None:
        """Answers the call, has the replica replaced, and sends on the calls that waited behind it."""
        limit_s = self._settings.prediction_timeout_s
        if not call.future.done():
            call.future.set_exception(RequestTimeoutError(f"The prediction took longer than {limit_s:g} seconds"))
        replica_id = connection.place.replica_id
        log.warning("deployment %s: replica %s passed the time limit", self.route.deployment_id, replica_id)
        self._forget(connection)
        self._routing.run_errand(lambda session: condemn(session, replica_id))
        connection.close()

    def lost(self, connection: Connection, begun: list[PendingCall], others: list[PendingCall]) -> None:
        """Answers the calls that had begun and sends the others again."""
        self._forget(connection)
        unfinished = [call for call in begun if not call.future.done()]
        for call in unfinished:
            call.future.set_exception(_lost_error(len(unfinished)))
        for call in others:
            if not call.future.done():
                self._send_again(call)
        self._routing.look_again()

    def _forget(self, connection: Connection) -> None:
        if connection in self._links:
            self._links.remove(connection)
            self._broken[connection.place.replica_id] = time.monotonic()

    # -- what the table tells -----------------------------------------------------------------------------------

    def apply(self, route: Route) -> None:
        """Takes over what changed."""
        self.route, self.project_id = route, route.project_id
        self._is_waking = self._is_waking and not route.places and bool(self._waiting)
        rate = route.calls_per_second
        if rate is None:
            self.bucket = None
        elif self.bucket is None or self.bucket.rate != rate:
            self.bucket = self._routing.rates.bucket(route.deployment_id, rate)
        self._apply_batching(route.options)
        active = route.status == DeploymentStatus.ACTIVE
        places = {place.replica_id: place for place in route.places} if active else {}
        self._broken = {key: at for key, at in self._broken.items() if key in places}
        for link in [link for link in self._links if link.place.replica_id not in places]:
            self._links.remove(link)
            link.retire()
        linked = {link.place.replica_id for link in self._links}
        for replica_id, place in places.items():
            if replica_id not in linked and replica_id not in self._connecting and self._may_try(replica_id):
                self._connecting.add(replica_id)
                self._spawn(self._connect(place))
        if not active:
            self.close(not_ready(route))
        if route.sides or self.split is not None:
            self.split = self.split or Split(self, self._make_side)
            self.split.apply(route.sides if active else ())
            self.split = self.split if route.sides else None

    def _apply_batching(self, options: DeploymentOptions) -> None:
        before = self.batcher
        if before is not None and before.options == options:
            return
        wanted = options.max_batch_size > 1 and self.route.feature_group_id is None
        self.batcher = (
            Batcher(options, self._settings.replica_queue, lambda: self._links, self.place) if wanted else None
        )
        if before is not None:
            before.leave()
            if self.batcher is not None:
                self.batcher.sizes = before.sizes  # counts only ever grow

    def route_of(self, side: SideRoute) -> Route:
        """The same deployment with that version's replicas."""
        return self.route._replace(sides=(), places=side.places, serving_id=side.serving_id, is_asleep=False)

    def _make_side(self, side: SideRoute) -> "Line":
        elsewhere = self if side.role is Role.CANARY else None
        return Line(self.route_of(side), self._routing, self._settings, self._spawn, elsewhere)

    def close(self, reason: ApiError) -> None:
        """Answers what waits for a replica."""
        if self.batcher is not None:
            self.batcher.close(reason)
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(reason)

    def retire(self) -> None:
        """The deployment has gone: nothing new, and connections close after their last answers."""
        self._retired = True
        if self.split is not None:
            self.split.retire()
        links, self._links = self._links, []
        for link in links:
            link.retire()
        self.close(NotReadyError(f"Deployment {self.route.deployment_id} has been deleted"))

    def _may_try(self, replica_id: ReplicaId) -> bool:
        return time.monotonic() - self._broken.get(replica_id, -RECONNECT_S) >= RECONNECT_S

    async def _connect(self, place: Place) -> None:
        settings = self._settings
        try:
            connection = await connect(
                place,
                lambda lock, mark: Connection(
                    place, self, settings.prediction_timeout_s, settings.prediction_answer_limit, lock, mark
                ),
            )
        except OSError:
            # A killed agent leaves sockets that nobody listens on; the agent that takes over cleans the rows.
            self._broken[place.replica_id] = time.monotonic()
            self._loop.call_later(RECONNECT_S, self._reconnect)
            return
        finally:
            self._connecting.discard(place.replica_id)
        if place not in self.route.places or not connection.is_open:
            connection.retire()
            return
        self._broken.pop(place.replica_id, None)
        self._links.append(connection)
        self._serve_waiting()

    def _reconnect(self) -> None:
        if not self._retired:
            self.apply(self.route)

    def _serve_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if not call.future.done():
                self._send_again(call)
        if self.batcher is not None:
            self.batcher.wake()


def condemn(session: Session, replica_id: ReplicaId) -> None:
    """Asks the agent to replace a replica."""
    mine = (Replica.replica_id == replica_id, Replica.state == ReplicaState.READY)
    session.execute(update(Replica).where(*mine).values(state=ReplicaState.CONDEMNED))
    note_change(session)


def not_ready(route: Route) -> NotReadyError:
    """Why a deployment takes no calls."""
    why = f": {route.error}" if route.status == DeploymentStatus.FAILED and route.error else ""
    hint = "; start it with startDeployment" if route.status == DeploymentStatus.STOPPED else ""
    return NotReadyError(f"Deployment {DeploymentId(route.deployment_id)} is {route.status}{why}{hint}")


def _load(connection: Connection) -> int:
    return len(connection.pending)


def _lost_error(unfinished: int) -> PredictionError:
    if unfinished > 1:
        return PredictionError(
            f"The model's process ended while it worked on {unfinished} calls, this one among them; send it again"
        )
    return PredictionError("The model's process ended while it worked on this call (out of memory, a crash or an exit)")
