"""What was observed long ago goes: statistics and rows of examples by their age, calls by their age and number.

Called by the janitor.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from modelyard.deployments.options import read_options
from modelyard.deployments.records import Deployment
from modelyard.ids import DeploymentId
from modelyard.observability.records import DeploymentStatistic, ExampleRow, PredictionLog
from modelyard.settings import Settings


def expire(session: Session, settings: Settings, now: datetime) -> int:
    """Removes what is past its time or number, and what is of deployments that have gone; gives how many rows."""
    oldest = now - timedelta(days=settings.statistics_days)
    removed = _remove(session, DeploymentStatistic, DeploymentStatistic.minute < oldest)
    keep = timedelta(seconds=settings.results_keep_s)
    removed += _remove(session, ExampleRow, ExampleRow.created_at < now - keep)
    deployments = session.execute(select(Deployment.deployment_id, Deployment.options)).all()
    known = select(Deployment.deployment_id)
    for record in (DeploymentStatistic, PredictionLog):
        removed += _remove(session, record, record.deployment_id.not_in(known))
    for deployment_id, options in deployments:
        days = read_options(options).log_days or settings.prediction_log_days
        removed += _expire_logs(session, deployment_id, now - timedelta(days=days), settings.prediction_log_rows)
    return removed


def forget(session: Session, deployment: Deployment) -> None:
    """Removes what was observed of a deployment that is deleted."""
    for record in (DeploymentStatistic, PredictionLog):
        _remove(session, record, record.deployment_id == deployment.deployment_id)


def _expire_logs(session: Session, deployment_id: DeploymentId, before: datetime, most: int) -> int:
    mine = PredictionLog.deployment_id == deployment_id
    newest = select(PredictionLog.timestamp_ms).where(mine).order_by(PredictionLog.timestamp_ms.desc())
    last_kept = session.scalar(newest.offset(max(most - 1, 0)).limit(1))
    before_ms = max(int(before.timestamp() * 1000), last_kept or 0)
    return _remove(session, PredictionLog, mine, PredictionLog.timestamp_ms < before_ms)


def _remove(
    session: Session, record: type[DeploymentStatistic | ExampleRow | PredictionLog], *which: ColumnElement[bool]
) -> int:
    return session.connection().execute(delete(record).where(*which)).rowcount
