"""The shapes of refresh that callers see. Source: the SDK's `RefreshPolicy`, `RefreshSchedule` and their kin."""

from typing import Any

import msgspec


class RefreshScheduleShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """When an object is made anew next; null while the policy is paused."""

    refresh_policy_id: str
    next_run_time: str | None
    cron: str
    refresh_type: str
    error: str | None


class RefreshPolicyShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A policy."""

    refresh_policy_id: str
    name: str | None
    cron: str
    next_run_time: str | None
    created_at: str | None
    refresh_type: str
    project_id: str | None
    dataset_ids: list[str]
    feature_group_id: str | None
    model_ids: list[str]
    deployment_ids: list[str]
    batch_prediction_ids: list[str]
    model_monitor_ids: list[str]
    notebook_id: str | None
    paused: bool
    prediction_operator_id: str | None
    pipeline_id: str | None
    feature_group_export_config: dict[str, Any] | None


class RefreshPipelineRunShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One refresh and what it made."""

    refresh_pipeline_run_id: str
    refresh_policy_id: str | None
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    status: str
    refresh_type: str
    dataset_versions: list[str]
    feature_group_version: str | None
    model_versions: list[str]
    deployment_versions: list[str]
    batch_predictions: list[str]
    error: str | None
    refresh_policy: RefreshPolicyShape | None
