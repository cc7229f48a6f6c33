"""One measuring of feature importance, as an agent does it: the version in a guest, one column after the other.

What is the user's doing (`predict` raises, answers that say nothing about the target) is kept with the version as the
reason why nothing is known; what is the platform's is Retry or Permanent. Names of columns are the host's own, of the
guest's answers only numbers are taken.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.environments import Environment
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.execution.agent import capacity_of
from modelyard.feature_groups.materialize import TableVersion
from modelyard.gpus import NONE_HERE
from modelyard.ids import ModelVersionId
from modelyard.models import training
from modelyard.models.importance.wire import FeatureImportanceShape, ImportanceDetailsShape
from modelyard.models.loading import model_blobs, model_message
from modelyard.models.records import FeatureImportance, ModelVersion
from modelyard.models.sizes import CpuSize, Size
from modelyard.models.training import TrainingFailed
from modelyard.models.versions import Deployable, deployable, tables_of
from modelyard.sandbox import Guest, GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind
from modelyard.storage import BlobStore

#: Seconds between two notes of how far it is.
_PAUSE_S = 1.0


class MeasuringFailed(Exception):
    """Nothing can be told, for a reason that is the user's to mend; the message is a sentence for them."""

    def __init__(self, message: str, exception: JsonObject | None = None) -> None:
        super().__init__(training.clean(message))
        self.exception = exception


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be measured."""

    served: Deployable
    table: TableVersion
    target: str
    features: tuple[str, ...]
    seed: int


class _Begun(msgspec.Struct, frozen=True):
    rows: int
    metric: str
    score: float


class _Losses(msgspec.Struct, frozen=True):
    losses: list[float]


def measure(run: RunContext) -> None:
    """Measures the version that the payload names."""
    work = _begin(run)
    if work is None:
        return
    try:
        environment = training.find_environment(run, work.served.requirements, work.served.lock)
        shape = _measure(run, work, environment)
    except (MeasuringFailed, TrainingFailed) as failure:
        _end(run, error=str(failure), exception=failure.exception)
    else:
        _end(run, result=msgspec.to_builtins(shape))


def give_up(session: Session, payload: JsonObject, reason: str) -> None:
    """The run was given up: says why nothing is known, unless the version is gone or measured for another target."""
    kept = session.get(FeatureImportance, ModelVersionId(payload["modelVersion"]))
    if kept is None or (kept.target, kept.place) != (payload["target"], payload["place"]):
        return
    if kept.result is None and kept.error is None:
        kept.error, kept.completed_at = training.clean(reason), utc_now()


def _begin(run: RunContext) -> _Work | None:
    with run.transaction() as session:
        kept = _mine(session, run)
        if kept.result is not None or kept.error is not None:
            return None
        kept.begun, kept.measured, kept.columns = True, 0, None
        version = session.get_one(ModelVersion, kept.model_version)
        table = tables_of(session, version)[kept.place]
        features = tuple(each.name for each in table.table.columns if each.name != kept.target)
        return _Work(deployable(session, version), table, kept.target, features, version.seed)


def _measure(run: RunContext, work: _Work, environment: Environment) -> FeatureImportanceShape:
    sandbox = run.parts.get(Sandbox)
    try:
        with environment.hold(), _files(run, work) as descriptors:
            name = f"importance {work.served.model_version}"
            guest = sandbox.start(
                environment.interpreter, _limits(run, work.served), on_output=run.log, name=name,
                code=work.served.code_names,
            )  # fmt: skip
            try:
                shape = _Conversation(run, work, guest).hold(descriptors)
            finally:
                guest.kill()
            if guest.output_failure is not None:
                raise guest.output_failure
            return shape
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error


class _Conversation:
    """All that is said with the guest of one measuring."""

    def __init__(self, run: RunContext, work: _Work, guest: Guest) -> None:
        self._run, self._work, self._guest = run, work, guest
        self._deadline = time.monotonic() + run.settings.importance_timeout_s
        self._told_at = 0.0

    def hold(self, descriptors: list[int]) -> FeatureImportanceShape:
        """From the model brought to life to the last column."""
        settings, work = self._run.settings, self._work
        opening = {
            **model_message(work.served),
            "target": work.target,
            "rows": settings.importance_rows,
            "repeats": settings.importance_repeats,
            "seed": work.seed,
        }
        begun = self._call("importance_begin", opening, _Begun, "before its first column", descriptors)
        found: dict[str, list[float]] = {}
        for name in work.features:
            self._tell(len(found))
            where = f"at column {name!r}, the {len(found) + 1}. of {len(work.features)}"
            found[name] = self._call("importance_of", {"column": name}, _Losses, where).losses or [0.0]
        importances = {name: statistics.fmean(losses) for name, losses in found.items()}
        first = sorted(importances, key=lambda name: -importances[name])
        return FeatureImportanceShape(
            permutation_feature_importance={name: importances[name] for name in first},
            details=ImportanceDetailsShape(
                target=work.target,
                table_name=work.table.table_name,
                feature_group_version=work.table.feature_group_version,
                metric=begun.metric,
                score=begun.score,
                rows=begun.rows,
                repeats=settings.importance_repeats,
                seed=work.seed,
                deviations={name: statistics.pstdev(found[name]) for name in first},
            ),
        )

    def _tell(self, measured: int) -> None:
        if measured and time.monotonic() < self._told_at + _PAUSE_S:
            return
        self._told_at = time.monotonic()
        with self._run.transaction() as session:
            kept = _mine(session, self._run)
            kept.measured, kept.columns = measured, len(self._work.features)

    def _call(self, task: str, message: JsonObject, kind: Any, where: str, descriptors: list[int] | None = None) -> Any:
        left_s = max(self._deadline - time.monotonic(), 0.001)
        reply = self._guest.call(task, message, descriptors or [], timeout_s=left_s, cancelled=self._run.cancelled)
        if reply.error is not None:
            raise self._failure(reply.error, where)
        try:
            return msgspec.convert(reply.result, kind)
        except msgspec.ValidationError as error:
            raise MeasuringFailed(f"The guest answered what is no answer ({error}).") from error

    def _failure(self, error: GuestError, where: str) -> MeasuringFailed:
        if error.kind == FailureKind.CANCELLED:
            self._run.check_cancelled()
        if error.kind == FailureKind.TIMEOUT:
            return MeasuringFailed(
                f"It took longer than {self._run.settings.importance_timeout_s:g} seconds (importance_timeout_s) "
                f"and was stopped {where}. A `predict_many`, or fewer rows (importance_rows), make it quicker."
            )
        told = {"type": error.type, "value": error.value, "traceback": error.traceback}
        return MeasuringFailed(error.sentence, {name: training.clean(text) for name, text in told.items()})


def _end(
    run: RunContext, *, result: JsonObject | None = None, error: str | None = None, exception: JsonObject | None = None
) -> None:
    run.logs.flush()
    with run.transaction() as session:
        kept = _mine(session, run)
        kept.result, kept.error, kept.exception, kept.completed_at = result, error, exception, run.clock()
        kept.measured = kept.measured if result is None else kept.columns or 0
        run.complete(session)


def _mine(session: Session, run: RunContext) -> FeatureImportance:
    kept = session.get(FeatureImportance, ModelVersionId(run.payload["modelVersion"]), with_for_update=True)
    if kept is None or kept.run_id != run.run_id:
        raise Permanent("the model version was deleted, or is measured for another target")
    return kept


@contextlib.contextmanager
def _files(run: RunContext, work: _Work) -> Iterator[list[int]]:
    """The table, then what belongs to the model."""
    with (
        training.opened(run, [work.table]) as table,
        training.opened_blobs(run.parts.get(BlobStore), *model_blobs(work.served)) as blobs,
        training.opened(run, work.served.tables) as tables,
    ):
        yield [*table, *blobs, *tables]


def _limits(run: RunContext, served: Deployable) -> Limits:
    if served.use_gpu and not run.gpus:
        raise MeasuringFailed(f"The model {NONE_HERE}")
    capacity = capacity_of(run.settings)
    size = Size(CpuSize(served.cpu_size) if served.cpu_size else None, served.memory_gib, served.use_gpu)
    return Limits(
        cores=min(size.cores, capacity.cores),
        memory_gib=min(float(size.memory_gib or capacity.memory_gib), capacity.memory_gib),
        processes=run.settings.guest_processes,
        scratch_gib=run.settings.scratch_gib,
        gpus=run.gpus,
    )
