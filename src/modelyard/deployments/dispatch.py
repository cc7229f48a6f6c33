"""Brings each call to a replica: one line of calls for each deployment, over the connections to its ready replicas.

Lives in the gateway's event loop. `Routing` hands over each new table; lines then connect to replicas that came, retire
connections to those that went, and keep the calls of a moment without any replica (a crash, a restart of the agent)
until one is there. A call that surely had not begun when its replica was lost is sent again elsewhere; one that had is
answered with an error, since it may be what ended the replica.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine

from sqlalchemy import update
from sqlalchemy.orm import Session

from modelyard.deployments.changes import note_change
from modelyard.deployments.connection import WAITING_BYTES, Connection, PendingCall, connect
from modelyard.deployments.frames import Answer
from modelyard.deployments.records import DeploymentStatus, Replica, ReplicaState
from modelyard.deployments.routing import EMPTY, Place, Route, Routing, RoutingTable
from modelyard.errors import ApiError, NotReadyError, PredictionError, RequestTimeoutError, TooManyRequestsError
from modelyard.ids import DeploymentId, ProjectId, ReplicaId
from modelyard.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that a call waits for a replica of an ACTIVE deployment before it is answered NotReadyError.
REPLICA_WAIT_S = 15.0
#: Seconds until a replica that could not be reached is tried again.
RECONNECT_S = 0.2
#: Times that one call is sent again.
RESENDS = 3


class Bucket:
    """callsPerSecond: so many calls a second, and as many at once after a quiet second."""

    __slots__ = ("_at", "_left", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._left, self._at = float(rate), time.monotonic()

    def take(self) -> bool:
        """Whether one more call is allowed now."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * self.rate, float(max(self.rate, 1)))
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Line:
    """The calls of one deployment."""

    def __init__(self, dispatch: "Dispatch", route: Route) -> None:
        self.route = route
        self.project_id: ProjectId = route.project_id
        self.bucket: Bucket | None = None
        #: Calls answered, and those of them that failed.
        self.calls = self.failures = 0
        self._dispatch, self._settings = dispatch, dispatch.settings
        self._links: list[Connection] = []
        self._connecting: set[ReplicaId] = set()
        #: Places that gave out; left alone until the table no longer names them, or some time has passed.
        self._broken: dict[ReplicaId, float] = {}
        self._waiting: deque[PendingCall] = deque()
        self._turn = 0
        self.apply(route)

    # -- calls --------------------------------------------------------------------------------------------------

    def send(self, kind: int, body: bytes) -> "asyncio.Future[Answer]":
        """Sends a call on its way and gives the future of its answer. Raises where it can't be taken now."""
        if self.bucket is not None and not self.bucket.take():
            raise TooManyRequestsError(f"More than {self.bucket.rate} calls a second; see callsPerSecond")
        call = PendingCall(kind, body, self._dispatch.loop.create_future())
        links = self._links
        if len(links) == 1:
            link = links[0]
            if len(link.pending) < self._settings.replica_queue and link.waiting_bytes < WAITING_BYTES:
                link.send(call)
                return call.future
        self._place(call)
        return call.future

    def _place(self, call: PendingCall) -> None:
        if self.route.status != DeploymentStatus.ACTIVE:
            raise not_ready(self.route)
        if not self._links:
            if len(self._waiting) >= self._settings.replica_queue:
                raise self._too_many()
            self._waiting.append(call)
            self._dispatch.loop.call_later(REPLICA_WAIT_S, self._give_up, call)
            self._dispatch.routing.look_again()
            return
        self._turn += 1
        links = self._links
        link = min(links[self._turn % len(links) :] + links[: self._turn % len(links)], key=_load)
        if len(link.pending) >= self._settings.replica_queue or link.waiting_bytes >= WAITING_BYTES:
            raise self._too_many()
        link.send(call)

    def _too_many(self) -> TooManyRequestsError:
        return TooManyRequestsError(
            f"{self._settings.replica_queue} calls wait at each of {max(len(self._links), 1)} replicas already"
        )

    def _give_up(self, call: PendingCall) -> None:
        if not call.future.done() and call in self._waiting:
            self._waiting.remove(call)
            message = f"Deployment {self.route.deployment_id} has had no working replica for {REPLICA_WAIT_S:g} seconds"
            call.future.set_exception(NotReadyError(message))

    def _send_again(self, call: PendingCall) -> None:
        call.resent += 1
        if call.future.done():
            return
        try:
            if call.resent > RESENDS:
                raise NotReadyError("The replicas of this deployment ended again and again before this call's turn")
            self._place(call)
        except ApiError as error:
            call.future.set_exception(error)

    # -- what connections tell ----------------------------------------------------------------------------------

    def timed_out(self, connection: Connection, call: PendingCall) -> None:
        """Answers the call, has the replica replaced, and sends on the calls that waited behind it."""
        limit_s = self._settings.prediction_timeout_s
        if not call.future.done():
            call.future.set_exception(RequestTimeoutError(f"The prediction took longer than {limit_s:g} seconds"))
        replica_id = connection.place.replica_id
        log.warning("deployment %s: replica %s passed the time limit", self.route.deployment_id, replica_id)
        self._forget(connection)
        self._dispatch.routing.run_errand(lambda session: condemn(session, replica_id))
        connection.close()

    def lost(self, connection: Connection, calls: list[PendingCall]) -> None:
        """Answers the calls that had begun and sends the others again."""
        self._forget(connection)
        unfinished = [call for call in calls if not call.future.done()]
        begun = len(calls) if connection.place.is_thread_safe else 1
        for position, call in enumerate(calls):
            if call.future.done():
                continue
            if position < begun:
                call.future.set_exception(_lost_error(len(unfinished) if connection.place.is_thread_safe else 1))
            else:
                self._send_again(call)
        self._dispatch.routing.look_again()

    def _forget(self, connection: Connection) -> None:
        if connection in self._links:
            self._links.remove(connection)
            self._broken[connection.place.replica_id] = time.monotonic()

    # -- what the table tells -----------------------------------------------------------------------------------

    def apply(self, route: Route) -> None:
        """Takes over what changed."""
        self.route, self.project_id = route, route.project_id
        rate = route.calls_per_second
        if rate is None:
            self.bucket = None
        elif self.bucket is None or self.bucket.rate != rate:
            self.bucket = Bucket(rate)
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
                self._dispatch.spawn(self._connect(place))
        if not active:
            self.close(not_ready(route))

    def close(self, reason: ApiError) -> None:
        """Answers what waits for a replica."""
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(reason)

    def retire(self) -> None:
        """The deployment has gone: nothing new, and connections close after their last answers."""
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
                lambda lock: Connection(
                    place, self, settings.prediction_timeout_s, settings.prediction_answer_limit, lock
                ),
            )
        except OSError:
            # A killed agent leaves sockets that nobody listens on; the agent that takes over cleans the rows.
            self._broken[place.replica_id] = time.monotonic()
            self._dispatch.loop.call_later(RECONNECT_S, self._reconnect)
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
        if self._dispatch.lines.get(self.route.deployment_id) is self:
            self.apply(self.route)

    def _serve_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if not call.future.done():
                self._send_again(call)


class Dispatch:
    """All lines of one gateway. Made inside its event loop; a part of the lane."""

    def __init__(self, routing: Routing, settings: Settings) -> None:
        self.routing, self.settings = routing, settings
        self.loop = asyncio.get_running_loop()
        self.table: RoutingTable = EMPTY
        self.lines: dict[str, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Future[None] | None = None
        self._closed = False
        routing.on_change(self._on_change)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Runs `work` beside everything else, and keeps it alive until it is done."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def look_again(self) -> None:
        """Returns when the table is at least as new as this call; at most some 50 ms later."""
        if self._looking is None:
            self._looking = self.loop.create_future()
            self.routing.look_again(self._have_looked)
        await asyncio.shield(self._looking)

    def _have_looked(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end_look)

    def _end_look(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.set_result(None)

    def close(self) -> None:
        """Closes every connection."""
        self._closed = True
        for line in self.lines.values():
            line.retire()

    def _on_change(self, table: RoutingTable) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._apply, table)

    def _apply(self, table: RoutingTable) -> None:
        if self._closed:
            return
        self.table = table
        for deployment_id, route in table.routes.items():
            line = self.lines.get(deployment_id)
            if line is None:
                self.lines[deployment_id] = Line(self, route)
            else:
                line.apply(route)
        for deployment_id in [each for each in self.lines if each not in table.routes]:
            self.lines.pop(deployment_id).retire()


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
