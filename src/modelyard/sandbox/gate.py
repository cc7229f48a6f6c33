"""Who may boot a guest now: so many at the same time, those that somebody waits for first.

Booting is work of a processor from its begin to its end, so twenty that share two cores are all late, and two at a time
have the first ready when it would be ready alone. `warm.py` has every boot pass here. A boot that takes long (an
environment can do what it likes when its Python starts) counts no more after a while: it holds nobody else up.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

#: Seconds for which a boot has its place.
HOLD_S = 3.0


class Ticket:
    """One boot's place in the queue. It is `urgent` if somebody waits for that guest."""

    def __init__(self, *, urgent: bool) -> None:
        self.urgent = urgent


class Gate:
    """A queue in front of `count` places, one for each core unless told. Thread-safe."""

    def __init__(self, count: int | None = None) -> None:
        self._count = count or max(2, len(os.sched_getaffinity(0)))
        self._changed = threading.Condition()
        self._waiting: list[Ticket] = []
        #: Who is inside, and since when (time.monotonic).
        self._inside: dict[Ticket, float] = {}

    @contextlib.contextmanager
    def passed(self, ticket: Ticket) -> Iterator[None]:
        """Waits for a place and has it until the end of the block."""
        with self._changed:
            self._waiting.append(ticket)
            while not self._may_enter(ticket):
                self._changed.wait(self._until_next())
            self._waiting.remove(ticket)
            self._inside[ticket] = time.monotonic()
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                del self._inside[ticket]
                self._changed.notify_all()

    def hurry(self, ticket: Ticket) -> None:
        """Somebody waits for that one from now on."""
        with self._changed:
            ticket.urgent = True
            self._changed.notify_all()

    def _may_enter(self, ticket: Ticket) -> bool:
        """Whether it is its turn; one place is kept free of boots that nobody waits for."""
        first = next((each for each in self._waiting if each.urgent), self._waiting[0])
        end = time.monotonic() - HOLD_S
        counted = [each for each, since in self._inside.items() if since > end]
        idle = sum(not each.urgent for each in counted)
        return first is ticket and len(counted) < self._count and (ticket.urgent or idle < self._count - 1)

    def _until_next(self) -> float:
        """Seconds until a boot counts no more."""
        now = time.monotonic()
        return min((since + HOLD_S - now for since in self._inside.values() if since + HOLD_S > now), default=HOLD_S)
