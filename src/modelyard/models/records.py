"""The tables of models, revisions and versions.

Long texts (sources, locks) lie apart under their digest: most revisions change something else, so they share one, and
no list ever reads a text that it doesn't show.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.feature_groups.records import ExportStatus
from modelyard.ids import (
    ApplicationConnectorId,
    CodeArrivalId,
    Digest,
    ModelArtifactsExportId,
    ModelId,
    ModelValidationId,
    ModelVersionId,
    OrganizationId,
    ProjectId,
    RevisionId,
    RunId,
    UploadId,
    UserId,
)


class VersionStatus(StrEnum):
    """Where a training stands."""

    #: Waits for an agent that has room for it.
    PENDING = "PENDING"
    #: An agent works on it: environment, tables, then `train`.
    TRAINING = "TRAINING"
    #: What `train` returned is kept and can be deployed.
    COMPLETE = "COMPLETE"
    #: There is no result; `error` says why.
    FAILED = "FAILED"


#: Which statuses may follow which. TRAINING follows itself when an agent was lost and another begins again.
TRANSITIONS: dict[VersionStatus, frozenset[VersionStatus]] = {
    VersionStatus.PENDING: frozenset({VersionStatus.TRAINING, VersionStatus.FAILED}),
    VersionStatus.TRAINING: frozenset({VersionStatus.TRAINING, VersionStatus.COMPLETE, VersionStatus.FAILED}),
    VersionStatus.COMPLETE: frozenset(),
    VersionStatus.FAILED: frozenset(),
}

ENDED = frozenset(status for status, following in TRANSITIONS.items() if not following)


class SourceType(StrEnum):
    """How the code of a revision came. Source: the SDK's `code_source.py`."""

    #: One source file, handed over as text.
    TEXT = "TEXT"
    #: A zip file of modules, packages and data.
    FILE_UPLOAD = "FILE_UPLOAD"
    #: A commit of a repository, fetched through an application connector.
    APPLICATION_CONNECTOR = "APPLICATION_CONNECTOR"


class ArrivalStatus(StrEnum):
    """Where code stands that has to be fetched, unpacked and checked before it is a revision."""

    #: Its upload is not complete.
    UPLOADING = "UPLOADING"
    #: Waits for an agent, or is being looked at.
    PENDING = "PENDING"
    #: It is a revision.
    COMPLETE = "COMPLETE"
    #: It can't be one; `error` says why.
    FAILED = "FAILED"


class Model(Record):
    """A model: its name, its place, and which revision and versions are its newest."""

    __tablename__ = "models"
    __table_args__ = (Index("ix_models_listed", "project_id", "created_at", "model_id"),)

    model_id: Mapped[ModelId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId]
    name: Mapped[str]
    #: False for models that were trained elsewhere and imported.
    is_python_model: Mapped[bool] = mapped_column(default=True)
    #: Keyword arguments of `predict` that calls need not give.
    prediction_config: Mapped[JsonObject]
    #: The one metric that automatic deployments compare; None: all.
    objective_metric: Mapped[str | None]
    #: Number of the newest revision, from 1; grows by one with each, which is how two updates at once find their order.
    head: Mapped[int]
    #: Newest version, whatever its status.
    latest_version: Mapped[ModelVersionId | None]
    #: Newest COMPLETE version.
    trained_version: Mapped[ModelVersionId | None]
    #: Number that the newest version got; a deleted version's number isn't given again.
    versions: Mapped[int] = mapped_column(default=0)
    #: How an imported model is to be read and where it comes from: `imports.Imported`; None for all others.
    imported: Mapped[JsonObject | None]
    #: The newest zip or commit that was handed in and is no mere draft; None where there never was one.
    code_arrival: Mapped[CodeArrivalId | None]
    notebook_id: Mapped[str | None]
    created_by: Mapped[UserId]
    created_at: Mapped[datetime]


class ModelText(Record):
    """A source code, the list of a tree's files, or a lock, under the sha256 of its UTF-8 bytes."""

    __tablename__ = "model_texts"

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class ModelRevision(Record):
    """What a model was told to be, at one moment. Never changed."""

    __tablename__ = "model_revisions"
    __table_args__ = (UniqueConstraint("model_id", "number"),)

    revision_id: Mapped[RevisionId] = mapped_column(primary_key=True)
    model_id: Mapped[ModelId] = mapped_column(ForeignKey("models.model_id", ondelete="CASCADE"))
    number: Mapped[int]
    #: Of the source; of a tree, the list of its files with their digests, a line each.
    source_digest: Mapped[Digest] = mapped_column(ForeignKey("model_texts.digest"), index=True)
    source_size: Mapped[int]
    source_type: Mapped[SourceType] = mapped_column(Text, default=SourceType.TEXT)
    #: The tree's files as one archive, a blob; None for a source of one file.
    tree_digest: Mapped[Digest | None]
    #: Modules of the tree in which the functions stand, dotted.
    train_module_name: Mapped[str | None]
    predict_module_name: Mapped[str | None]
    application_connector_id: Mapped[ApplicationConnectorId | None]
    #: Where the tree came from: url, branchName, pythonRoot, and the commit's id.
    application_connector_info: Mapped[JsonObject | None]
    train_function_name: Mapped[str]
    predict_function_name: Mapped[str | None]
    predict_many_function_name: Mapped[str | None]
    initialize_function_name: Mapped[str | None]
    training_input_tables: Mapped[list[str]]
    feature_group_ids: Mapped[list[str]]
    cpu_size: Mapped[str | None]
    memory_gib: Mapped[int | None]
    use_gpu: Mapped[bool]
    is_thread_safe: Mapped[bool | None]
    #: Requirements as the user gave them, normalised.
    package_requirements: Mapped[list[str]]
    #: Requirements that the check of the source added.
    inferred_requirements: Mapped[list[str]]
    module_dependencies: Mapped[list[str]]
    publishing_msg: Mapped[JsonObject]
    #: As the user gave it; None: never given.
    training_config: Mapped[JsonObject | None]
    #: Equal for revisions that would train the same model and serve it the same way.
    fingerprint: Mapped[Digest]
    #: The earlier revision that this one brought back.
    restores: Mapped[RevisionId | None]
    notebook_id: Mapped[str | None]
    created_by: Mapped[UserId]
    created_at: Mapped[datetime]


class CodeArrival(Record):
    """A zip or a commit on its way to be a revision of a model."""

    __tablename__ = "model_code_arrivals"

    arrival_id: Mapped[CodeArrivalId] = mapped_column(primary_key=True)
    model_id: Mapped[ModelId] = mapped_column(ForeignKey("models.model_id", ondelete="CASCADE"), index=True)
    organization_id: Mapped[OrganizationId]
    source_type: Mapped[SourceType] = mapped_column(Text)
    #: Where the bytes come from: an upload, or a repository's branch.
    upload_id: Mapped[UploadId | None] = mapped_column(index=True)
    application_connector_id: Mapped[ApplicationConnectorId | None]
    branch_name: Mapped[str | None]
    python_root: Mapped[str | None]
    #: What else the caller changes with it: `definition.Changes`.
    changes: Mapped[JsonObject]
    #: A first training follows.
    trains: Mapped[bool]
    status: Mapped[ArrivalStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    run_id: Mapped[RunId | None]
    created_by: Mapped[UserId]
    created_at: Mapped[datetime]
    #: When it was put on the table; its revision counts as made then.
    begun_at: Mapped[datetime | None]


class ModelVersion(Record):
    """One training and its result."""

    __tablename__ = "model_versions"
    __table_args__ = (
        ForeignKeyConstraint(["model_id"], ["models.model_id"], ondelete="CASCADE"),
        Index("ix_model_versions_listed", "model_id", "number"),
    )

    model_version: Mapped[ModelVersionId] = mapped_column(primary_key=True)
    model_id: Mapped[ModelId]
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId]
    #: 1 for a model's first version.
    number: Mapped[int]
    revision_id: Mapped[RevisionId] = mapped_column(ForeignKey("model_revisions.revision_id"))
    run_id: Mapped[RunId]
    status: Mapped[VersionStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    #: What the user's code raised: type, value, traceback.
    exception: Mapped[JsonObject | None]

    # What this training was asked to use: the revision's, unless the call to train said otherwise.
    training_input_tables: Mapped[list[str]]
    feature_group_ids: Mapped[list[str]]
    cpu_size: Mapped[str | None]
    memory_gib: Mapped[int | None]
    use_gpu: Mapped[bool]
    training_config: Mapped[JsonObject | None]
    fingerprint: Mapped[Digest]
    #: The modules that the source imports, as they were when the training was asked for: `source_code.pins.Pins`.
    module_pins: Mapped[JsonObject] = mapped_column(default=dict)

    #: What the random generators of the training begin with.
    seed: Mapped[int] = mapped_column(BigInteger, default=0)
    #: Whether the training config names it; else it was chosen when the training was asked for.
    seed_given: Mapped[bool] = mapped_column(default=False)
    #: The version that this one trains again, from the same five things; None for all others.
    reproduction_of: Mapped[ModelVersionId | None]
    #: How it compares with that one, once it has ended: `reproducing.Report`.
    reproduction: Mapped[JsonObject | None]

    #: Uploads that bring the files of an imported model: artifact -> upload; None where none do.
    artifact_uploads: Mapped[JsonObject | None]
    #: Archive of the files of an imported model, once they are here.
    input_digest: Mapped[Digest | None]

    # What it did use, known from the moment it is found out.
    #: Id of each table's version, in the order of `training_input_tables`; None until the tables are there.
    feature_group_versions: Mapped[list[str] | None]
    lock_digest: Mapped[Digest | None] = mapped_column(ForeignKey("model_texts.digest"), index=True)
    environment_id: Mapped[Digest | None]
    #: Python, platform, modelyard version, cores, memory, GPUs.
    runtime: Mapped[JsonObject | None]

    # What came out; all of it appears together with the status COMPLETE.
    artifact_digest: Mapped[Digest | None] = mapped_column(index=True)
    artifact_size: Mapped[int | None]
    #: Tar of the files that `train` left in its working directory; None if it left none.
    files_digest: Mapped[Digest | None] = mapped_column(index=True)
    files_size: Mapped[int | None]
    #: Whether `predict` takes the tables of `feature_group_versions` after model and query.
    predict_takes_tables: Mapped[bool] = mapped_column(default=False)
    metrics: Mapped[JsonObject | None]
    metric_steps: Mapped[list[dict[str, Any]] | None]
    #: Peak memory in bytes and CPU seconds.
    usage: Mapped[JsonObject | None]

    pending_deployment_ids: Mapped[list[str]]
    failed_deployment_ids: Mapped[list[str]]
    created_by: Mapped[UserId | None]
    created_at: Mapped[datetime]
    training_started_at: Mapped[datetime | None]
    training_completed_at: Mapped[datetime | None]


class MetricStepBatch(Record):
    """Some steps of a training that goes on, or that failed: lines of metrics.jsonl as its guest saw them come."""

    __tablename__ = "model_metric_steps"

    model_version: Mapped[ModelVersionId] = mapped_column(
        ForeignKey("model_versions.model_version", ondelete="CASCADE"), primary_key=True
    )
    #: Place of the first of them.
    first: Mapped[int] = mapped_column(primary_key=True)
    steps: Mapped[list[dict[str, Any]]]


class ValidationStatus(StrEnum):
    """Where a dry run stands."""

    #: Waits for an agent.
    PENDING = "PENDING"
    #: An agent is at one of its stages.
    RUNNING = "RUNNING"
    #: Every stage was passed.
    COMPLETE = "COMPLETE"
    #: One was not; the stages say which and why.
    FAILED = "FAILED"


class ModelValidation(Record):
    """A dry run: what was tried, and how far it came."""

    __tablename__ = "model_validations"
    __table_args__ = (Index("ix_model_validations_asked", "organization_id", "created_at"),)

    model_validation: Mapped[ModelValidationId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId | None]
    #: The model that it would change; None where it would be a new one.
    model_id: Mapped[ModelId | None] = mapped_column(ForeignKey("models.model_id", ondelete="CASCADE"), index=True)
    #: None where the check of the source refused it already.
    run_id: Mapped[RunId | None]
    status: Mapped[ValidationStatus] = mapped_column(Text)
    #: `validation_wire.StageShape`s, in order.
    stages: Mapped[list[dict[str, Any]]]
    #: What is tried: a `definition.Definition`.
    definition: Mapped[JsonObject]
    #: Equal for the same thing tried on the same model.
    digest: Mapped[Digest] = mapped_column(index=True)
    source_digest: Mapped[Digest] = mapped_column(ForeignKey("model_texts.digest"), index=True)
    module_pins: Mapped[JsonObject] = mapped_column(default=dict)
    #: Versions of the tables that it is tried on, in order; None until they are there.
    table_versions: Mapped[list[str] | None]
    query: Mapped[JsonObject | None]
    sample_rows: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[UserId | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class ModelArtifactsExport(Record):
    """A version on its way out of the house as a zip, or there."""

    __tablename__ = "model_artifacts_exports"
    __table_args__ = (Index("ix_model_artifacts_exports_listed", "model_id", "created_at"),)

    model_artifacts_export_id: Mapped[ModelArtifactsExportId] = mapped_column(primary_key=True)
    model_id: Mapped[ModelId] = mapped_column(ForeignKey("models.model_id", ondelete="CASCADE"))
    model_version: Mapped[ModelVersionId]
    organization_id: Mapped[OrganizationId]
    #: A file or a folder elsewhere; None: kept here, for download.
    output_location: Mapped[str | None]
    file_name: Mapped[str]
    status: Mapped[ExportStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    #: From now on a file at the location may be that of an earlier attempt.
    has_begun: Mapped[bool] = mapped_column(default=False)
    #: The zip, where it is kept here.
    file_digest: Mapped[Digest | None]
    run_id: Mapped[RunId]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class FeatureImportance(Record):
    """How much a version's predictions hang on each column, or how far it is to be known. Asked for, then kept."""

    __tablename__ = "model_feature_importances"

    model_version: Mapped[ModelVersionId] = mapped_column(
        ForeignKey("model_versions.model_version", ondelete="CASCADE"), primary_key=True
    )
    run_id: Mapped[RunId]
    #: The column that is predicted, and the place of its table among the version's.
    target: Mapped[str]
    place: Mapped[int]
    #: An agent is at it: so many columns of how many are measured.
    begun: Mapped[bool] = mapped_column(default=False)
    measured: Mapped[int] = mapped_column(default=0)
    columns: Mapped[int | None]
    #: `importance.wire.FeatureImportanceShape`.
    result: Mapped[JsonObject | None]
    error: Mapped[str | None] = mapped_column(Text)
    #: What the user's code raised: type, value, traceback.
    exception: Mapped[JsonObject | None]
    asked_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class ModelVersionUser(Record):
    """Something of a room above that stands on a version and would fall with it, under a name that a person knows."""

    __tablename__ = "model_version_users"

    kind: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[ModelVersionId] = mapped_column(
        ForeignKey("model_versions.model_version"), primary_key=True, index=True
    )
    name: Mapped[str]
