"""Time: a clock is handed in, never asked for globally, so that tests and replays own it."""

from collections.abc import Callable
from datetime import UTC, datetime

#: Gives the present moment, always aware and in UTC.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment in UTC, the clock of a running house."""
    return datetime.now(UTC)


def iso(moment: datetime | None) -> str | None:
    """`2021-11-24T19:31:03+00:00`, as the hosted service prints it; None stays None."""
    if moment is None:
        return None
    if moment.tzinfo is not UTC:  # what a database gave is in UTC, and lists print thousands
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds")
