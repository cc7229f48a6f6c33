"""The shapes of datasets that callers see. Source: the SDK's classes of the same names."""

from typing import Any

import msgspec

from modelyard.refresh.wire import RefreshScheduleShape


class DatasetVersionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One import of a dataset."""

    dataset_version: str
    status: str
    dataset_id: str
    size: int | None
    row_count: int | None
    file_inspect_metadata: dict[str, Any] | None
    created_at: str | None
    error: str | None
    incremental_queried_at: str | None = None
    upload_id: str | None
    merge_file_schemas: bool
    database_connector_config: dict[str, Any] | None = None
    application_connector_config: dict[str, Any] | None = None
    invalid_records: str | None = None


class DatasetColumnShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A column of a dataset."""

    name: str
    data_type: str
    detected_data_type: str
    feature_type: str
    detected_feature_type: str
    original_name: str
    valid_data_types: list[str]
    time_format: str | None = None
    timestamp_frequency: str | None = None


class DatasetShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A dataset with its newest version."""

    dataset_id: str
    source_type: str
    data_source: str | None
    created_at: str | None
    ignore_before: str | None = None
    ephemeral: bool = False
    lookback_days: int | None = None
    database_connector_id: str | None = None
    database_connector_config: dict[str, Any] | None = None
    connector_type: str | None
    feature_group_table_name: str
    application_connector_id: str | None = None
    application_connector_config: dict[str, Any] | None = None
    incremental: bool = False
    is_documentset: bool = False
    extract_bounding_boxes: bool = False
    merge_file_schemas: bool
    reference_only_documentset: bool = False
    version_limit: int
    disable_realtime_content_processing: bool | None = None
    force_full_resync: bool | None = None
    realtime_content_store_config: dict[str, Any] | None = None
    schema: list[DatasetColumnShape]
    refresh_schedules: list[RefreshScheduleShape]
    latest_dataset_version: DatasetVersionShape | None
    parsing_config: dict[str, Any] | None
    document_processing_config: dict[str, Any] | None = None
    attachment_parsing_config: dict[str, Any] | None = None


class UploadedPartShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part that has arrived, as an upload lists it."""

    part_number: int
    etag: str
    md5: str
    size: int


class UploadShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An upload."""

    upload_id: str
    dataset_upload_id: str
    status: str
    dataset_id: str | None
    dataset_version: str | None
    model_id: str | None = None
    model_version: str | None = None
    batch_prediction_id: str | None = None
    parts: list[UploadedPartShape]
    created_at: str | None


class UploadPartShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What identifies a part that was just stored."""

    etag: str
    md5: str


class DataMetricsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is in the columns of a table."""

    metrics: list[dict[str, Any]]
    schema: list[dict[str, Any]]
    num_rows: int
    num_cols: int
    num_duplicate_rows: int | None


class LogsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What happened to a version, a line an event."""

    logs: list[str]
