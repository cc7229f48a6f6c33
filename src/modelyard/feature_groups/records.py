"""The tables of this room: groups, what they read, their versions, who uses and may change them, queries run once."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.feature_groups.definition import Definition
from modelyard.ids import (
    DatasetId,
    DatasetVersionId,
    Digest,
    FeatureGroupExportId,
    FeatureGroupId,
    FeatureGroupOperationRunId,
    FeatureGroupVersionId,
    OrganizationId,
    ProjectId,
    RunId,
    UserId,
)
from modelyard.storage import Table


class SourceType(StrEnum):
    """What a feature group is made from."""

    #: The table of a dataset; a version for each of its versions.
    DATASET = "DATASET"
    #: A SELECT statement over other feature groups.
    SQL = "SQL"
    #: A Python function over other feature groups.
    PYTHON = "PYTHON"
    #: What batch predictions wrote; a version for each of their runs.
    BATCH_PREDICTION = "BATCH_PREDICTION"
    #: Some of the rows of another group.
    SAMPLING = "SAMPLING"
    #: Several versions of another group, one below the other.
    MERGE = "MERGE"
    #: One version of another group, for ever.
    SNAPSHOT = "SNAPSHOT"
    #: Written row by row; a version is what the rows were at one moment.
    ONLINE = "ONLINE"


#: Kinds whose versions come by themselves, with their rows; no run makes them.
GIVEN = (SourceType.DATASET, SourceType.BATCH_PREDICTION, SourceType.SNAPSHOT)


class VersionStatus(StrEnum):
    """Where a version, or a query, stands."""

    #: Waits for an agent.
    PENDING = "PENDING"
    #: A run makes it.
    GENERATING = "GENERATING"
    #: Its table is there and stays.
    COMPLETE = "COMPLETE"
    #: It could not be made; `error` says why.
    FAILED = "FAILED"


#: Which statuses may follow which. GENERATING may follow itself: another run took the work over.
TRANSITIONS: dict[VersionStatus, frozenset[VersionStatus]] = {
    VersionStatus.PENDING: frozenset({VersionStatus.GENERATING, VersionStatus.COMPLETE, VersionStatus.FAILED}),
    VersionStatus.GENERATING: frozenset({VersionStatus.GENERATING, VersionStatus.COMPLETE, VersionStatus.FAILED}),
    VersionStatus.COMPLETE: frozenset(),
    VersionStatus.FAILED: frozenset(),
}
#: A version in one of these will still change.
UNFINISHED = (VersionStatus.PENDING, VersionStatus.GENERATING)


class FeatureGroup(Record):
    """A table by name, and what it is made from now."""

    __tablename__ = "feature_groups"
    __table_args__ = (
        UniqueConstraint("organization_id", "table_name"),
        Index("ix_feature_groups_listed", "organization_id", "created_at", "feature_group_id"),
        #: Names are looked up in any case.
        Index("ix_feature_groups_named", "organization_id", text("lower(table_name)")),
    )

    feature_group_id: Mapped[FeatureGroupId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    table_name: Mapped[str]
    source_type: Mapped[SourceType] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    dataset_id: Mapped[DatasetId | None] = mapped_column(index=True)
    definition: Mapped[JsonObject]
    definition_digest: Mapped[str]
    #: What the check of the source had to say: warnings and the modules that it imports.
    check_report: Mapped[JsonObject | None]
    cpu_size: Mapped[str | None]
    memory_gib: Mapped[int | None]
    use_gpu: Mapped[bool] = mapped_column(default=False)
    use_original_csv_names: Mapped[bool] = mapped_column(default=False)
    python_function_name: Mapped[str | None]
    #: As the caller gave them.
    python_function_bindings: Mapped[list[dict[str, Any]] | None]
    version_limit: Mapped[int] = mapped_column(default=30)
    tags: Mapped[list[str]] = mapped_column(default=list)
    #: Feature -> its tags.
    feature_tags: Mapped[JsonObject] = mapped_column(default=dict)
    #: Feature -> the feature type that somebody said it has.
    feature_types: Mapped[JsonObject] = mapped_column(default=dict)
    #: primaryKey, updateTimestampKey, lookupKeys.
    indexing: Mapped[JsonObject | None]
    #: Where its rows are exported to, as `destinations.Destination`, and whether each new version goes there by itself.
    export_destination: Mapped[JsonObject | None]
    export_on_materialization: Mapped[bool] = mapped_column(default=False)
    #: Only those of `FeatureGroupModifier` may change it.
    is_locked: Mapped[bool] = mapped_column(default=False)
    #: Number of the newest version; the next one gets the number after it.
    last_version_number: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def made_from(self) -> Definition:
        """The definition, decoded."""
        return msgspec.convert(self.definition, Definition)

    @property
    def is_given(self) -> bool:
        """Whether its versions come by themselves, with their rows: no run makes them."""
        return self.source_type in GIVEN and "engineSql" not in self.definition


class FeatureGroupInput(Record):
    """An edge: the group reads the parent. Written anew whenever the definition changes."""

    __tablename__ = "feature_group_inputs"

    feature_group_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id", ondelete="CASCADE"), primary_key=True
    )
    parent_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id"), primary_key=True, index=True
    )


class FeatureGroupWord(Record):
    """A word of a group's name, tags, description or columns; `words.py` keeps them."""

    __tablename__ = "feature_group_words"
    __table_args__ = (
        #: Holds all that a search reads: the groups of a word, those first where it counts most.
        Index("ix_feature_group_words_found", "organization_id", "word", "weight", "feature_group_id"),
    )

    feature_group_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id", ondelete="CASCADE"), primary_key=True
    )
    word: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    weight: Mapped[float]


class WordSpelling(Record):
    """How a word that some group of the organisation has may be begun or misspelt."""

    __tablename__ = "feature_group_word_spellings"

    organization_id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    spelling: Mapped[str] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(primary_key=True)


class FeatureGroupVersion(Record):
    """A snapshot: the rows that a definition gave from exact versions of its parents."""

    __tablename__ = "feature_group_versions"
    __table_args__ = (
        UniqueConstraint("feature_group_id", "number"),
        Index("ix_feature_group_versions_run", "run_id"),
    )

    feature_group_version: Mapped[FeatureGroupVersionId] = mapped_column(primary_key=True)
    feature_group_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id", ondelete="CASCADE")
    )
    organization_id: Mapped[OrganizationId]
    #: 1, 2, 3 ... within the group, in the order of creation.
    number: Mapped[int]
    status: Mapped[VersionStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    #: The user's exception: type, value, traceback.
    exception: Mapped[JsonObject | None]
    definition: Mapped[JsonObject]
    definition_digest: Mapped[str]
    cpu_size: Mapped[str | None]
    memory_gib: Mapped[int | None]
    use_gpu: Mapped[bool] = mapped_column(default=False)
    #: What its code was: the registered function and the modules, as `source_code.pins.Pins`.
    pins: Mapped[JsonObject] = mapped_column(default=dict)
    #: The exact versions that it was made from: parent's id -> version.
    parents: Mapped[JsonObject | None]
    #: Which versions of its parent a MERGE put together, oldest first.
    merged_versions: Mapped[list[str] | None]
    dataset_version: Mapped[DatasetVersionId | None]
    #: The change of the rows online that it was made at.
    online_change: Mapped[int | None]
    #: The locked packages that the function ran with.
    lock: Mapped[str | None] = mapped_column(Text)
    #: Manifest of the rows; None until COMPLETE.
    table: Mapped[JsonObject | None]
    #: The run that makes it, which may be another's that needed it too.
    run_id: Mapped[RunId | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    @property
    def made_from(self) -> Definition:
        """The definition at the version's creation, decoded."""
        return msgspec.convert(self.definition, Definition)

    @property
    def manifest(self) -> Table:
        """The table; only of a COMPLETE version."""
        return msgspec.convert(self.table, Table)


class FeatureGroupUser(Record):
    """Something of a room above that stands on a group, so that the group is not deleted under it."""

    __tablename__ = "feature_group_users"

    feature_group_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id", ondelete="CASCADE"), primary_key=True
    )
    #: "model", "batch prediction" ...
    kind: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    #: What callers are told it is called.
    name: Mapped[str]


class FeatureGroupVersionUser(Record):
    """Something of a room above that was made from a version, so that the version is kept."""

    __tablename__ = "feature_group_version_users"

    feature_group_version: Mapped[FeatureGroupVersionId] = mapped_column(
        ForeignKey("feature_group_versions.feature_group_version", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    name: Mapped[str]


class FeatureGroupModifier(Record):
    """Somebody who may change a group that is locked."""

    __tablename__ = "feature_group_modifiers"

    feature_group_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True)


class ProjectFeatureGroup(Record):
    """A group that a project uses, and what its columns are there."""

    __tablename__ = "project_feature_groups"

    project_id: Mapped[ProjectId] = mapped_column(
        ForeignKey("projects.project_id", ondelete="CASCADE"), primary_key=True
    )
    feature_group_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id", ondelete="CASCADE"), primary_key=True, index=True
    )
    feature_group_type: Mapped[str]
    #: Feature -> what it is in this project.
    mappings: Mapped[JsonObject]
    #: As the caller gave it.
    config: Mapped[JsonObject | None]
    added_at: Mapped[datetime]


class FeatureGroupOperation(Record):
    """A query that is run once, over the versions that were newest when it began."""

    __tablename__ = "feature_group_operations"

    feature_group_operation_run_id: Mapped[FeatureGroupOperationRunId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    query: Mapped[str] = mapped_column(Text)
    definition: Mapped[JsonObject]
    use_latest_version: Mapped[bool]
    #: The exact versions that it read: group's id -> version.
    parents: Mapped[JsonObject | None]
    status: Mapped[VersionStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    table: Mapped[JsonObject | None]
    run_id: Mapped[RunId | None] = mapped_column(index=True)
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    @property
    def made_from(self) -> Definition:
        """The query with what it reads, decoded."""
        return msgspec.convert(self.definition, Definition)

    @property
    def manifest(self) -> Table:
        """The result; only of a COMPLETE operation."""
        return msgspec.convert(self.table, Table)


class TableEncoding(Record):
    """The Avro form of a table, made when somebody first downloads it; shared by all versions with the same rows."""

    __tablename__ = "table_encodings"

    table_digest: Mapped[Digest] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    table: Mapped[JsonObject]
    status: Mapped[VersionStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    #: Blobs in order; None until COMPLETE.
    digests: Mapped[list[str] | None]
    run_id: Mapped[RunId]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class ExportStatus(StrEnum):
    """Where an export stands. Source: the SDK's FeatureGroupExport.wait_for_results."""

    #: Waits for an agent, or for the rows of its version.
    PENDING = "PENDING"
    #: A run writes the rows out.
    EXPORTING = "EXPORTING"
    #: All rows are where they should be.
    COMPLETE = "COMPLETE"
    #: They are not; `error` says why.
    FAILED = "FAILED"


#: An export in one of these will still change.
UNFINISHED_EXPORTS = (ExportStatus.PENDING, ExportStatus.EXPORTING)


class FeatureGroupExport(Record):
    """One version's rows on their way out of the house, or there."""

    __tablename__ = "feature_group_exports"
    __table_args__ = (
        Index("ix_feature_group_exports_listed", "feature_group_id", "created_at"),
        Index("ix_feature_group_exports_waiting", "feature_group_version"),
    )

    feature_group_export_id: Mapped[FeatureGroupExportId] = mapped_column(primary_key=True)
    feature_group_id: Mapped[FeatureGroupId] = mapped_column(
        ForeignKey("feature_groups.feature_group_id", ondelete="CASCADE")
    )
    feature_group_version: Mapped[FeatureGroupVersionId]
    organization_id: Mapped[OrganizationId]
    #: `destinations.Destination`.
    destination: Mapped[JsonObject]
    #: Nobody asked for this one: a group or a schedule did.
    is_automatic: Mapped[bool] = mapped_column(default=False)
    status: Mapped[ExportStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    #: The rows that a database refused: row, column, error.
    refused_rows: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    total_writes: Mapped[int | None]
    failed_writes: Mapped[int | None]
    #: From now on files at the destination may be those of an earlier attempt, and are ours to overwrite.
    has_begun: Mapped[bool] = mapped_column(default=False)
    #: The file, of an export to the console.
    file_digest: Mapped[Digest | None]
    #: None while its version is not COMPLETE yet.
    run_id: Mapped[RunId | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
