"""What the calls of one deployment add up to in one gateway, kept by the lane while it answers them.

Counts only ever grow, so whoever reads them takes the difference to what was read before: the gateway's logbook once a
second, a scrape of `/metrics` whenever it likes. One call costs about a third of a microsecond.
"""

from bisect import bisect_left

#: Upper bounds of the latencies that are told apart, in seconds: eleven to a decade, from 0.1 ms to 100 s. A percentile
#: read from them is off by at most the width of one, that is 10 to 33 percent of its value.
BOUNDS: tuple[float, ...] = (
    *(
        digit * 10.0**exponent
        for exponent in range(-4, 2)
        for digit in (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    ),
    100.0,
)


class Tally:
    """Counts of one deployment. Written by the event loop alone; read by any thread, each count as it stands."""

    __slots__ = ("latencies", "rejected", "seconds", "statuses")

    def __init__(self) -> None:
        #: HTTP status -> calls that were answered with it; 499: the caller had left.
        self.statuses: dict[int, int] = {}
        #: Which limit (`TooManyRequestsError.limit`) -> calls that it turned away.
        self.rejected: dict[str, int] = {}
        #: Calls by how long they took, one more than there are bounds; calls that were turned away are not among them.
        self.latencies: list[int] = [0] * (len(BOUNDS) + 1)
        #: The sum of what those took.
        self.seconds = 0.0

    def note(self, status: int, took_s: float) -> None:
        """Counts one call."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        if status < 400 or status >= 500 or status == 408:
            self.latencies[bisect_left(BOUNDS, took_s)] += 1
            self.seconds += took_s

    def note_rejected(self, limit: str) -> None:
        """Counts one call that a limit turned away, besides its status."""
        self.rejected[limit] = self.rejected.get(limit, 0) + 1

    @property
    def calls(self) -> int:
        """All calls."""
        return sum(self.statuses.copy().values())
