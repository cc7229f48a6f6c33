"""The steps of a training while it goes on: from its guest into rows, batch after batch, and out again for who looks.

`training` hands a `Curve` to the sandbox. When the version becomes COMPLETE, what was read at the end takes the rows'
place (`metric_steps`); a version that FAILED keeps the rows, which show how far it came.
"""

import logging
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelyard.execution import RunContext
from modelyard.ids import ModelVersionId
from modelyard.models.records import MetricStepBatch, ModelVersion
from modelyard.sandbox.channel import ChannelGarbage, Step

#: Seconds between two batches.
PAUSE_S = 1.0

log = logging.getLogger("modelyard.models")


class Curve:
    """The steps of one attempt, on their way into the database. Used by the thread that waits for the guest."""

    def __init__(self, run: RunContext, model_version: ModelVersionId) -> None:
        self._run, self._version = run, model_version
        #: The guest's own bound holds for the file; numbers may be spelled longer here, but not without limit.
        self._limit = 4 * run.settings.metrics_limit
        self._pending: list[Step] = []
        self._stored = self._size = 0
        self._is_anew = False
        self._next = 0.0

    def heard(self, first: int, steps: list[Step]) -> None:
        """Takes steps that follow what there is, or all of them anew (`first` is 0)."""
        if first == 0 and (self._stored or self._pending):
            self._pending, self._stored, self._size, self._is_anew = [], 0, 0, True
        known, size = self._stored + len(self._pending), self._size + len(msgspec.json.encode(steps))
        if first != known:
            raise ChannelGarbage(f"steps from {first} on, where {known} are known")
        if size > self._limit or known + len(steps) > self._run.settings.metrics_steps:
            raise ChannelGarbage("more steps than metrics.jsonl may hold")
        self._pending, self._size = [*self._pending, *steps], size
        self.tick()

    def tick(self) -> None:
        """Writes what has come, if the last time is long enough ago. ClaimLost once the run is another's."""
        if time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Writes what has come. Where the database does not answer, the next time does it."""
        if not (self._pending or self._is_anew):
            return
        self._next = time.monotonic() + PAUSE_S
        try:
            with self._run.transaction() as session:
                if self._is_anew:
                    forget_steps(session, self._version)
                if self._pending:
                    session.add(
                        MetricStepBatch(model_version=self._version, first=self._stored, steps=list(self._pending))
                    )
        except SQLAlchemyError as error:
            log.warning("steps of model version %s could not be written yet: %s", self._version, error)
            return
        self._stored, self._pending, self._is_anew = self._stored + len(self._pending), [], False


def forget_steps(session: Session, model_version: ModelVersionId) -> None:
    """Removes what was seen of a training: another attempt begins, or the whole is there."""
    session.execute(delete(MetricStepBatch).where(MetricStepBatch.model_version == model_version))


def steps_of(session: Session, version: ModelVersion) -> list[Step]:
    """The steps as they were read at the end; until then, and where there was no good end, as seen so far."""
    if version.metric_steps is not None:
        return version.metric_steps
    return [step for row in _batches(session, version.model_version, 0) for step in row.steps]


def steps_after(session: Session, version: ModelVersion, after: int) -> tuple[list[Step], int]:
    """The steps after that many, and how many there are. All of them where there are fewer: they began anew."""
    if version.metric_steps is None:
        rows = _batches(session, version.model_version, after)
        if rows and rows[0].first == after:
            steps: list[Step] = [step for row in rows for step in row.steps]
            return steps, after + len(steps)
    every = steps_of(session, version)
    return every[after if after <= len(every) else 0 :], len(every)


def _batches(session: Session, model_version: ModelVersionId, first: int) -> Sequence[MetricStepBatch]:
    mine = (MetricStepBatch.model_version == model_version, MetricStepBatch.first >= first)
    return session.scalars(select(MetricStepBatch).where(*mine).order_by(MetricStepBatch.first)).all()
