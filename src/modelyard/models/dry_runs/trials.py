"""A dry run, as an agent does it: environment, tables, then the user's functions on a sample of rows in one guest.

Each stage is written down when it begins and when it ends, so that whoever asks sees how far it has come. What the
user's code does wrong ends the dry run as FAILED with its own traceback; the stages after it are SKIPPED.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.environments import Environment
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.feature_groups.materialize import MaterializationFailed, TableVersion, ensure_versions
from modelyard.ids import FeatureGroupId, ModelValidationId, ModelVersionId
from modelyard.models import training
from modelyard.models.definition import Definition
from modelyard.models.dry_runs.wire import StageShape
from modelyard.models.records import ModelValidation, ValidationStatus
from modelyard.models.sizes import CpuSize, Size
from modelyard.models.training import Plan, TrainingFailed
from modelyard.models.versions import Code, read_texts
from modelyard.models.wire import UserExceptionShape
from modelyard.sandbox import Guest, GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind
from modelyard.source_code.pins import Pins, read_sources
from modelyard.storage import BlobStore

#: Rows that `predict_many` is asked for at once.
MANY_ROWS = 10


class StageFailed(Exception):
    """A stage was not passed; the message is a sentence for the user."""

    def __init__(self, message: str, exception: UserExceptionShape | None = None) -> None:
        super().__init__(message)
        self.exception = exception


@dataclasses.dataclass(frozen=True, slots=True)
class _Tried:
    """What is tried."""

    plan: Plan
    definition: Definition
    query: dict[str, Any] | None
    sample_rows: int


class _Imported(msgspec.Struct):
    rows: list[int]
    sampled: list[int]


class _Trained(msgspec.Struct):
    size: int
    metrics: dict[str, float]


class _Answered(msgspec.Struct):
    bytes: int
    answer: str | None = None
    query: str | None = None
    count: int | None = None


def try_out(run: RunContext) -> None:
    """Tries what the payload's validation says; it ends COMPLETE, or FAILED in the stage that was not passed."""
    board = _Board(run)
    tried = board.begin()
    if tried is None:
        return
    try:
        limits = dataclasses.replace(training.limits_of(run, tried.plan), timeout_s=run.settings.validation_timeout_s)
        with board.stage("environment") as say:
            environment = training.find_environment(run, tried.plan.requirements, tried.plan.lock)
            say(f"{environment.lock.count('==')} packages")
        with board.stage("tables") as say:
            tables = _find_tables(run, tried.plan)
            board.pin(tables)
            say(", ".join(f"{each.table_name}: {each.table.rows:,} rows" for each in tables) or "none")
        _in_guest(run, board, tried, environment, tables, limits)
    except (StageFailed, TrainingFailed) as failure:
        board.fail(failure)
    else:
        board.end(ValidationStatus.COMPLETE)


def give_up(session: Session, payload: JsonObject, reason: str) -> None:
    """The run was given up or cancelled: the dry run is FAILED, unless it is gone or has ended."""
    found = session.get(ModelValidation, ModelValidationId(payload["modelValidation"]), with_for_update=True)
    if found is not None and found.status in (ValidationStatus.PENDING, ValidationStatus.RUNNING):
        stages = msgspec.convert(found.stages, list[StageShape])
        found.status, found.stages = ValidationStatus.FAILED, _failed(stages, f"The dry run was given up: {reason}")
        found.completed_at = utc_now()


def _find_tables(run: RunContext, plan: Plan) -> Sequence[TableVersion]:
    """The newest complete versions; only what has none is made."""
    try:
        return ensure_versions(run, plan.feature_group_ids, latest=False)
    except MaterializationFailed as error:
        raise StageFailed(str(error)) from error


def _in_guest(
    run: RunContext,
    board: "_Board",
    tried: _Tried,
    environment: Environment,
    tables: Sequence[TableVersion],
    limits: Limits,
) -> None:
    sandbox, plan = run.parts.get(Sandbox), tried.plan
    try:
        store, name = run.parts.get(BlobStore), f"dry run {plan.model_version}"
        with (
            environment.hold(),
            training.opened(run, tables) as opened,
            training.opened_blobs(store, plan.code.tree) as code,
        ):
            guest = sandbox.start(environment.interpreter, limits, on_output=run.log, name=name)
            try:
                _Conversation(run, board, tried, guest).hold(tables, [*code, *opened])
            finally:
                guest.kill()
            if guest.output_failure is not None:
                raise guest.output_failure
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error


class _Conversation:
    """All that is said with the guest of one dry run."""

    def __init__(self, run: RunContext, board: "_Board", tried: _Tried, guest: Guest) -> None:
        self._run, self._board, self._tried, self._guest = run, board, tried, guest
        self._deadline = time.monotonic() + run.settings.validation_timeout_s

    def hold(self, tables: Sequence[TableVersion], descriptors: Sequence[int]) -> None:
        """Stage by stage; StageFailed at the first that is not passed."""
        board, definition = self._board, self._tried.definition
        with board.stage("import") as say:
            imported = self._call("trial_import", self._opening(tables), _Imported, descriptors)
            named = zip(tables, imported.rows, imported.sampled, strict=True)
            say(", ".join(f"{table.table_name}: {some:,} of {rows:,} rows" for table, rows, some in named) or None)
        with board.stage("train") as say:
            trained = self._call("trial_train", {}, _Trained)
            metrics = ", ".join(f"{name} {value:g}" for name, value in trained.metrics.items())
            say(f"a model of {trained.size:,} bytes" + (f"; {metrics}" if metrics else ""))
        if not (definition.predict_function_name or definition.predict_many_function_name):
            for name in ("initialize", "predict", "predictMany"):
                board.skip(name, "there is no function for predictions")
            return
        with board.stage("initialize") as say:
            self._call("trial_initialize", {}, dict)
            say(None if definition.initialize_function_name else "read back from its pickle; there is no initialize")
        self._predict("predict", definition.predict_function_name, {}, any(imported.sampled[:1]))
        many = {"rows": MANY_ROWS}
        self._predict("predictMany", definition.predict_many_function_name, many, any(imported.sampled[:1]))

    def _predict(self, stage: str, function: str | None, message: dict[str, Any], has_rows: bool) -> None:
        if function is None:
            self._board.skip(stage, "there is no such function")
        elif self._tried.query is None and not has_rows:
            self._board.skip(stage, "there is no row to ask with: pass a query")
        else:
            task = "trial_predict" if stage == "predict" else "trial_predict_many"
            with self._board.stage(stage) as say:
                answered = self._call(task, message, _Answered)
                too_long = f"; it has {answered.bytes:,} bytes and is not shown" if answered.answer is None else ""
                asked = "the query" if answered.count is None else f"{answered.count} rows"
                say(f"{asked} was answered{too_long}" if answered.count is None else f"{asked} were answered{too_long}",
                    query=_parsed(answered.query), answer=_parsed(answered.answer))  # fmt: skip

    def _opening(self, tables: Sequence[TableVersion]) -> dict[str, Any]:
        plan, definition = self._tried.plan, self._tried.definition
        return {
            **plan.code.message,
            "modules": plan.modules,
            "train_function": definition.train_function_name,
            "predict_function": definition.predict_function_name,
            "predict_many_function": definition.predict_many_function_name,
            "initialize_function": definition.initialize_function_name,
            "tables": [{"name": table.table_name} for table in tables],
            "config": plan.training_config,
            "seed": plan.seed,
            "query": self._tried.query,
            "sample_rows": self._tried.sample_rows,
        }

    def _call(self, task: str, message: dict[str, Any], kind: Any, descriptors: Sequence[int] = ()) -> Any:
        left_s = max(0.1, self._deadline - time.monotonic())
        reply = self._guest.call(task, message, descriptors, timeout_s=left_s, cancelled=self._run.cancelled)
        if reply.error is not None:
            raise self._failure(reply.error)
        try:
            return msgspec.convert(reply.result, kind)
        except msgspec.ValidationError as error:
            raise StageFailed(f"The dry run ended with an answer that is none: {error}") from error

    def _failure(self, error: GuestError) -> StageFailed:
        if error.kind == FailureKind.CANCELLED:
            self._run.check_cancelled()
        sentence = error.sentence
        if error.kind == FailureKind.TIMEOUT:
            limit_s = self._run.settings.validation_timeout_s
            sentence = f"The dry run took longer than its {limit_s:g} seconds and was stopped."
        told = UserExceptionShape(
            type=error.type, value=training.clean(error.value), traceback=training.clean(error.traceback)
        )
        return StageFailed(training.clean(sentence), told)


class _Board:
    """The stages as they are written down, for whoever looks."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._stages: list[StageShape] = []

    def begin(self) -> _Tried | None:
        """Marks the dry run as RUNNING and reads what to try; None if it has ended already."""
        with self._run.transaction() as session:
            mine = self._mine(session)
            if mine.status not in (ValidationStatus.PENDING, ValidationStatus.RUNNING):
                return None
            first, *rest = msgspec.convert(mine.stages, list[StageShape])
            self._stages = [first, *(StageShape(name=each.name, status="PENDING") for each in rest)]
            mine.status, mine.stages = ValidationStatus.RUNNING, msgspec.to_builtins(self._stages)
            mine.table_versions = None
            definition, pins = msgspec.convert(mine.definition, Definition), Pins.of(mine.module_pins)
            named = (*definition.package_requirements, *definition.inferred_requirements, *pins.requirements)
            plan = Plan(
                model_version=ModelVersionId(mine.model_validation),
                code=_code_of(definition, read_texts(session, [mine.source_digest])[mine.source_digest]),
                train_function_name=definition.train_function_name,
                predict_function_name=definition.predict_function_name,
                requirements=tuple(dict.fromkeys(named)),
                modules=read_sources(session, pins),
                lock=None,
                feature_group_ids=tuple(FeatureGroupId(each) for each in definition.feature_group_ids),
                tables=None,
                training_config=dict(definition.training_config or {}),
                seed=mine.seed,
                size=Size(
                    CpuSize(definition.cpu_size) if definition.cpu_size else None,
                    definition.memory_gib,
                    definition.use_gpu,
                ),
            )
            return _Tried(plan, definition, mine.query, mine.sample_rows)

    @contextmanager
    def stage(self, name: str) -> Any:
        """A stage from its beginning to its end; gives a function that says what happened."""
        said: dict[str, Any] = {}

        def say(message: str | None, **more: Any) -> None:
            said.update(message=message, **more)

        self._write(name, status="RUNNING")
        begun = time.monotonic()
        try:
            yield say
        except (StageFailed, TrainingFailed) as failure:
            exception = failure.exception
            told = UserExceptionShape(**exception) if isinstance(exception, dict) else exception
            self._write(
                name, status="FAILED", seconds=_since(begun), message=training.clean(str(failure)), exception=told
            )
            raise
        self._write(name, status="COMPLETE", seconds=_since(begun), **said)

    def pin(self, tables: Sequence[TableVersion]) -> None:
        """Writes down on which rows it is tried."""
        with self._run.transaction() as session:
            self._mine(session).table_versions = [each.feature_group_version for each in tables]

    def skip(self, name: str, message: str) -> None:
        """A stage that there is nothing to do in."""
        self._write(name, status="SKIPPED", message=message)

    def fail(self, failure: Exception) -> None:
        """Ends the dry run as FAILED."""
        self._stages = msgspec.convert(_failed(self._stages, str(failure)), list[StageShape])
        self.end(ValidationStatus.FAILED)

    def end(self, status: ValidationStatus) -> None:
        """Ends the dry run, and with it the run."""
        self._run.logs.flush()
        with self._run.transaction() as session:
            mine = self._mine(session)
            mine.status, mine.stages = status, msgspec.to_builtins(self._stages)
            mine.completed_at = self._run.clock()
            self._run.complete(session)

    def _write(self, name: str, **values: Any) -> None:
        self._stages = [StageShape(name=name, **values) if each.name == name else each for each in self._stages]
        with self._run.transaction() as session:
            self._mine(session).stages = msgspec.to_builtins(self._stages)

    def _mine(self, session: Session) -> ModelValidation:
        found = session.get(
            ModelValidation, ModelValidationId(self._run.payload["modelValidation"]), with_for_update=True
        )
        if found is None:
            raise Permanent("the dry run was deleted")
        return found


def _failed(stages: Sequence[StageShape], reason: str) -> list[dict[str, Any]]:
    """The stages of a dry run that failed: the one that it failed in, and those after it skipped."""
    if not any(each.status == "FAILED" for each in stages):
        at = next((at for at, each in enumerate(stages) if each.status in ("PENDING", "RUNNING")), len(stages) - 1)
        stages = [
            StageShape(name=each.name, status="FAILED", message=reason) if place == at else each
            for place, each in enumerate(stages)
        ]
    ended = [StageShape(name=each.name, status="SKIPPED") if each.status == "PENDING" else each for each in stages]
    return list(msgspec.to_builtins(ended))


def _code_of(definition: Definition, text: str) -> Code:
    return Code(text, definition.tree_digest, definition.train_module_name, definition.predict_module_name)


def _parsed(text: str | None) -> Any:
    """JSON of a guest as a value; text that is none stays text."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)
