"""Crons: five fields in UTC, or a name such as `@hourly`."""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from modelyard.errors import InvalidParameterError

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def next_time(cron: str, after: datetime) -> datetime:
    """The first moment strictly after `after` that the cron names; InvalidParameterError for one that can't be read."""
    fields = NAMES.get(cron.strip().lower(), cron).split()
    if len(fields) != 5:
        names = ", ".join(NAMES)
        raise InvalidParameterError(
            f"cron must have five fields (minute hour day month weekday, in UTC), such as '0 6 * * 1', or be one of "
            f"{names}; {cron[:100]!r} has {len(fields)}"
        )
    try:
        return next(CronSim(" ".join(fields), after.astimezone(UTC)))
    except CronSimError as error:
        raise InvalidParameterError(f"cron {cron[:100]!r} can't be read: {error}") from None
    except StopIteration:
        raise InvalidParameterError(f"cron {cron[:100]!r} never comes: there is no such day") from None
