"""Puts a training on the table: a PENDING version and its run, in the caller's own transaction.

Called by createModelFromPython and retrainModel, and by refresh runs, which have no caller. The run is `runs.train`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.errors import InvalidParameterError, NotReadyError
from modelyard.execution import enqueue
from modelyard.feature_groups.tables import get_feature_groups
from modelyard.ids import DeploymentId, FeatureGroupId, ModelId, ModelVersionId, RunId, UserId, new_id
from modelyard.models.definition import fingerprint
from modelyard.models.records import Model, ModelRevision, ModelVersion, VersionStatus
from modelyard.models.reproduction.seeds import seed_of
from modelyard.models.sizes import CpuSize, Size, demand
from modelyard.settings import Settings
from modelyard.source_code.pins import Modules

#: Name of the run, bound in `runs.KINDS`.
TRAIN = "models.train"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one training does differently from its model's definition; None leaves it."""

    feature_group_ids: Sequence[FeatureGroupId] | None = None
    cpu_size: CpuSize | None = None
    memory_gib: int | None = None
    training_config: JsonObject | None = None


def start_training(
    session: Session,
    settings: Settings,
    model_id: ModelId,
    *,
    deployment_ids: Sequence[DeploymentId] = (),
    overrides: Overrides | None = None,
    user_id: UserId | None = None,
) -> ModelVersion:
    """A new PENDING version of the model's newest revision, with its run, in `session`'s transaction.

    `deployment_ids` are where the version shall go when it is COMPLETE; they become its pendingDeploymentIds.
    """
    model = session.scalars(
        select(Model).where(Model.model_id == model_id).with_for_update().execution_options(populate_existing=True)
    ).one()
    revision = session.scalars(
        select(ModelRevision).where(ModelRevision.model_id == model_id, ModelRevision.number == model.head)
    ).first()
    if not model.is_python_model:
        raise InvalidParameterError(
            f"Model {model_id} was imported; createModelVersionFromFiles and createModelVersionFromLocalFiles make its "
            "versions."
        )
    if revision is None:
        raise NotReadyError(f"Model {model_id} has no code yet; send it, and wait until codeSource.status is COMPLETE.")
    version = _new_version(session, model, revision, overrides or Overrides())
    version.module_pins = Modules(session, model.organization_id).pins(revision.module_dependencies).as_json
    version.pending_deployment_ids = list(dict.fromkeys(deployment_ids))
    put_on_table(session, settings, model, version, user_id)
    model.latest_version = version.model_version
    session.flush()
    return version


def start_import(session: Session, call: Call, model_id: ModelId) -> ModelVersion:
    """A new PENDING version of an imported model whose files are still to come; `enqueue_training` puts it on."""
    model = session.scalars(
        select(Model).where(Model.model_id == model_id).with_for_update().execution_options(populate_existing=True)
    ).one()
    revision = session.scalars(
        select(ModelRevision).where(ModelRevision.model_id == model_id, ModelRevision.number == model.head)
    ).one()
    version = _new_version(session, model, revision, Overrides())
    version.module_pins = Modules(session, model.organization_id).pins(revision.module_dependencies).as_json
    version.created_by, version.run_id = call.principal.user_id, RunId("")
    session.add(version)
    model.latest_version, model.versions = version.model_version, version.number
    session.flush()
    return version


def put_on_table(
    session: Session, settings: Settings, model: Model, version: ModelVersion, user_id: UserId | None
) -> None:
    """Keeps a new version of the model, which is locked, with the run that trains it."""
    version.created_by = user_id
    enqueue_training(session, settings, model, version)
    session.add(version)
    model.versions = version.number
    session.flush()


def enqueue_training(session: Session, settings: Settings, model: Model, version: ModelVersion) -> None:
    """The run that trains the version."""
    size = Size(CpuSize(version.cpu_size) if version.cpu_size else None, version.memory_gib, version.use_gpu)
    version.run_id = enqueue(
        session,
        TRAIN,
        {"modelVersion": version.model_version},
        target=version.model_version,
        organization_id=model.organization_id,
        project_id=model.project_id,
        demand=demand(session, settings, size),
    )
    session.flush()


def _new_version(session: Session, model: Model, revision: ModelRevision, overrides: Overrides) -> ModelVersion:
    tables, group_ids = revision.training_input_tables, revision.feature_group_ids
    if overrides.feature_group_ids is not None:
        groups = get_feature_groups(session, model.organization_id, overrides.feature_group_ids)
        tables, group_ids = [group.table_name for group in groups], [group.feature_group_id for group in groups]
    config = revision.training_config if overrides.training_config is None else overrides.training_config
    seed = seed_of(config)
    return ModelVersion(
        model_version=ModelVersionId(new_id()),
        model_id=model.model_id,
        organization_id=model.organization_id,
        project_id=model.project_id,
        number=model.versions + 1,
        revision_id=revision.revision_id,
        status=VersionStatus.PENDING,
        training_input_tables=list(tables),
        feature_group_ids=list(group_ids),
        cpu_size=overrides.cpu_size or revision.cpu_size,
        memory_gib=overrides.memory_gib or revision.memory_gib,
        use_gpu=revision.use_gpu,
        training_config=config,
        seed=seed.value,
        seed_given=seed.is_given,
        fingerprint=fingerprint(revision, group_ids, config),
        pending_deployment_ids=[],
        failed_deployment_ids=[],
        created_at=utc_now(),
    )
