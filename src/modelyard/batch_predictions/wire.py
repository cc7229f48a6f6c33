"""The shapes of batch predictions that callers see: every key of the SDK's classes, null only where that is so.

Source: the SDK's `batch_prediction.py`, `batch_prediction_version.py`, `prediction_input.py`,
`prediction_feature_group.py`, `prediction_dataset.py`, `batch_prediction_version_logs.py`.
"""

from typing import Any

import msgspec

from modelyard.refresh.wire import RefreshScheduleShape


class PredictionFeatureGroupShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A feature group whose rows are predicted."""

    feature_group_id: str
    feature_group_version: str | None
    dataset_type: str | None
    default: bool
    required: bool


class PredictionDatasetShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A dataset that the predicted rows come from."""

    dataset_id: str
    dataset_type: str | None
    dataset_version: str | None
    default: bool
    required: bool


class PredictionInputShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is predicted."""

    feature_group_dataset_ids: list[str]
    dataset_id_remap: dict[str, str]
    feature_groups: list[PredictionFeatureGroupShape]
    datasets: list[PredictionDatasetShape]


class _Output(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a batch prediction and its versions say alike."""

    deployment_id: str
    file_connector_output_location: str | None = None
    database_connector_id: str | None = None
    database_output_configuration: dict[str, Any] | None = None
    file_output_format: str
    connector_type: str | None
    legacy_input_location: str | None = None
    output_feature_group_id: str | None
    output_feature_group_table_name: str | None
    csv_input_prefix: str | None
    csv_prediction_prefix: str | None
    csv_explanations_prefix: str | None
    output_includes_metadata: bool
    result_input_columns: list[str] | None
    model_version: str | None
    algorithm: str | None
    batch_prediction_args_type: str
    batch_inputs: PredictionInputShape
    input_feature_groups: list[PredictionFeatureGroupShape]
    global_prediction_args: dict[str, Any] | None
    batch_prediction_args: dict[str, Any] | None


class BatchPredictionVersionShape(_Output, frozen=True, kw_only=True, rename="camel"):
    """One start of a batch prediction."""

    batch_prediction_version: str
    batch_prediction_id: str
    status: str
    drift_monitor_status: str | None = None
    model_id: str
    predictions_started_at: str | None
    predictions_completed_at: str | None
    database_output_error: bool = False
    total_predictions: int
    failed_predictions: int
    error: str | None
    drift_monitor_error: str | None = None
    monitor_warnings: str | None = None
    database_output_total_writes: int | None = None
    database_output_failed_writes: int | None = None
    model_monitor_version: str | None = None
    algo_name: str | None
    output_feature_group_version: str | None
    batch_prediction_warnings: str | None
    bp_across_versions_monitor_version: str | None = None


class BatchPredictionShape(_Output, frozen=True, kw_only=True, rename="camel"):
    """A batch prediction with its newest version."""

    batch_prediction_id: str
    created_at: str | None
    name: str
    feature_group_table_name: str | None
    summary_feature_group_table_name: str | None = None
    model_monitor_id: str | None = None
    bp_across_versions_monitor_id: str | None = None
    latest_batch_prediction_version: BatchPredictionVersionShape | None
    refresh_schedules: list[RefreshScheduleShape]


class BatchPredictionVersionLogsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a version printed, line by line, and what to know of its result."""

    logs: list[str]
    warnings: list[str]


def is_predicting(batch: BatchPredictionShape) -> bool:
    """Whether the newest version is not ended yet."""
    newest = batch.latest_batch_prediction_version
    return newest is not None and newest.status in ("PENDING", "UPLOADING", "PREDICTING")
