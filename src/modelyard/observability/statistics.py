"""Statistics of a deployment over a time: each gateway's minutes, added up to points of a series."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.deployments.calls.tally import BOUNDS
from modelyard.errors import InvalidParameterError
from modelyard.ids import DeploymentId
from modelyard.observability.records import DeploymentStatistic

#: Longest time that can be asked for. Source: getDeploymentStatisticsOverTime, `endDate`.
LONGEST = timedelta(days=7)
#: A point stands for the smallest of these that makes no more points than the next number.
WIDTHS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30))
MOST_POINTS = 360


class Point:
    """What came in the time of one point."""

    __slots__ = ("_latencies", "seconds", "start", "statuses")

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.statuses: Counter[str] = Counter()
        #: By their upper bound as rows have it.
        self._latencies: dict[str, int] = {}
        self.seconds = 0.0

    def add(self, statuses: Mapping[str, int], latencies: Mapping[str, int], seconds: float) -> None:
        """Adds one gateway's minute. A week has tens of thousands of them."""
        for status, count in statuses.items():
            self.statuses[status] += count
        known = self._latencies
        for bound, count in latencies.items():
            known[bound] = known.get(bound, 0) + count
        self.seconds += seconds

    @property
    def latencies(self) -> "Counter[float]":
        """Calls by the upper bound of their time in seconds."""
        counts = self._latencies.items()
        return Counter({math.inf if bound == "inf" else int(bound) / 1e6: count for bound, count in counts})

    @property
    def calls(self) -> int:
        return self.statuses.total()

    @property
    def errors(self) -> int:
        """Calls that were answered with an error; callers who left are none."""
        return sum(count for status, count in self.statuses.items() if status >= "400" and status != "499")

    def percentile_ms(self, share: float) -> float | None:
        """The time within which that share of the calls was answered; None without calls."""
        return percentile_ms(self.latencies, share)

    def mean_ms(self) -> float | None:
        """The mean time of the calls that were not turned away; None without any."""
        count = self.latencies.total()
        return self.seconds / count * 1000 if count else None


def percentile_ms(latencies: Counter[float], share: float) -> float | None:
    """A percentile from counts by upper bound, in milliseconds: between the bounds evenly on a logarithmic scale."""
    total = latencies.total()
    if not total:
        return None
    rank, below = share * total, 0
    bounds = sorted(latencies)
    for bound in bounds:
        count = latencies[bound]
        if below + count >= rank:
            upper = bound if bound != math.inf else 100.0
            lower = _lower(upper)
            return lower * math.pow(upper / lower, (rank - below) / count) * 1000
        below += count
    return bounds[-1] * 1000


def _lower(upper: float) -> float:
    return next((low for low, high in itertools.pairwise(BOUNDS) if math.isclose(high, upper)), upper / 2)


def read_window(start_date: str, end_date: str) -> tuple[datetime, datetime]:
    """The moments that the two texts name; InvalidParameterError where no such time can be asked for."""
    start, end = _moment("startDate", start_date), _moment("endDate", end_date)
    if end <= start:
        raise InvalidParameterError(f"endDate is {end_date}, which is not after startDate, {start_date}")
    if end - start > LONGEST:
        raise InvalidParameterError(
            f"From {start_date} to {end_date} are more than {LONGEST.days} days; ask for a shorter time"
        )
    return start, end


def read_points(session: Session, deployment_id: DeploymentId, start: datetime, end: datetime) -> list[Point]:
    """Every point from the one that `start` is in to the last one before `end`, those without calls among them."""
    width = next((width for width in WIDTHS if (end - start) / width <= MOST_POINTS), WIDTHS[-1])
    first = _floor(start, width)
    found = [Point(moment) for moment in _moments(first, end, width)]
    row = DeploymentStatistic
    rows = select(row.minute, row.statuses, row.latencies, row.seconds).where(
        row.deployment_id == deployment_id, row.minute >= first, row.minute < end
    )
    for minute, statuses, latencies, seconds in session.execute(rows):
        found[(minute - first) // width].add(statuses, latencies, seconds)
    return found


def _moments(first: datetime, end: datetime, width: timedelta) -> Iterator[datetime]:
    moment = first
    while moment < end:
        yield moment
        moment += width


def _floor(moment: datetime, width: timedelta) -> datetime:
    seconds = int(moment.timestamp())
    return datetime.fromtimestamp(seconds - seconds % int(width.total_seconds()), UTC)


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidParameterError(
            f"{name} is {text[:40]!r}; it must be a moment in ISO form, such as 2026-03-01T08:00:00+00:00"
        ) from None
