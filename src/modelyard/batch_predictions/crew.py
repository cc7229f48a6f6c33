"""Several guests that share numbered pieces of work. A piece that fails is tried once more, in a fresh guest.

Each guest has a thread here, which asks it for one piece after the other; the answers are yielded where the crew was
called, so everything that is kept is kept by one thread, while the guests are at work on what comes next. Nobody runs
further ahead of what was taken than a few pieces.
"""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from modelyard.execution import RunContext
from modelyard.sandbox import Guest, GuestError
from modelyard.sandbox.failures import FailureKind
from modelyard.sandbox.limits import Usage

Answer = TypeVar("Answer")
#: Pieces for each guest that may be done and not taken.
_AHEAD = 3


class Unanswered(Exception):
    """A guest gave no answer to what it was asked; raised by `hire` and `ask`."""

    def __init__(self, error: GuestError) -> None:
        super().__init__(error.sentence)
        self.error = error


class NotHired(Exception):
    """A guest could not be made ready for its work."""

    def __init__(self, error: GuestError) -> None:
        super().__init__(error.sentence)
        self.error = error


class PieceFailed(Exception):
    """A piece failed for good."""

    def __init__(self, number: int, error: GuestError, attempts: int) -> None:
        super().__init__(error.sentence)
        self.number, self.error, self.attempts = number, error, attempts


class Starved(Exception):
    """A guest needed more than its share of memory; fewer of them would have more each."""


class Crew(Generic[Answer]):
    """So many guests, for one round of work."""

    def __init__(
        self, run: RunContext, size: int, hire: Callable[[], Guest], ask: Callable[[Guest, int], Answer]
    ) -> None:
        self._run, self._size, self._hire, self._ask = run, size, hire, ask
        self._lock = threading.Lock()
        self._waiting: deque[int] = deque()
        self._tried: set[int] = set()
        self._guests: set[Guest] = set()
        self._used: list[Usage] = []
        self._room = threading.Semaphore(_AHEAD * size)
        self._answers: queue.SimpleQueue[tuple[int, Answer] | BaseException | None] = queue.SimpleQueue()
        self._closing = False
        #: When the first piece was begun, as time.monotonic has it.
        self.began: float | None = None

    def work(
        self, numbers: Sequence[int], *, tried: set[int] | None = None, tick_s: float | None = None
    ) -> Iterator[tuple[int, Answer] | None]:
        """The answers as they come, and None whenever none came for `tick_s`; `tried` have failed once already.

        Raises NotHired, PieceFailed or Starved; leaving the iteration ends the guests.
        """
        with self._at_work(numbers, tried if tried is not None else set()) as threads:
            for found in self._taken(threads, tick_s):
                yield found
                if found is not None:
                    self._room.release()

    def work_in_order(self, numbers: Sequence[int]) -> Iterator[tuple[int, Answer]]:
        """As `work`, in the order of the numbers."""
        early: dict[int, Answer] = {}
        coming = iter(numbers)
        expected = next(coming, None)
        with self._at_work(numbers, set()) as threads:
            for found in self._taken(threads, None):
                early |= [] if found is None else [found]
                while expected is not None and expected in early:
                    yield expected, early.pop(expected)
                    self._room.release()
                    expected = next(coming, None)

    @property
    def used(self) -> Usage:
        """What all guests of the crew used together, once they have ended."""
        peak = sum(sorted((each.peak_memory_bytes for each in self._used), reverse=True)[: self._size])
        return Usage(peak, sum(each.cpu_s for each in self._used))

    @contextlib.contextmanager
    def _at_work(self, numbers: Sequence[int], tried: set[int]) -> Iterator[int]:
        """Has so many threads at work while the block lasts."""
        self._waiting.extend(numbers)
        self._tried = tried
        threads = [threading.Thread(target=self._serve, name="crew") for _ in range(min(self._size, len(numbers)))]
        for thread in threads:
            thread.start()
        try:
            yield len(threads)
        finally:
            self._close()
            for thread in threads:
                thread.join()

    def _taken(self, threads: int, tick_s: float | None) -> Iterator[tuple[int, Answer] | None]:
        while threads:
            try:
                found = self._answers.get(timeout=tick_s)
            except queue.Empty:
                yield None
                continue
            if isinstance(found, BaseException):
                raise found
            if found is None:
                threads -= 1
            else:
                yield found

    def _serve(self) -> None:
        guest: Guest | None = None
        try:
            while (number := self._next()) is not None:
                guest = self._answer(guest, number)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that takes the answers
            if not self._closing:
                self._answers.put(error)
        finally:
            if guest is not None:
                self._dismiss(guest)
            self._answers.put(None)

    def _answer(self, guest: Guest | None, number: int) -> Guest:
        """The guest that answered, for the next piece."""
        while True:
            if guest is None:
                guest = self._hired()
            self.began = self.began or time.monotonic()
            try:
                answer = self._ask(guest, number)
            except Unanswered as failed:
                self._dismiss(guest)
                guest = None
                self._judge(number, failed.error)
            except BaseException:
                self._dismiss(guest)
                raise
            else:
                self._answers.put((number, answer))
                return guest

    def _hired(self) -> Guest:
        try:
            guest = self._hire()
        except Unanswered as failed:
            if failed.error.kind == FailureKind.MEMORY and self._size > 1:
                raise Starved from failed
            raise NotHired(failed.error) from failed
        with self._lock:
            self._guests.add(guest)
            closing = self._closing
        if closing:
            self._dismiss(guest)
            raise RuntimeError("the crew is being closed")
        return guest

    def _judge(self, number: int, error: GuestError) -> None:
        """Returns if the piece may be tried once more."""
        if error.kind == FailureKind.CANCELLED:
            self._run.check_cancelled()
        with self._lock:
            attempts = 1 + (number in self._tried)
            self._tried.add(number)
        if attempts > 1 or error.kind in (FailureKind.CANCELLED, FailureKind.TIMEOUT):
            raise PieceFailed(number, error, attempts)
        if error.kind == FailureKind.MEMORY and self._size > 1:
            raise Starved

    def _next(self) -> int | None:
        while not self._room.acquire(timeout=1):
            if self._closing:
                return None
        with self._lock:
            return self._waiting.popleft() if self._waiting and not self._closing else None

    def _dismiss(self, guest: Guest) -> None:
        guest.kill()
        with self._lock:
            if guest in self._guests:
                self._guests.discard(guest)
                self._used.append(guest.usage)
        if guest.output_failure is not None and not self._closing:
            raise guest.output_failure

    def _close(self) -> None:
        with self._lock:
            self._closing = True
            guests = list(self._guests)
        for guest in guests:
            guest.kill()
