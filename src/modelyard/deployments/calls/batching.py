"""Single predictions of one deployment that wait together go to a replica as one call. Off unless an option says so.

A part of the deployment's `Line`; lives in the gateway's event loop. A call never waits for others to come: where a
replica is free, whatever is there goes at once. While all are busy calls gather, and the next replica that answers gets
as many of them as `latencyBudgetMs` has been found to allow. There is no timer and no polling: answers set it going.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from modelyard.deployments.calls.connection import Connection, PendingCall
from modelyard.deployments.calls.frames import Answer, Kind, Status, pack_batch, unpack_batch
from modelyard.deployments.options import DeploymentOptions
from modelyard.errors import ApiError, PredictionError, RequestTimeoutError, TooManyRequestsError

#: Calls that a batch begins with; more as soon as that many were quick enough.
FIRST_SIZE = 8
#: By how much a batch grows that was full and quick enough.
GROWTH = 1.25
#: Bytes of a batch from which on no further call is added.
MOST_BYTES = 4 * 1024**2
#: Batches that a replica may have at once, if it works on one call at a time, and if on several.
SLOTS, SLOTS_OF_THREADS = 1, 2


class BatchSize:
    """How many calls a batch may have: more while full ones stay within the budget, fewer as soon as one does not."""

    def __init__(self, most: int, budget_s: float) -> None:
        self._most, self._budget_s = most, budget_s
        self.size = min(FIRST_SIZE, most)

    def note(self, size: int, took_s: float) -> None:
        """A batch of that size took so long. A call that is slow alone says nothing of batches."""
        if took_s > self._budget_s:
            if size > 1:
                self.size = max(1, min(self.size - 1, int(size * self._budget_s / took_s)))
        elif size >= self.size:
            self.size = min(self._most, max(self.size + 1, int(self.size * GROWTH)))


class Batcher:
    """Gathers calls and hands them to replicas."""

    def __init__(
        self,
        options: DeploymentOptions,
        queue: int,
        links: Callable[[], list[Connection]],
        place: Callable[[PendingCall], None],
    ) -> None:
        self.options, self._queue, self._links, self._place = options, queue, links, place
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[PendingCall] = deque()
        self._limit = BatchSize(options.max_batch_size, options.latency_budget_ms / 1000)
        self._is_due = False
        #: Size of a batch -> how many there were.
        self.sizes: dict[int, int] = {}
        #: Calls in batches that are under way, beyond one for each batch.
        self.more_under_way = 0

    @property
    def waiting(self) -> int:
        """Calls that wait for a replica."""
        return len(self._waiting)

    def send(self, body: bytes) -> "asyncio.Future[Answer]":
        """The future of the answer to a prediction. TooManyRequestsError where too many wait already."""
        limit = self._queue * max(len(self._links()), 1)
        if len(self._waiting) >= limit:
            self._waiting = deque(call for call in self._waiting if not call.future.done())
        if len(self._waiting) >= limit:
            raise TooManyRequestsError(f"{limit} calls wait for a replica already", limit="queue")
        call = PendingCall(Kind.PREDICT, body, self._loop.create_future())
        self._waiting.append(call)
        self.wake()
        return call.future

    def wake(self, _: object = None) -> None:
        """A replica may be free: looks at the end of this turn of the event loop, when what comes together is there."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._hand_out)

    def close(self, reason: ApiError) -> None:
        """Answers what waits."""
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(reason)

    def leave(self) -> None:
        """Hands what waits to the line, one by one: there is no replica, or calls are no longer to go together."""
        waiting, self._waiting = self._waiting, deque()
        self._ask_one_by_one(waiting)

    def _hand_out(self) -> None:
        self._is_due = False
        while self._waiting:
            links = self._links()
            if not links:
                self.leave()
                return
            link = min(links, key=lambda each: len(each.pending))
            if len(link.pending) >= (SLOTS_OF_THREADS if link.place.is_thread_safe else SLOTS):
                return
            self._hand_to(link)

    def _hand_to(self, link: Connection) -> None:
        calls = self._take()
        if not calls:
            return
        self.sizes[len(calls)] = self.sizes.get(len(calls), 0) + 1
        began = time.monotonic()
        if len(calls) == 1:
            calls[0].future.add_done_callback(partial(self._note, 1, began))
            link.send(calls[0])
            return
        batch = PendingCall(Kind.PREDICT_BATCH, pack_batch([call.body for call in calls]), self._loop.create_future())
        batch.future.add_done_callback(partial(self._answered, calls, began))
        self.more_under_way += len(calls) - 1
        link.send(batch)

    def _take(self) -> list[PendingCall]:
        """The next calls, as many as a batch may have; those whose callers have left are dropped."""
        calls: list[PendingCall] = []
        size = 0
        while self._waiting and len(calls) < self._limit.size and size < MOST_BYTES:
            call = self._waiting.popleft()
            if not call.future.done():
                calls.append(call)
                size += len(call.body)
        return calls

    def _note(self, size: int, began: float, done: "asyncio.Future[Answer]") -> None:
        if not done.cancelled() and isinstance(done.exception(), RequestTimeoutError | None):
            self._limit.note(size, time.monotonic() - began)
        self.wake()

    def _answered(self, calls: list[PendingCall], began: float, done: "asyncio.Future[Answer]") -> None:
        self.more_under_way -= len(calls) - 1
        self._note(len(calls), began, done)
        error = done.exception()
        if isinstance(error, ApiError) and not isinstance(error, PredictionError | RequestTimeoutError):
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(error)
            return
        answers = self._read(done.result()) if error is None else []
        if len(answers) != len(calls):
            # The replica was lost, and one of them may have ended it: alone it does so to itself. Or one of them took
            # all their time, or they had too little of it together: each has the whole limit alone. Or their answers
            # were too large together.
            self._ask_one_by_one(calls)
            return
        for call, answer in zip(calls, answers, strict=True):
            if not call.future.done():
                call.future.set_result(answer)

    def _read(self, answer: Answer) -> list[Answer]:
        if answer.status != Status.OK:
            return []
        try:
            return unpack_batch(answer.body)
        except ValueError:
            return []

    def _ask_one_by_one(self, calls: Iterable[PendingCall]) -> None:
        for call in calls:
            if call.future.done():
                continue
            call.future.add_done_callback(self.wake)
            try:
                self._place(call)
            except ApiError as error:
                call.future.set_exception(error)
