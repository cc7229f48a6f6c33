"""Several guests that share numbered pieces of work. A piece that fails is tried once more, in a fresh guest.

Each guest has a thread here, which asks it for some pieces after the others; the answers are yielded where the crew was
called, so everything that is kept is kept by one thread, while the guests are at work on what comes next. Nobody runs
further ahead of what was taken than a few pieces.
"""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

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


class Asked(NamedTuple, Generic[Answer]):
    """What a guest answered: of the pieces it was asked for it has done the first ones."""

    answer: Answer
    #: How many; at least one.
    done: int
    #: Why the next one failed, if it was tried.
    error: GuestError | None = None


class Crew(Generic[Answer]):
    """So many guests, for one round of work. `ask` is called with up to `most` pieces.

    Answers that nobody took, since the work ended before, are handed to `drop`.
    """

    def __init__(
        self,
        run: RunContext,
        size: int,
        hire: Callable[[], Guest],
        ask: Callable[[Guest, list[int]], Asked[Answer]],
        drop: Callable[[Answer], None],
        most: int = 1,
    ) -> None:
        self._run, self._size, self._hire, self._ask, self._most = run, size, hire, ask, most
        self._drop = drop
        self._lock = threading.Lock()
        self._waiting: deque[int] = deque()
        self._tried: set[int] = set()
        #: Those that were among several when a guest ended without a word: to be asked for alone.
        self._alone: set[int] = set()
        self._guests: set[Guest] = set()
        self._used: list[Usage] = []
        self._room = threading.Semaphore(_AHEAD * size)
        self._answers: queue.SimpleQueue[tuple[list[int], Answer] | BaseException | None] = queue.SimpleQueue()
        self._closing = False
        #: Seconds from question to answer, of all guests together.
        self.asked_s = 0.0

    def work(
        self, numbers: Sequence[int], *, tried: set[int] | None = None, tick_s: float | None = None
    ) -> Iterator[tuple[list[int], Answer] | None]:
        """The answers as they come, with what they are to, and None whenever none came for `tick_s`.

        `tried` have failed once already. Raises NotHired, PieceFailed or Starved; leaving the loop ends the guests.
        """
        with self._at_work(numbers, tried if tried is not None else set()) as threads:
            for found in self._taken(threads, tick_s):
                yield found
                if found is not None:
                    self._room.release()

    def work_in_order(self, numbers: Sequence[int]) -> Iterator[Answer]:
        """As `work`, one piece at a time and in the order of the numbers."""
        early: dict[int, Answer] = {}
        coming = iter(numbers)
        expected = next(coming, None)
        try:
            with self._at_work(numbers, set()) as threads:
                for found in self._taken(threads, None):
                    if found is not None:
                        early[found[0][0]] = found[1]
                    while expected is not None and expected in early:
                        yield early.pop(expected)
                        self._room.release()
                        expected = next(coming, None)
        finally:
            for answer in early.values():
                self._drop(answer)

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
            while not self._answers.empty():
                if isinstance(found := self._answers.get(), tuple):
                    self._drop(found[1])

    def _taken(self, threads: int, tick_s: float | None) -> Iterator[tuple[list[int], Answer] | None]:
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
        again: list[int] = []
        try:
            while numbers := self._next(again):
                guest = guest or self._hired()
                guest, again = self._answer(guest, numbers)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that takes the answers
            if not self._closing:
                self._answers.put(error)
        finally:
            if guest is not None:
                self._dismiss(guest)
            self._answers.put(None)

    def _answer(self, guest: Guest, numbers: list[int]) -> tuple[Guest | None, list[int]]:
        """The guest for what comes next, and a piece that this thread is to ask a fresh one for."""
        began = time.monotonic()
        try:
            asked = self._ask(guest, numbers)
        except Unanswered as failed:
            self._dismiss(guest)
            self._room.release()
            return None, self._blame(numbers, failed.error)
        except BaseException:
            self._dismiss(guest)
            raise
        with self._lock:
            self.asked_s += time.monotonic() - began
        done, rest = numbers[: asked.done], numbers[asked.done :]
        self._answers.put((done, asked.answer))
        if asked.error is None:
            self._give_back(rest)
            return guest, []
        self._give_back(rest[1:])
        self._dismiss(guest)
        return None, self._blame(rest[:1], asked.error)

    def _blame(self, numbers: list[int], error: GuestError) -> list[int]:
        """The piece to try again, if it is known which one failed and that was its first time."""
        if error.kind == FailureKind.CANCELLED:
            self._run.check_cancelled()
        # What is raised is raised for the first; a guest that ended may have been at any.
        if len(numbers) > 1 and error.kind not in (FailureKind.EXCEPTION, FailureKind.CANCELLED, FailureKind.TIMEOUT):
            with self._lock:
                self._alone.update(numbers)
            self._give_back(numbers)
            return []
        number, *rest = numbers
        self._give_back(rest)
        with self._lock:
            attempts = 1 + (number in self._tried)
            self._tried.add(number)
        if attempts > 1 or error.kind in (FailureKind.CANCELLED, FailureKind.TIMEOUT):
            raise PieceFailed(number, error, attempts)
        if error.kind == FailureKind.MEMORY and self._size > 1:
            raise Starved
        return [number]

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

    def _next(self, again: list[int]) -> list[int]:
        """What to ask for, as soon as there is room for the answer; nothing at the end."""
        while not self._room.acquire(timeout=1):
            if self._closing:
                return []
        with self._lock:
            if self._closing:
                return []
            if again:
                return again
            # At the end an equal share, so that all guests have something to do; who is slow gives back what is left.
            count = min(self._most, -(-len(self._waiting) // self._size))
            taken: list[int] = []
            while self._waiting and len(taken) < count and not (taken and self._waiting[0] in self._alone):
                taken.append(self._waiting.popleft())
                if taken[0] in self._alone:
                    break
            return taken

    def _give_back(self, numbers: list[int]) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(numbers))

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
