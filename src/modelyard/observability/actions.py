"""What was asked of a deployment, call by call and over time."""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.deployments.lifecycle import get_deployment
from modelyard.errors import DataNotFoundError, InvalidParameterError
from modelyard.ids import DeploymentId
from modelyard.observability import wire
from modelyard.observability.prediction_logs import read_logs
from modelyard.observability.statistics import read_points, read_window

#: Records that one call gives at most.
MOST_RECORDS = 1_000


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def get_prediction_logs_records(
    call: Call,
    *,
    deployment_id: DeploymentId,
    limit: Annotated[int, "Records that are wanted, 1 to 1,000."] = 10,
    last_log_request_id: Annotated[str, "Gives what came before that request."] = "",
    last_log_timestamp: Annotated[int | None, "Gives what came before that moment, in ms since 1970."] = None,
) -> list[wire.PredictionLogRecord]:
    """Calls that a deployment has answered, newest first: a sample of the successes, and as many failures.

    To read on, give the last record's `requestId` and `timestampMs`. A call is in the log a second after its answer.
    """
    get_deployment(call.session, call.organization_id, deployment_id)
    if not 1 <= limit <= MOST_RECORDS:
        raise InvalidParameterError(f"limit is {limit}; it must be between 1 and {MOST_RECORDS:,}")
    records = read_logs(call.session, deployment_id, limit, last_log_request_id, last_log_timestamp)
    return [wire.log_record(record) for record in records]


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def get_deployment_statistics_over_time(
    call: Call,
    *,
    deployment_id: DeploymentId,
    start_date: Annotated[str, "A moment in ISO form; UTC where it names no zone."],
    end_date: Annotated[str, "Likewise, at most seven days later."],
) -> wire.DeploymentStatistics:
    """How often a deployment was asked in a time, how long it took and how it ended, of all gateways together.

    A point stands for 1, 5 or 30 minutes, the less the shorter the time. Times are in milliseconds; percentiles are
    counted in steps of 10 to 33 percent. Calls of the last second may be missing.
    """
    get_deployment(call.session, call.organization_id, deployment_id)
    start, end = read_window(start_date, end_date)
    points = read_points(call.session, deployment_id, start, end)
    width = points[1].start - points[0].start if len(points) > 1 else None
    return wire.statistics(points, width.total_seconds() if width else 60.0)
