"""From rows to what callers see: models with their newest version, versions with their pinned source.

A Python model is one algorithm, its own: the algorithm's id is the model's, its name the model's name. Lists read
everything in a handful of queries, however long they are, and show short sources only (`code_sources.LISTED_SOURCE`).
Source: updatePythonModel, Response; what is empty here is so because a Python model has no such thing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, defer

from modelyard.clock import iso
from modelyard.database import JsonObject
from modelyard.execution.waiting import what_it_waits_for
from modelyard.ids import Digest, ModelId, ModelVersionId, RevisionId
from modelyard.models.code import code_sources
from modelyard.models.code.receiving import pending_of
from modelyard.models.freshness import find_stale
from modelyard.models.records import ENDED, CodeArrival, Model, ModelRevision, ModelVersion, VersionStatus
from modelyard.models.reproduction.provenance import made_from
from modelyard.models.reproduction.wire import ReproductionShape
from modelyard.models.schedules import schedules_of_models
from modelyard.models.versions import read_texts
from modelyard.models.wire import Config, DeployableAlgorithmShape, ModelLocationShape, ModelShape, ModelVersionShape
from modelyard.refresh.wire import RefreshScheduleShape
from modelyard.source_code.pins import Modules, Pins

#: Name of the config's class in the SDK, and the problem type by which the SDK finds it.
CONFIG_TYPE = "CustomAlgorithmTrainingConfig"
PROBLEM_TYPE = "trainable_plug_and_play"
#: The one type of model that is trained.
TRAINED_TYPES = [{"label": "Python Model", "value": "PYTHON_MODEL"}]

#: What no answer about a version shows; metrics of each step may be larger than all the rest.
WITHOUT_RESULTS = tuple(
    defer(column)
    for column in (ModelVersion.metrics, ModelVersion.metric_steps, ModelVersion.usage, ModelVersion.exception)
)
_VERSIONS = (
    select(ModelVersion)
    .where(ModelVersion.model_version.in_(bindparam("ids", expanding=True)))
    .options(*WITHOUT_RESULTS)
)


@dataclass
class _Read:
    """What was read for one answer."""

    heads: dict[ModelId, ModelRevision] = field(default_factory=dict)
    versions: dict[ModelVersionId, ModelVersion] = field(default_factory=dict)
    revisions: dict[RevisionId, ModelRevision] = field(default_factory=dict)
    texts: dict[Digest, str] = field(default_factory=dict)
    stale: set[ModelVersionId] = field(default_factory=set)
    #: The newest zip or commit of each model that was handed in as such.
    arrivals: dict[ModelId, CodeArrival] = field(default_factory=dict)
    #: All modules that each model needs now.
    modules: dict[ModelId, list[str]] = field(default_factory=dict)


def describe_model(session: Session, model: Model) -> ModelShape:
    """One model."""
    return describe_models(session, [model])[0]


def describe_models(
    session: Session,
    models: Sequence[Model],
    *,
    listing: bool = False,
    heads: dict[ModelId, ModelRevision] | None = None,
    texts: dict[Digest, str] | None = None,
) -> list[ModelShape]:
    """The models, in that order. `heads` and `texts` are what the caller knows already."""
    read = _Read(heads=_read_heads(session, models) if heads is None else heads, texts=texts or {})
    if arriving := [model.model_id for model in models if model.code_arrival]:
        read.arrivals = pending_of(session, arriving)
        read.heads = {model: code_sources.awaited(arrival) for model, arrival in read.arrivals.items()} | read.heads
    wanted = [each for model in models for each in (model.latest_version, model.trained_version) if each]
    read.revisions |= {head.revision_id: head for head in read.heads.values()}
    _read_versions(session, read, wanted)
    _read_sources(session, read, listing=listing)
    read.stale = find_stale(session, _unchanged(read, models), read.heads)
    _read_modules(session, read, models)
    schedules = schedules_of_models(session, [model.model_id for model in models])
    return [_model(model, read, schedules.get(model.model_id, [])) for model in models]


def describe_version(session: Session, version: ModelVersion, now: datetime) -> ModelVersionShape:
    """One version; of one that has not begun, what it waits for; of one that has ended, what it used."""
    [described] = describe_versions(session, [version])
    waits = version.status == VersionStatus.PENDING
    waiting_for = what_it_waits_for(session, version.run_id, now) if waits else None
    return msgspec.structs.replace(described, waiting_for=waiting_for, usage=version.usage)


def describe_versions(
    session: Session, versions: Sequence[ModelVersion], *, listing: bool = False
) -> list[ModelVersionShape]:
    """The versions, in that order."""
    query = select(Model).where(Model.model_id.in_({version.model_id for version in versions}))
    models = {model.model_id: model for model in session.scalars(query)}
    read = _Read(heads=_read_heads(session, list(models.values())))
    read.revisions = {head.revision_id: head for head in read.heads.values()}
    if older := {version.revision_id for version in versions} - read.revisions.keys():
        read.revisions |= _read_revisions(session, older)
    _read_sources(session, read, listing=listing)
    if not listing:
        read.texts |= read_texts(session, [each.lock_digest for each in versions if each.lock_digest])
    return [_version(version, models[version.model_id], read) for version in versions]


def config_shape(config: JsonObject | None) -> Config:
    """A training config as the SDK reads it: the caller's own keys, and the documented ones.

    The SDK's class attributes `_SUPPORT_KWARGS` and `_UPPER_SNAKE_CASE_KEYS` stay out: its parser takes them for
    arguments of the constructor and fails on the whole answer.
    """
    own = dict(config or {})
    fields = ("ALGORITHM", "KWARGS", "PROBLEM_TYPE", "TIMEOUT_MINUTES")
    further = {name: value for name, value in own.items() if name not in fields}
    return {"ALGORITHM": None, "KWARGS": further, "PROBLEM_TYPE": PROBLEM_TYPE, "TIMEOUT_MINUTES": None} | own


def _read_heads(session: Session, models: Sequence[Model]) -> dict[ModelId, ModelRevision]:
    query = (
        select(ModelRevision)
        .join(Model, (Model.model_id == ModelRevision.model_id) & (Model.head == ModelRevision.number))
        .where(Model.model_id.in_([model.model_id for model in models]))
    )
    return {head.model_id: head for head in session.scalars(query)}


def _read_versions(session: Session, read: _Read, wanted: Iterable[ModelVersionId]) -> None:
    read.versions = {each.model_version: each for each in session.scalars(_VERSIONS, {"ids": list(set(wanted))})}
    if older := {each.revision_id for each in read.versions.values()} - read.revisions.keys():
        read.revisions |= _read_revisions(session, older)


def _read_revisions(session: Session, wanted: Iterable[RevisionId]) -> dict[RevisionId, ModelRevision]:
    """The revisions of those ids."""
    query = select(ModelRevision).where(ModelRevision.revision_id.in_(set(wanted)))
    return {revision.revision_id: revision for revision in session.scalars(query)}


def _read_sources(session: Session, read: _Read, *, listing: bool) -> None:
    shown = [each for each in read.revisions.values() if code_sources.is_shown(each, listing=listing)]
    wanted = [revision.source_digest for revision in shown if revision.source_digest not in read.texts]
    read.texts |= read_texts(session, wanted)


def _read_modules(session: Session, read: _Read, models: Sequence[Model]) -> None:
    known = {each: Modules(session, each) for each in {model.organization_id for model in models}}
    for model in models:
        names = read.heads[model.model_id].module_dependencies
        read.modules[model.model_id] = known[model.organization_id].dependencies(names)


def _unchanged(read: _Read, models: Sequence[Model]) -> list[ModelVersion]:
    """The newest complete versions whose model has not changed since; only of those the tables matter."""
    trained = [read.versions.get(model.trained_version) for model in models if model.trained_version]
    return [each for each in trained if each and each.fingerprint == read.heads[each.model_id].fingerprint]


def _is_training_required(model: Model, read: _Read) -> bool:
    trained = read.versions.get(model.trained_version) if model.trained_version else None
    if trained is None or trained.fingerprint != read.heads[model.model_id].fingerprint:
        return True
    return trained.model_version in read.stale


def _model(model: Model, read: _Read, schedules: list[RefreshScheduleShape]) -> ModelShape:
    head = read.heads[model.model_id]
    latest = read.versions.get(model.latest_version) if model.latest_version else None
    return ModelShape(
        name=model.name,
        model_id=model.model_id,
        model_config_type=CONFIG_TYPE,
        model_prediction_config=model.prediction_config,
        created_at=iso(model.created_at),
        project_id=model.project_id,
        shared=False,
        shared_at=None,
        train_function_name=head.train_function_name,
        predict_function_name=head.predict_function_name,
        predict_many_function_name=head.predict_many_function_name,
        initialize_function_name=head.initialize_function_name,
        training_input_tables=head.training_input_tables,
        source_code=None if head.tree_digest else read.texts.get(head.source_digest),
        cpu_size=head.cpu_size,
        memory=head.memory_gib,
        training_feature_group_ids=head.feature_group_ids,
        algorithm_model_configs=[],
        training_vector_store_versions=[],
        document_retrievers=[],
        document_retriever_ids=[],
        is_python_model=model.is_python_model,
        default_algorithm=model.model_id,
        custom_algorithm_configs={},
        restricted_algorithms={},
        use_gpu=head.use_gpu,
        is_thread_safe=head.is_thread_safe,
        notebook_id=head.notebook_id or model.notebook_id,
        training_required=_is_training_required(model, read),
        latest_model_version=_version(latest, model, read) if latest else None,
        location=_location(model),
        refresh_schedules=schedules,
        code_source=code_sources.code_source(
            head, read.texts, read.modules.get(model.model_id, []), read.arrivals.get(model.model_id)
        ),
        database_connector=None,
        data_llm_feature_groups=[],
        model_config=config_shape(head.training_config),
    )


def _version(version: ModelVersion, model: Model, read: _Read) -> ModelVersionShape:
    revision = read.revisions[version.revision_id]
    has_ended, is_complete = version.status in ENDED, version.status == VersionStatus.COMPLETE
    algorithm = {"algorithm": model.model_id, "name": model.name}
    pinned = version.feature_group_versions
    return ModelVersionShape(
        model_version=version.model_version,
        model_config_type=CONFIG_TYPE,
        status=version.status,
        model_id=version.model_id,
        model_prediction_config=model.prediction_config,
        training_started_at=iso(version.training_started_at),
        training_completed_at=iso(version.training_completed_at),
        feature_group_versions=pinned or [],
        custom_algorithms=[],
        builtin_algorithms=[],
        error=version.error,
        pending_deployment_ids=version.pending_deployment_ids,
        failed_deployment_ids=version.failed_deployment_ids,
        cpu_size=version.cpu_size,
        memory=version.memory_gib,
        automl_complete=has_ended,
        training_feature_group_ids=version.feature_group_ids,
        training_document_retriever_versions=[],
        document_retriever_mappings={},
        best_algorithm=algorithm if is_complete else None,
        default_algorithm=algorithm,
        feature_analysis_status=_analysis(version),
        data_cluster_info={},
        custom_algorithm_configs={},
        trained_model_types=TRAINED_TYPES if is_complete else [],
        use_gpu=version.use_gpu,
        partial_complete=has_ended,
        model_feature_group_schema_mappings=dict(zip(version.feature_group_ids, pinned or [], strict=False)),
        training_config_updated=revision.training_config != read.heads[model.model_id].training_config,
        code_source=code_sources.code_source(revision, read.texts, list(Pins.of(version.module_pins).modules)),
        model_config=config_shape(version.training_config),
        deployable_algorithms=[_deployable(model, revision)] if is_complete else [],
        made_from=made_from(version, revision, read.texts),
        reproduction_of=version.reproduction_of,
        reproduction=msgspec.convert(version.reproduction, ReproductionShape) if version.reproduction else None,
    )


def _location(model: Model) -> ModelLocationShape | None:
    """Where an imported model lies, if it was not uploaded."""
    imported = model.imported or {}
    if not imported.get("location"):
        return None
    return ModelLocationShape(location=imported["location"], artifact_names=imported.get("artifactNames", {}))


def _analysis(version: ModelVersion) -> str:
    """The features of a Python model are the columns of its tables: known once their versions are pinned."""
    if version.feature_group_versions is not None:
        return VersionStatus.COMPLETE
    return VersionStatus.FAILED if version.status in ENDED else VersionStatus.PENDING


def _deployable(model: Model, revision: ModelRevision) -> DeployableAlgorithmShape:
    return DeployableAlgorithmShape(
        algorithm=model.model_id,
        name=model.name,
        trained_model_types=TRAINED_TYPES,
        only_offline_deployable=revision.predict_function_name is None,
    )
