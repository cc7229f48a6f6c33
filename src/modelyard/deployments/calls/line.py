"""The line of calls of one deployment, over the connections to its ready replicas.

Lives in the gateway's event loop; `dispatch.py` makes it and tells it what the routing table says. It connects to
replicas that came, retires connections to those that went, and keeps the calls of a moment without any replica (a
crash, a restart of the agent) until one is there. A call that surely had not begun when its replica was lost is sent
again elsewhere; one that had is answered with an error, since it may be what ended the replica.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

from modelyard.deployments.calls.batching import Batcher
from modelyard.deployments.calls.connection import WAITING_BYTES, Connection, PendingCall, connect
from modelyard.deployments.calls.frames import Answer, Kind
from modelyard.deployments.calls.rates import Bucket
from modelyard.deployments.calls.refusals import condemn, lost_error, not_ready
from modelyard.deployments.calls.routes import Place, Route, SideRoute
from modelyard.deployments.calls.routing import Routing
from modelyard.deployments.calls.sampling import Sampler
from modelyard.deployments.calls.tally import Tally
from modelyard.deployments.calls.waiting_room import WaitingRoom
from modelyard.deployments.options import DeploymentOptions
from modelyard.deployments.records import DeploymentStatus, Role
from modelyard.deployments.replicas.reports import Reporter
from modelyard.deployments.rollouts.splitting import Split
from modelyard.errors import ApiError, NotReadyError, RequestTimeoutError, TooManyRequestsError
from modelyard.ids import ProjectId, ReplicaId
from modelyard.settings import Settings

log = logging.getLogger(__name__)
#: Runs something beside everything else.
Spawn = Callable[[Coroutine[None, None, None]], None]

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
        self._room = WaitingRoom(self, routing, settings)
        self._turn = 0
        #: Calls answered when the serving was last told how much there is to do, and how much it was told.
        self._reported = (0, 0)
        self.apply(route)

    # -- calls --------------------------------------------------------------------------------------------------

    @property
    def load(self) -> tuple[int, int]:
        """Calls that replicas have, and calls that wait until there is one; readable from any thread."""
        under_way, waiting = sum(len(link.pending) for link in tuple(self._links)), len(self._room)
        batcher = self.batcher
        if batcher is not None:
            under_way, waiting = under_way + batcher.more_under_way, waiting + batcher.waiting
        return under_way, waiting

    @property
    def is_broken(self) -> bool:
        """Whether a replica that the table names may have to be tried again: it could not be reached, or was lost."""
        return bool(self._broken) or self.split is not None

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
            elif self._retired:
                raise self._deleted()
            else:
                self._room.keep(call)
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

    def _too_many(self) -> TooManyRequestsError:
        return TooManyRequestsError(
            f"{self._settings.replica_queue} calls wait at each of {max(len(self._links), 1)} replicas already"
        )

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

    def timed_out(self, connection: Connection, call: PendingCall | None) -> None:
        """Answers the call, has the replica replaced, and sends on the calls that waited behind it."""
        limit_s = self._settings.prediction_timeout_s
        if call is not None and not call.future.done():
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
            call.future.set_exception(lost_error(len(unfinished)))
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
        self._room.apply(route)
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
        self._room.close(reason)

    def retire(self) -> None:
        """The deployment has gone: nothing new, and connections close after their last answers."""
        self._retired = True
        if self.split is not None:
            self.split.retire()
        links, self._links = self._links, []
        for link in links:
            link.retire()
        self.close(self._deleted())

    def _deleted(self) -> NotReadyError:
        return NotReadyError(f"Deployment {self.route.deployment_id} has been deleted")

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
        for call in self._room.take_all():
            if not call.future.done():
                self._send_again(call)
        if self.batcher is not None:
            self.batcher.wake()


def _load(connection: Connection) -> int:
    return len(connection.pending)
