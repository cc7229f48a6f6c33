"""Single calls of a deployment read back, newest first."""

from collections.abc import Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from modelyard.errors import DataNotFoundError
from modelyard.ids import DeploymentId
from modelyard.observability.records import PredictionLog


def read_logs(
    session: Session, deployment_id: DeploymentId, limit: int, last_request_id: str, last_timestamp_ms: int | None
) -> Sequence[PredictionLog]:
    """The newest calls, or those that came before the one named; DataNotFoundError where there is none of that id."""
    mine = PredictionLog.deployment_id == deployment_id
    order = (PredictionLog.timestamp_ms, PredictionLog.request_id)
    query = select(PredictionLog).where(mine).order_by(*(column.desc() for column in order)).limit(limit)
    if last_request_id and last_timestamp_ms is None:
        last_timestamp_ms = _find_timestamp(session, deployment_id, last_request_id)
    if last_timestamp_ms is not None:
        # Without an id: what came before that moment, and not what came in it.
        query = query.where(tuple_(*order) < (last_timestamp_ms, last_request_id))
    return session.scalars(query).all()


def _find_timestamp(session: Session, deployment_id: DeploymentId, request_id: str) -> int:
    named = (PredictionLog.deployment_id == deployment_id, PredictionLog.request_id == request_id)
    found = session.scalar(select(PredictionLog.timestamp_ms).where(*named))
    if found is None:
        raise DataNotFoundError(
            f"The log of deployment {deployment_id} has no request {request_id[:60]!r} (any more); "
            "give lastLogTimestamp as well to go on from there"
        )
    return found
