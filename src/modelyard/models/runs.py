"""What an agent may be asked to do with models: train a version. Bound to its name by `app.py`.

Every write checks that the run is still ours, and the version becomes COMPLETE in the very transaction that ends the
run: killed at any moment, a training is claimed again and made again, and never ends twice.
"""

import dataclasses

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.execution import Permanent, RunContext, RunKind
from modelyard.feature_groups import lineage
from modelyard.ids import FeatureGroupId, ModelId, ModelVersionId
from modelyard.models import bringing, training
from modelyard.models.code import receiving
from modelyard.models.curves import forget_steps
from modelyard.models.dry_runs import trials
from modelyard.models.dry_runs.validations import VALIDATE
from modelyard.models.events import ModelEvents
from modelyard.models.exports import exporting
from modelyard.models.heads import put_text
from modelyard.models.importance import measuring
from modelyard.models.importance.asking import IMPORTANCE
from modelyard.models.outputs import Outputs
from modelyard.models.records import ENDED, Model, ModelRevision, ModelVersion, VersionStatus
from modelyard.models.reproduction import reproducing
from modelyard.models.retrain import TRAIN
from modelyard.models.sizes import CpuSize, Size
from modelyard.models.training import Pins, Plan, Trained, TrainingFailed
from modelyard.models.versions import code_of, read_texts, requirements_of, tables_of
from modelyard.source_code.pins import Pins as ModulePins
from modelyard.source_code.pins import read_sources
from modelyard.storage import BlobStore


def train(run: RunContext) -> None:
    """Trains the version that the payload names; it ends COMPLETE, or FAILED with the user's own reason."""
    plan = _begin(run)
    if plan is None:
        return
    try:
        plan = dataclasses.replace(plan, inputs=bringing.bring(run, plan.model_version))
        limits = training.limits_of(run, plan)
        environment = training.find_environment(run, plan.requirements, plan.lock)
        tables = training.find_tables(run, plan)
        pins = training.pins_of(environment, tables, limits)
        _pin(run, pins)
        trained = training.train_version(run, plan, environment, pins, limits)
    except TrainingFailed as failure:
        _end_failed(run, failure)
    else:
        _end_complete(run, trained, _compare(run, trained.outputs))


def give_up_training(session: Session, payload: JsonObject, reason: str) -> None:
    """The run was given up or cancelled: the version is FAILED, unless it is gone or has ended."""
    version = session.get(ModelVersion, ModelVersionId(payload["modelVersion"]), with_for_update=True)
    if version is not None and version.status not in ENDED:
        was_cancelled = reason.startswith("cancelled")
        _fail(version, "The training was cancelled." if was_cancelled else f"The training was given up: {reason}")
        version.training_completed_at = utc_now()


def _begin(run: RunContext) -> Plan | None:
    """Marks the version as TRAINING and reads what to do; None if it has ended already."""
    with run.transaction() as session:
        version = _mine(session, run)
        if version.status in ENDED:
            return None
        version.status, version.training_started_at = VersionStatus.TRAINING, run.clock()
        forget_steps(session, version.model_version)
        revision = session.get_one(ModelRevision, version.revision_id)
        wanted = [revision.source_digest, *([version.lock_digest] if version.lock_digest else [])]
        texts, modules = read_texts(session, wanted), ModulePins.of(version.module_pins)
        return Plan(
            version.model_version,
            code_of(revision, texts[revision.source_digest]),
            revision.train_function_name,
            revision.predict_function_name,
            requirements_of(revision, modules),
            read_sources(session, modules),
            texts[version.lock_digest] if version.lock_digest else None,
            tuple(FeatureGroupId(each) for each in version.feature_group_ids),
            tables_of(session, version) if version.reproduction_of else None,
            dict(version.training_config or {}),
            version.seed,
            Size(CpuSize(version.cpu_size) if version.cpu_size else None, version.memory_gib, version.use_gpu),
            model_id=ModelId(version.model_id),
        )


def _pin(run: RunContext, pins: Pins) -> None:
    with run.transaction() as session:
        version = _mine(session, run)
        version.lock_digest = put_text(session, pins.lock)
        version.environment_id, version.runtime = pins.environment_id, pins.runtime
        version.feature_group_versions = [table.feature_group_version for table in pins.tables]
        name = session.get_one(Model, version.model_id).name
        lineage.note_version_users(
            session,
            [table.feature_group_version for table in pins.tables],
            "model version",
            version.model_version,
            name,
        )


def _end_complete(run: RunContext, trained: Trained, report: JsonObject | None) -> None:
    run.logs.flush()
    outputs = trained.outputs
    with run.transaction() as session:
        version = _mine(session, run)
        version.status, version.error, version.exception = VersionStatus.COMPLETE, None, None
        version.artifact_digest, version.artifact_size = outputs.artifact, outputs.artifact_size
        version.files_digest, version.files_size = outputs.files, outputs.files_size
        version.metrics, version.metric_steps = outputs.metrics, outputs.steps
        version.predict_takes_tables = outputs.predict_takes_tables
        version.usage, version.training_completed_at = trained.usage, run.clock()
        version.reproduction = report
        forget_steps(session, version.model_version)
        if not version.reproduction_of:
            _note_trained(session, version)
            _tell(run, session, version)
        run.complete(session)


def _end_failed(run: RunContext, failure: TrainingFailed) -> None:
    run.logs.flush()
    with run.transaction() as session:
        version = _mine(session, run)
        _fail(version, str(failure))
        version.exception, version.usage = failure.exception, failure.usage
        version.training_completed_at = run.clock()
        if not version.reproduction_of:
            _tell(run, session, version)
        run.complete(session)


def _mine(session: Session, run: RunContext) -> ModelVersion:
    version = session.get(ModelVersion, ModelVersionId(run.payload["modelVersion"]), with_for_update=True)
    if version is None:
        raise Permanent("the model version was deleted")
    return version


def _fail(version: ModelVersion, reason: str) -> None:
    version.status, version.error = VersionStatus.FAILED, training.clean(reason)
    version.failed_deployment_ids = [*version.failed_deployment_ids, *version.pending_deployment_ids]
    version.pending_deployment_ids = []


def _note_trained(session: Session, version: ModelVersion) -> None:
    """Makes the version the model's newest complete one, unless a later one was quicker."""
    locked = select(Model).where(Model.model_id == version.model_id).with_for_update()
    model = session.scalars(locked.execution_options(populate_existing=True)).one()
    before = session.get(ModelVersion, model.trained_version) if model.trained_version else None
    if before is None or before.number < version.number:
        model.trained_version = version.model_version


def _compare(run: RunContext, outputs: Outputs) -> JsonObject | None:
    """How a reproduction compares; None for all others, and where its original was deleted meanwhile."""
    with run.read() as session:
        version = session.get(ModelVersion, ModelVersionId(run.payload["modelVersion"]))
        if version is None or version.reproduction_of is None:
            return None
        original = session.get(ModelVersion, version.reproduction_of)
    return reproducing.compare(run.parts.get(BlobStore), original, version, outputs) if original else None


def _tell(run: RunContext, session: Session, version: ModelVersion) -> None:
    session.flush()
    for listener in run.parts.get(ModelEvents).version_ended:
        listener(session, version)


KINDS: tuple[RunKind, ...] = (
    RunKind(TRAIN, train, give_up_training),
    RunKind(VALIDATE, trials.try_out, trials.give_up),
    RunKind(IMPORTANCE, measuring.measure, measuring.give_up),
    *receiving.KINDS,
    *exporting.KINDS,
)
