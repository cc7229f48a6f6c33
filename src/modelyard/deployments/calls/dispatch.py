"""The gateway's switchboard: a line of calls for each deployment that has any, kept as the routing table says.

Made by the lane inside its event loop. `Routing` hands over each new table from a thread of its own; `line.py` does
the rest for each deployment.
"""

import asyncio
from collections.abc import Coroutine, Iterable

from modelyard.deployments.calls.line import Line
from modelyard.deployments.calls.rates import Bucket
from modelyard.deployments.calls.routes import EMPTY, RoutingTable
from modelyard.deployments.calls.routing import Routing
from modelyard.deployments.changes import Changes
from modelyard.deployments.replicas.reports import REPORT_S, Reporter
from modelyard.settings import Settings


class Dispatch:
    """All lines of one gateway. Made inside its event loop; a part of the lane."""

    def __init__(self, routing: Routing, settings: Settings) -> None:
        self.routing, self.settings = routing, settings
        self.loop = asyncio.get_running_loop()
        self.table: RoutingTable = EMPTY
        #: Of deployments that are awake, or that somebody has asked: of many most are neither.
        self.lines: dict[str, Line] = {}
        #: Of tokens that have a limit of their own.
        self.token_buckets: dict[str, Bucket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Future[None] | None = None
        self._closed = False
        #: The newest table that the thread of `Routing` told of.
        self._heard: RoutingTable = EMPTY
        self._reporter = Reporter()
        self.loop.call_later(REPORT_S, self._report)
        routing.on_change(self._on_change)

    def find(self, deployment_id: str) -> Line | None:
        """The deployment's line; None where there is no such deployment."""
        line = self.lines.get(deployment_id)
        if line is None and (route := self.table.routes.get(deployment_id)) is not None:
            line = self.lines[deployment_id] = Line(route, self.routing, self.settings, self.spawn)
        return line

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
        self._reporter.close()

    def _report(self) -> None:
        """Tells servings how much their deployments have to do; of those that nobody asks, nothing."""
        if not self._closed:
            for line in self.lines.values():
                line.report(self._reporter)
            self.loop.call_later(REPORT_S, self._report)

    def _on_change(self, table: RoutingTable, changes: Changes | None) -> None:
        """In the thread of `Routing`: sees what to do, so that the event loop only has to do it."""
        before, self._heard = self._heard, table
        if changes is None:
            awake = [deployment_id for deployment_id, route in table.routes.items() if route.places]
            gone = list(before.routes.keys() - table.routes.keys())
        else:
            awake = [each for each in changes.deployments if each in table.routes and table.routes[each].places]
            gone = [each for each in changes.deployments if each not in table.routes]
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._apply, table, awake, gone)

    def _apply(self, table: RoutingTable, awake: Iterable[str], gone: Iterable[str]) -> None:
        if self._closed:
            return
        before, self.table = self.table, table
        for deployment_id, line in list(self.lines.items()):
            route = table.routes.get(deployment_id)
            if route is None:
                self.lines.pop(deployment_id).retire()
            elif line.is_broken or (route is not line.route and route != line.route):
                line.apply(route)
        for deployment_id in gone:
            self.routing.rates.forget(deployment_id)
        for deployment_id in awake:
            self.find(deployment_id)
        if table.limits is not before.limits:
            self._limit_tokens(table)

    def _limit_tokens(self, table: RoutingTable) -> None:
        before, rates = self.token_buckets, self.routing.rates
        self.token_buckets = {
            token: before[token] if token in before and before[token].rate == rate else rates.bucket(token, rate)
            for token, rate in table.limits.items()
        }
        for token in before.keys() - self.token_buckets.keys():
            rates.forget(token)
