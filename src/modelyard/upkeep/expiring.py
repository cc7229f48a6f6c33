"""What is old: results of queries that were run once, the forms in which tables were downloaded, files of exports.

All can be had again, by asking again. What is removed here are rows; their blobs go with the next collection.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from modelyard.feature_groups.records import UNFINISHED, FeatureGroupExport, FeatureGroupOperation, TableEncoding
from modelyard.models.records import ModelArtifactsExport


def expire(session: Session, now: datetime, keep_s: float) -> int:
    """Removes what is older than `keep_s`; gives how many rows."""
    before = now - timedelta(seconds=keep_s)
    removed = 0
    for record in (FeatureGroupOperation, TableEncoding):
        old = (record.created_at < before, record.status.not_in(UNFINISHED))
        removed += session.connection().execute(delete(record).where(*old)).rowcount
    for export in (FeatureGroupExport, ModelArtifactsExport):
        filed = (export.completed_at < before, export.file_digest.is_not(None))
        removed += session.connection().execute(update(export).where(*filed).values(file_digest=None)).rowcount
    return removed
