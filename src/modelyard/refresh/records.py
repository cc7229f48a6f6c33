"""Policies, their targets, and the record of each refresh."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import OrganizationId, ProjectId, RefreshPipelineRunId, RefreshPolicyId


class RefreshType(StrEnum):
    """What kind of thing a policy makes anew. Source: the literals in the SDK's own `create_refresh_policy` helpers."""

    #: A new version of each dataset, read from where it came from.
    DATASET = "DATASET"
    #: A new version of the feature group, its outdated ancestors first.
    FEATUREGROUP = "FEATUREGROUP"
    #: A new version of each model.
    MODEL = "MODEL"
    #: Each deployment switches to its model's newest complete version.
    DEPLOYMENT = "DEPLOYMENT"
    #: A new run of each batch prediction.
    BATCHPRED = "BATCHPRED"


class RefreshStatus(StrEnum):
    """Where one refresh stands."""

    #: Due, and waiting for an agent.
    PENDING = "PENDING"
    #: Its parts are being made.
    RUNNING = "RUNNING"
    #: Every part was made.
    COMPLETE = "COMPLETE"
    #: A part failed; those after it were not begun.
    FAILED = "FAILED"


class RefreshPolicy(Record):
    """A cron and what it makes anew."""

    __tablename__ = "refresh_policies"
    __table_args__ = (Index("ix_refresh_policies_due", "paused", "next_run_at"),)

    refresh_policy_id: Mapped[RefreshPolicyId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId | None]
    name: Mapped[str | None]
    cron: Mapped[str]
    refresh_type: Mapped[RefreshType] = mapped_column(Text)
    paused: Mapped[bool]
    next_run_at: Mapped[datetime | None]
    feature_group_export_config: Mapped[JsonObject | None]
    created_at: Mapped[datetime]


class RefreshTarget(Record):
    """One thing that a policy makes anew."""

    __tablename__ = "refresh_targets"
    __table_args__ = (Index("ix_refresh_targets_found", "kind", "target_id"),)

    refresh_policy_id: Mapped[RefreshPolicyId] = mapped_column(
        ForeignKey("refresh_policies.refresh_policy_id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[RefreshType] = mapped_column(Text, primary_key=True)
    target_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]


class RefreshPipelineRun(Record):
    """One refresh: when, by which policy, and what it made."""

    __tablename__ = "refresh_pipeline_runs"
    __table_args__ = (
        Index("ix_refresh_pipeline_runs_newest", "refresh_policy_id", "created_at", "refresh_pipeline_run_id"),
    )

    refresh_pipeline_run_id: Mapped[RefreshPipelineRunId] = mapped_column(primary_key=True)
    refresh_policy_id: Mapped[RefreshPolicyId | None]
    organization_id: Mapped[OrganizationId]
    refresh_type: Mapped[RefreshType] = mapped_column(Text)
    status: Mapped[RefreshStatus] = mapped_column(Text)
    #: The parts in order: kind, target_id, and version once it was begun.
    parts: Mapped[list[JsonObject]]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
