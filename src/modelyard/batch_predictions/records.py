"""The tables of batch predictions and their versions."""

from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.batch_predictions.definition import Definition
from modelyard.database import JsonObject, Record
from modelyard.ids import (
    BatchPredictionId,
    BatchPredictionVersionId,
    DeploymentId,
    Digest,
    FeatureGroupId,
    FeatureGroupVersionId,
    ModelId,
    ModelVersionId,
    OrganizationId,
    ProjectId,
    RunId,
)


class VersionStatus(StrEnum):
    """Where a version stands."""

    #: Waits for an agent that has room for it.
    PENDING = "PENDING"
    #: An agent works on it: rows, environment, then the model over the rows.
    PREDICTING = "PREDICTING"
    #: The result is there and stays.
    COMPLETE = "COMPLETE"
    #: There is no result; `error` says why.
    FAILED = "FAILED"


#: Which statuses may follow which. PREDICTING follows itself when an agent was lost and another begins again.
TRANSITIONS: dict[VersionStatus, frozenset[VersionStatus]] = {
    VersionStatus.PENDING: frozenset({VersionStatus.PREDICTING, VersionStatus.FAILED}),
    VersionStatus.PREDICTING: frozenset({VersionStatus.PREDICTING, VersionStatus.COMPLETE, VersionStatus.FAILED}),
    VersionStatus.COMPLETE: frozenset(),
    VersionStatus.FAILED: frozenset(),
}

ENDED = frozenset(status for status, following in TRANSITIONS.items() if not following)


class BatchPrediction(Record):
    """What is to be predicted, and how, whenever it is started."""

    __tablename__ = "batch_predictions"
    __table_args__ = (Index("ix_batch_predictions_listed", "project_id", "created_at", "batch_prediction_id"),)

    batch_prediction_id: Mapped[BatchPredictionId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId]
    deployment_id: Mapped[DeploymentId] = mapped_column(ForeignKey("deployments.deployment_id"), index=True)
    name: Mapped[str]
    definition: Mapped[JsonObject]
    #: The feature group that results are written to; None keeps them for download.
    output_feature_group_id: Mapped[FeatureGroupId | None]
    #: Newest version, whatever its status.
    latest_version: Mapped[BatchPredictionVersionId | None]
    #: Number that the newest version got.
    versions: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]

    @property
    def defined(self) -> Definition:
        """The definition, decoded."""
        return msgspec.convert(self.definition, Definition)


class BatchPredictionVersion(Record):
    """One start of a batch prediction and its result."""

    __tablename__ = "batch_prediction_versions"
    __table_args__ = (UniqueConstraint("batch_prediction_id", "number"),)

    batch_prediction_version: Mapped[BatchPredictionVersionId] = mapped_column(primary_key=True)
    batch_prediction_id: Mapped[BatchPredictionId] = mapped_column(
        ForeignKey("batch_predictions.batch_prediction_id", ondelete="CASCADE")
    )
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId]
    #: 1 for the first version.
    number: Mapped[int]
    run_id: Mapped[RunId]
    status: Mapped[VersionStatus] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    #: What the user's code raised: type, value, traceback.
    exception: Mapped[JsonObject | None]

    # What it was asked to do, as it was at the start.
    definition: Mapped[JsonObject]
    #: The feature group of the input, found at the start.
    feature_group_id: Mapped[FeatureGroupId]
    deployment_id: Mapped[DeploymentId]
    model_id: Mapped[ModelId]
    model_version: Mapped[ModelVersionId]
    output_feature_group_id: Mapped[FeatureGroupId | None]

    # How far it has come, and what came out.
    #: The version whose rows were predicted; None before it is known, and for rows made from replaced datasets.
    feature_group_version: Mapped[FeatureGroupVersionId | None]
    total_predictions: Mapped[int] = mapped_column(default=0)
    failed_predictions: Mapped[int] = mapped_column(default=0)
    #: What should be known of a result that is there all the same.
    warning: Mapped[str | None] = mapped_column(Text)
    result_digest: Mapped[Digest | None] = mapped_column(index=True)
    result_size: Mapped[int | None]
    #: Rows that were to be written to a connector, and that are not there.
    total_writes: Mapped[int | None]
    failed_writes: Mapped[int | None]
    #: The row that the database refused: {row (from 1), column, error}.
    refused_rows: Mapped[list[JsonObject] | None]
    output_feature_group_version: Mapped[FeatureGroupVersionId | None]
    #: Peak memory in bytes and CPU seconds.
    usage: Mapped[JsonObject | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    @property
    def defined(self) -> Definition:
        """The definition at the start, decoded."""
        return msgspec.convert(self.definition, Definition)
