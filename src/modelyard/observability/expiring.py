"""What was observed long ago goes: statistics and rows of examples by their age, calls by their age and number.

Called by the janitor. Each deployment has a transaction of its own, and those of which nothing was observed cost
nothing: a house may have a hundred thousand of them, and nobody else can write while a transaction does.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from modelyard.database import Database
from modelyard.deployments.options import read_options
from modelyard.deployments.records import Deployment
from modelyard.ids import DeploymentId
from modelyard.observability.records import DeploymentStatistic, ExampleRow, PredictionLog
from modelyard.settings import Settings


def expire(database: Database, settings: Settings, now: datetime) -> int:
    """Removes what is past its time or number, and what is of deployments that have gone; gives how many rows."""
    oldest, keep = now - timedelta(days=settings.statistics_days), timedelta(seconds=settings.results_keep_s)
    with database.write() as session:
        removed = _remove(session, DeploymentStatistic, DeploymentStatistic.minute < oldest)
        removed += _remove(session, ExampleRow, ExampleRow.created_at < now - keep)
    with database.read() as session:
        counted, logged = _observed(session, DeploymentStatistic), _observed(session, PredictionLog)
    for deployment_id in sorted({*counted, *logged}):
        with database.write() as session:
            removed += _expire_one(session, settings, now, deployment_id)
    return removed


def _expire_one(session: Session, settings: Settings, now: datetime, deployment_id: DeploymentId) -> int:
    known = session.execute(select(Deployment.options).where(Deployment.deployment_id == deployment_id)).first()
    if known is None:
        return forget(session, deployment_id)
    days = read_options(known.options).log_days or settings.prediction_log_days
    return _expire_logs(session, deployment_id, now - timedelta(days=days), settings.prediction_log_rows)


def _observed(session: Session, record: type[DeploymentStatistic | PredictionLog]) -> list[DeploymentId]:
    """The deployments of which there are rows: one step in the index for each, however many rows it has."""
    found: list[DeploymentId] = []
    first = select(func.min(record.deployment_id))
    each = session.scalar(first)
    while each is not None:
        found.append(each)
        each = session.scalar(first.where(record.deployment_id > each))
    return found


def forget(session: Session, deployment_id: DeploymentId) -> int:
    """Removes what was observed of a deployment that has gone; gives how many rows."""
    records = (DeploymentStatistic, PredictionLog)
    return sum(_remove(session, record, record.deployment_id == deployment_id) for record in records)


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
