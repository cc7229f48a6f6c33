"""Calls from the prediction log, as far as they were kept whole: what callers really send, and really get."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.ids import DeploymentId
from modelyard.observability.records import PredictionLog

#: Calls that are looked at, newest first.
MOST = 100


class Sample(NamedTuple):
    """One call that was answered."""

    body: dict[str, Any]
    result: Any

    @property
    def query(self) -> Any:
        return self.body.get("queryData")


def read_samples(session: Session, deployment_id: DeploymentId, action: str) -> list[Sample]:
    """The newest calls of that action that were answered with a result, and kept whole."""
    mine = (PredictionLog.deployment_id == deployment_id, PredictionLog.action == action, PredictionLog.status == 200)
    query = select(PredictionLog).where(*mine).order_by(PredictionLog.timestamp_ms.desc()).limit(MOST)
    samples = (_sample(record) for record in session.scalars(query))
    return [sample for sample in samples if sample is not None]


def objects(values: Sequence[Any]) -> list[dict[str, Any]]:
    """Those that are objects."""
    return [value for value in values if isinstance(value, dict)]


def _sample(record: PredictionLog) -> Sample | None:
    body = _whole(record.query, record.query_size)
    if not isinstance(body, dict):
        return None
    return Sample(body, _whole(record.response, record.response_size))


def _whole(text: bytes | None, size: int) -> Any:
    if text is None or len(text) < size:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
