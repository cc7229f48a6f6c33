"""Versions as the rooms above see them: found, described for serving, and held fast while something stands on them.

Deployments and batch predictions ask `deployable` for what a guest needs, and write down what they do with a version
(`note_deployment`, `note_user`), since this room never asks them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.errors import ConflictError, DataNotFoundError, NotReadyError
from modelyard.feature_groups.materialize import TableVersion
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.ids import (
    DeploymentId,
    Digest,
    FeatureGroupVersionId,
    ModelId,
    ModelVersionId,
    OrganizationId,
    ProjectId,
)
from modelyard.models.records import Model, ModelRevision, ModelText, ModelVersion, ModelVersionUser, VersionStatus
from modelyard.source_code.pins import Pins, read_sources

#: File name (without .py) that tracebacks show for the user's source.
MODULE_NAME = "model"

_TEXTS = select(ModelText.digest, ModelText.content).where(ModelText.digest.in_(bindparam("digests", expanding=True)))


@dataclass(frozen=True, slots=True)
class Functions:
    """Names of the user's functions."""

    train: str
    predict: str | None
    predict_many: str | None
    initialize: str | None


@dataclass(frozen=True, slots=True)
class Code:
    """A revision's code: one source, or the archive of a tree with the modules in which the functions stand."""

    source: str
    tree: Digest | None = None
    train_module: str | None = None
    predict_module: str | None = None

    @property
    def message(self) -> JsonObject:
        """What a guest is told of it; a tree's archive is its first file. See `sandbox/guest/code.py`."""
        if self.tree is None:
            return {"source": self.source, "module_name": MODULE_NAME}
        return {"tree": {"train": self.train_module, "predict": self.predict_module or self.train_module}}

    def names(self, model_id: ModelId, modules: Mapping[str, str], *, is_loaded: bool) -> tuple[str, ...]:
        """Under which the sandbox learns what it imports: at a training, or where the trained model is loaded.

        They hold for one model and all that is executed, so that nothing is learnt from anybody else's code.
        """
        module = (self.predict_module if is_loaded else None) or self.train_module
        parts = (model_id, self.tree or self.source, module, sorted(modules.items()))
        name = hashlib.sha256(repr(parts).encode()).hexdigest()
        return (f"loaded {name}", name) if is_loaded else (name,)


@dataclass(frozen=True, slots=True)
class Deployable:
    """All that serving a version needs, pinned by its training."""

    model_id: ModelId
    model_version: ModelVersionId
    project_id: ProjectId
    organization_id: OrganizationId
    code: Code
    module_name: str
    functions: Functions
    artifact: Digest
    files: Digest | None
    lock: str
    requirements: tuple[str, ...]
    #: False where the user has not said so: one call at a time is always right.
    is_thread_safe: bool
    cpu_size: str | None
    memory_gib: int | None
    use_gpu: bool
    training_config: JsonObject
    #: Keyword arguments that calls need not give: the model's, as they are now.
    prediction_config: JsonObject
    modules: dict[str, str]
    feature_group_ids: tuple[str, ...]
    training_input_tables: tuple[str, ...]
    #: The tables of the training, as it read them, if `predict` takes them too; else none.
    tables: tuple[TableVersion, ...] = ()

    @property
    def code_names(self) -> tuple[str, ...]:
        """Under which the sandbox learns what it imports where it is loaded; see `Code.names`."""
        return self.code.names(self.model_id, self.modules, is_loaded=True)


def get_model(session: Session, organization_id: OrganizationId, model_id: ModelId) -> Model:
    """The model; DataNotFoundError if the organisation has none of that id."""
    model = session.get(Model, model_id)
    if model is None or model.organization_id != organization_id:
        raise DataNotFoundError(f"Model {model_id} was not found")
    return model


def get_model_version(session: Session, organization_id: OrganizationId, model_version: ModelVersionId) -> ModelVersion:
    """The version; DataNotFoundError if the organisation has none of that id."""
    version = session.get(ModelVersion, model_version)
    if version is None or version.organization_id != organization_id:
        raise DataNotFoundError(f"Model version {model_version} was not found")
    return version


def newest_complete(session: Session, model: Model) -> ModelVersion:
    """The model's newest COMPLETE version; NotReadyError if it has none."""
    version = session.get(ModelVersion, model.trained_version) if model.trained_version else None
    if version is None:
        raise NotReadyError(f"Model {model.model_id} has no complete version yet; wait for its training to end.")
    return version


def check_complete(version: ModelVersion, done: str) -> None:
    """Raises unless the version is COMPLETE, saying that it can't be `done`: NotReadyError while it trains."""
    name = f"Model version {version.model_version}"
    if version.status == VersionStatus.FAILED:
        raise ConflictError(f"{name} can't be {done}: its training failed: {version.error}")
    if version.status != VersionStatus.COMPLETE:
        raise NotReadyError(f"{name} is {version.status}; wait for its training to end.")


def check_deployable(version: ModelVersion) -> None:
    """Raises unless the version is COMPLETE: NotReadyError while it trains, ConflictError when it failed."""
    check_complete(version, "used")


def deployable(session: Session, version: ModelVersion) -> Deployable:
    """What serving the version needs; raises as `check_deployable`, or ConflictError if it has no function for it."""
    check_deployable(version)
    revision = session.get_one(ModelRevision, version.revision_id)
    if not (revision.predict_function_name or revision.predict_many_function_name):
        raise ConflictError(
            f"Model version {version.model_version} has no function for predictions: name one in "
            "predictFunctionName with updatePythonModel, then train it again."
        )
    pins = Pins.of(version.module_pins)
    assert version.artifact_digest is not None
    assert version.lock_digest is not None
    texts = read_texts(session, [revision.source_digest, version.lock_digest])
    return Deployable(
        model_id=version.model_id,
        model_version=version.model_version,
        project_id=version.project_id,
        organization_id=version.organization_id,
        code=code_of(revision, texts[revision.source_digest]),
        module_name=MODULE_NAME,
        functions=functions_of(revision),
        artifact=version.artifact_digest,
        files=version.files_digest,
        lock=texts[version.lock_digest],
        requirements=requirements_of(revision, pins),
        is_thread_safe=bool(revision.is_thread_safe),
        cpu_size=version.cpu_size,
        memory_gib=version.memory_gib,
        use_gpu=version.use_gpu,
        training_config=dict(version.training_config or {}),
        prediction_config=dict(session.get_one(Model, version.model_id).prediction_config),
        modules=read_sources(session, pins),
        feature_group_ids=tuple(version.feature_group_ids),
        training_input_tables=tuple(version.training_input_tables),
        tables=tables_of(session, version) if version.predict_takes_tables else (),
    )


def tables_of(session: Session, version: ModelVersion) -> tuple[TableVersion, ...]:
    """The very rows that the version was trained on; ConflictError if one of the tables has been deleted."""
    wanted = [FeatureGroupVersionId(each) for each in version.feature_group_versions or []]
    query = select(FeatureGroupVersion).where(FeatureGroupVersion.feature_group_version.in_(wanted))
    found = {row.feature_group_version: row for row in session.scalars(query)}
    if missing := [each for each in wanted if each not in found]:
        raise ConflictError(
            f"Model version {version.model_version} can't be used: the rows of its training are needed, and feature "
            f"group version {missing[0]} has been deleted. Train the model again."
        )
    return tuple(
        TableVersion(found[each].feature_group_id, found[each].feature_group_version, name, found[each].manifest)
        for each, name in zip(wanted, version.training_input_tables, strict=True)
    )


def requirements_of(revision: ModelRevision, pins: Pins) -> tuple[str, ...]:
    """The packages for the revision's source and the modules that it imports."""
    named = (*revision.package_requirements, *revision.inferred_requirements, *pins.requirements)
    return tuple(dict.fromkeys(named))


def code_of(revision: ModelRevision, text: str) -> Code:
    """The revision's code, whose text (of a tree: the list of its files) was read already."""
    return Code(text, revision.tree_digest, revision.train_module_name, revision.predict_module_name)


def functions_of(revision: ModelRevision) -> Functions:
    """The names of the revision's functions."""
    return Functions(
        revision.train_function_name,
        revision.predict_function_name,
        revision.predict_many_function_name,
        revision.initialize_function_name,
    )


def read_texts(session: Session, digests: Sequence[Digest]) -> dict[Digest, str]:
    """The texts of those digests, in one query."""
    if not digests:
        return {}
    rows = session.execute(_TEXTS, {"digests": list(dict.fromkeys(digests))})
    return {digest: content.decode() for digest, content in rows}


def note_deployment(
    session: Session, model_version: ModelVersionId, deployment_id: DeploymentId, state: str | None
) -> None:
    """Writes down that the version is to go to the deployment ("pending"), did not get there ("failed"), or neither."""
    query = select(ModelVersion).where(ModelVersion.model_version == model_version)
    version = session.scalars(query.with_for_update().execution_options(populate_existing=True)).first()
    if version is None:
        return
    pending = [each for each in version.pending_deployment_ids if each != deployment_id]
    failed = [each for each in version.failed_deployment_ids if each != deployment_id]
    if state == "pending":
        pending.append(deployment_id)
    elif state == "failed":
        failed.append(deployment_id)
    version.pending_deployment_ids, version.failed_deployment_ids = pending, failed
    session.flush()


def note_user(session: Session, model_version: ModelVersionId, kind: str, user_id: str, name: str = "") -> None:
    """Says that `kind` ("deployment", "batch prediction" ...) `user_id` stands on the version. May be said twice."""
    session.merge(ModelVersionUser(kind=kind, user_id=user_id, model_version=model_version, name=name or user_id))
    session.flush()


def forget_user(session: Session, model_version: ModelVersionId | None, kind: str, user_id: str) -> None:
    """Takes it back; None for the version takes it back for all of them."""
    mine = [ModelVersionUser.kind == kind, ModelVersionUser.user_id == user_id]
    if model_version is not None:
        mine.append(ModelVersionUser.model_version == model_version)
    session.execute(delete(ModelVersionUser).where(*mine))


def users_of(session: Session, model_versions: Sequence[ModelVersionId]) -> list[str]:
    """What stands on those versions, in words: `deployment Concrete (5232d96000)`."""
    query = select(ModelVersionUser).where(ModelVersionUser.model_version.in_(model_versions))
    ordered = session.scalars(query.order_by(ModelVersionUser.kind, ModelVersionUser.name))
    words = [f"{row.kind} {row.name}" + ("" if row.name == row.user_id else f" ({row.user_id})") for row in ordered]
    return list(dict.fromkeys(words))
