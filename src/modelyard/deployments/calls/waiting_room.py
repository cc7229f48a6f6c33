"""Where calls of one deployment wait while it has no replica: after a crash, a restart of the agent, or a sleep.

A part of the deployment's `Line`; lives in the gateway's event loop. The first call that meets a deployment asleep
wakes it. While anybody waits, the routing table is looked at often.
"""

import asyncio
from collections import deque
from typing import Protocol

from modelyard.deployments.calls.connection import PendingCall
from modelyard.deployments.calls.routes import Route
from modelyard.deployments.calls.routing import Routing
from modelyard.deployments.lifecycle import wake
from modelyard.errors import ApiError, NotReadyError, TooManyRequestsError
from modelyard.settings import Settings

#: Seconds that a call waits for a replica of a deployment that is awake before it is answered NotReadyError.
REPLICA_WAIT_S = 15.0
#: Seconds between two looks at the routing table while calls wait.
LOOK_S = 0.05


class Owner(Protocol):
    """The line, as its waiting room knows it."""

    route: Route


class WaitingRoom:
    """Calls that wait, in the order in which they came."""

    def __init__(self, line: Owner, routing: Routing, settings: Settings) -> None:
        self._line, self._routing, self._settings = line, routing, settings
        self._loop = asyncio.get_running_loop()
        self._calls: deque[PendingCall] = deque()
        self._is_waking = self._is_looking = False

    def __len__(self) -> int:
        return len(self._calls)

    def keep(self, call: PendingCall) -> None:
        """Has the call wait; TooManyRequestsError if there is no room. Calls whose callers have left take none."""
        limit = self._settings.replica_queue
        if len(self._calls) >= limit:
            self._calls = deque(each for each in self._calls if not each.future.done())
        if len(self._calls) >= limit:
            raise TooManyRequestsError(f"{limit} calls wait for a replica of this deployment already")
        self._calls.append(call)
        asleep = self._line.route.is_asleep
        limit_s = self._settings.wake_timeout_s if asleep or self._is_waking else REPLICA_WAIT_S
        self._loop.call_later(limit_s, self._give_up, call, limit_s)
        if asleep and not self._is_waking:
            self._is_waking = True
            deployment_id = self._line.route.deployment_id
            self._routing.run_errand(lambda session: wake(session, deployment_id))
        if not self._is_looking:
            self._look_on()

    def apply(self, route: Route) -> None:
        """Takes note of what changed: with a replica, or when nobody waits, waking is over."""
        self._is_waking = self._is_waking and not route.places and bool(self._calls)

    def take_all(self) -> deque[PendingCall]:
        """Those that waited; nobody does any more."""
        calls, self._calls = self._calls, deque()
        return calls

    def close(self, reason: ApiError) -> None:
        """Answers all with that."""
        for call in self.take_all():
            if not call.future.done():
                call.future.set_exception(reason)

    def _look_on(self) -> None:
        self._is_looking = bool(self._calls)
        if self._is_looking:
            self._routing.look_again()
            self._loop.call_later(LOOK_S, self._look_on)

    def _give_up(self, call: PendingCall, limit_s: float) -> None:
        if not call.future.done() and call in self._calls:
            self._calls.remove(call)
            message = f"Deployment {self._line.route.deployment_id} has had no working replica for {limit_s:g} seconds"
            call.future.set_exception(NotReadyError(message))
