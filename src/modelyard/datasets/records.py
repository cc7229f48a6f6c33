"""Datasets, their versions, and the uploads that bring them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import (
    DatasetId,
    DatasetVersionId,
    Digest,
    ModelId,
    ModelVersionId,
    OnlineTableId,
    OrganizationId,
    RunId,
    UploadId,
)


class SourceType(StrEnum):
    """Where the bytes of a dataset come from. Source: the SDK's Dataset.sourceType."""

    #: Uploaded by a client.
    UPLOAD = "UPLOAD"
    #: Read from a location.
    EXTERNAL_SERVICE = "EXTERNAL_SERVICE"
    #: Written row by row; a version is what the rows were at one moment.
    STREAMING = "STREAMING"


class UploadStatus(StrEnum):
    """Where an upload stands. Parts are joined by listing them, so JOINING is never seen."""

    #: Parts may arrive.
    PENDING = "PENDING"
    #: All parts are there and belong to the version; nothing more may arrive.
    COMPLETE = "COMPLETE"
    #: Ended by its owner before it was complete.
    CANCELLED = "CANCELLED"


class VersionStatus(StrEnum):
    """Where a dataset version stands."""

    #: Waits for its upload, or for an agent.
    PENDING = "PENDING"
    #: A guest reads the bytes.
    IMPORTING = "IMPORTING"
    #: The table is there.
    COMPLETE = "COMPLETE"
    #: There is no table; `error` says why.
    FAILED = "FAILED"


#: Which states may follow which.
TRANSITIONS: dict[VersionStatus, frozenset[VersionStatus]] = {
    VersionStatus.PENDING: frozenset({VersionStatus.IMPORTING, VersionStatus.FAILED}),
    VersionStatus.IMPORTING: frozenset({VersionStatus.IMPORTING, VersionStatus.COMPLETE, VersionStatus.FAILED}),
    VersionStatus.COMPLETE: frozenset(),
    VersionStatus.FAILED: frozenset(),
}


class Dataset(Record):
    """A table that grows by versions."""

    __tablename__ = "datasets"
    __table_args__ = (
        UniqueConstraint("organization_id", "feature_group_table_name"),
        Index("ix_datasets_listed", "organization_id", "created_at", "dataset_id"),
    )

    dataset_id: Mapped[DatasetId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    feature_group_table_name: Mapped[str]
    source_type: Mapped[SourceType] = mapped_column(Text)
    #: The location, or the name under which the bytes were uploaded.
    data_source: Mapped[str | None] = mapped_column(Text)
    #: What is read of a database (`connectors.questions.Question` with the connector's id); None: another source.
    database_connector_config: Mapped[JsonObject | None]
    #: Where the rows of a STREAMING dataset are.
    online_table_id: Mapped[OnlineTableId | None]
    version_limit: Mapped[int]
    #: How the newest version is read (`reading.Reading`); the next one's where its caller names nothing.
    reading: Mapped[JsonObject]
    #: Column -> the data type that somebody said it has; from the next version on.
    column_types: Mapped[JsonObject] = mapped_column(default=dict)
    created_at: Mapped[datetime]


class DatasetVersion(Record):
    """One import; immutable once it has ended."""

    __tablename__ = "dataset_versions"
    __table_args__ = (Index("ix_dataset_versions_newest", "dataset_id", "created_at", "dataset_version"),)

    dataset_version: Mapped[DatasetVersionId] = mapped_column(primary_key=True)
    dataset_id: Mapped[DatasetId] = mapped_column(ForeignKey("datasets.dataset_id", ondelete="CASCADE"))
    organization_id: Mapped[OrganizationId]
    status: Mapped[VersionStatus] = mapped_column(Text)
    upload_id: Mapped[UploadId | None]
    location: Mapped[str | None] = mapped_column(Text)
    database_connector_config: Mapped[JsonObject | None]
    #: The change of the rows online that it was made at.
    online_change: Mapped[int | None]
    #: How its bytes are read (`reading.Reading`).
    reading: Mapped[JsonObject]
    #: Bytes that arrived; None until they have.
    size: Mapped[int | None]
    #: `storage.Table`, once COMPLETE.
    table: Mapped[JsonObject | None]
    row_count: Mapped[int | None]
    #: What the reader noticed: delimiter, renamed columns ...
    inspected: Mapped[JsonObject | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class Upload(Record):
    """Bytes on their way: of a dataset's version, or for a room above that the kind names."""

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_listed", "organization_id", "status", "created_at"),)

    upload_id: Mapped[UploadId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    #: Of what the bytes are: `DATASET`, or a kind that a room above has put into `UploadEvents`.
    kind: Mapped[str] = mapped_column(default="DATASET")
    dataset_id: Mapped[DatasetId | None] = mapped_column(ForeignKey("datasets.dataset_id", ondelete="CASCADE"))
    dataset_version: Mapped[DatasetVersionId | None]
    #: What a room above keeps of its own: shown as modelId and modelVersion.
    model_id: Mapped[ModelId | None]
    model_version: Mapped[ModelVersionId | None]
    status: Mapped[UploadStatus] = mapped_column(Text)
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class UploadPart(Record):
    """One part that has arrived: a blob."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[UploadId] = mapped_column(ForeignKey("uploads.upload_id", ondelete="CASCADE"), primary_key=True)
    #: From 1, in the order of the file.
    part_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[Digest]
    md5: Mapped[str]
    size: Mapped[int]


class TableMetrics(Record):
    """What is in the columns of a table, counted when somebody first asks; shared by all versions with those rows."""

    __tablename__ = "table_metrics"

    table_digest: Mapped[Digest] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    table: Mapped[JsonObject]
    #: `metrics.Measured`; None until it is known.
    measured: Mapped[JsonObject | None]
    #: Why it is not known.
    error: Mapped[str | None] = mapped_column(Text)
    run_id: Mapped[RunId]
    created_at: Mapped[datetime]
