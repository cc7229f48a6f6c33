"""The shapes of feature groups that callers see: every key of the documented classes, null only where that is so.

Source: the SDK's `feature_group.py`, `feature_group_version.py`, `feature.py`, `execute_feature_group_operation.py`,
`function_logs.py`, `code_source.py`.
"""

from typing import Annotated, Any

import msgspec

from modelyard.refresh.wire import RefreshScheduleShape


class FeatureShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A column."""

    name: str
    select_clause: str | None
    feature_mapping: str | None
    source_table: str
    original_name: str
    using_clause: str | None
    order_clause: str | None
    where_clause: str | None
    feature_type: str
    data_type: str
    detected_feature_type: str
    detected_data_type: str
    columns: list[dict[str, Any]]
    point_in_time_info: dict[str, Any]


class SchemaShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A column as projects show it."""

    name: str
    feature_mapping: str | None
    detected_feature_mapping: str | None
    feature_type: str
    detected_feature_type: str
    data_type: str
    detected_data_type: str
    nested_features: list[dict[str, Any]]
    point_in_time_info: dict[str, Any]


class CodeShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The source of a Python feature group, and what the check said."""

    #: TEXT: a source of its own; PYTHON: that of the registered Python function which it names.
    source_type: str
    source_code: str | None
    application_connector_id: str | None
    application_connector_info: str | None
    package_requirements: list[str]
    status: str
    error: str | None
    publishing_msg: dict[str, Any]
    module_dependencies: list[str]


class IndexingShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """By which columns rows are found."""

    primary_key: str | None
    update_timestamp_key: str | None
    lookup_keys: list[str]


class ConcatenationShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Another table whose rows are put below the group's own."""

    concatenated_table: str
    merge_type: str
    replace_until_timestamp: int | None
    skip_materialize: bool


class FeatureGroupVersionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A version."""

    feature_group_version: str
    feature_group_id: str
    sql: str | None
    source_tables: list[str]
    source_dataset_versions: list[str]
    created_at: str | None
    status: str
    error: str | None
    deployable: bool
    cpu_size: str | None
    memory: int | None
    use_original_csv_names: bool
    python_function_bindings: list[dict[str, Any]] | None
    indexing_config_warning_msg: str | None
    materialization_started_at: str | None
    materialization_completed_at: str | None
    columns: list[FeatureShape]
    template_bindings: list[dict[str, Any]]
    features: list[FeatureShape]
    point_in_time_groups: list[dict[str, Any]]
    code_source: CodeShape | None
    annotation_config: dict[str, Any]
    indexing_config: IndexingShape


class FeatureGroupShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A feature group with its newest version."""

    feature_group_id: str
    modification_lock: bool
    name: str
    feature_group_source_type: str
    table_name: str
    sql: str | None
    dataset_id: str | None
    function_source_code: str | None
    function_name: str | None
    source_tables: list[str]
    created_at: str | None
    description: str | None
    sql_error: str | None
    latest_version_outdated: bool
    referenced_feature_groups: list[str]
    tags: list[str]
    primary_key: str | None
    update_timestamp_key: str | None
    lookup_keys: list[str]
    streaming_enabled: bool
    incremental: bool
    merge_config: dict[str, Any] | None
    sampling_config: dict[str, Any] | None
    cpu_size: str | None
    memory: int | None
    streaming_ready: bool
    feature_tags: dict[str, Any]
    module_name: str | None
    template_bindings: dict[str, Any] | None
    feature_expression: str | None
    use_original_csv_names: bool
    python_function_bindings: list[dict[str, Any]] | None
    python_function_name: str | None
    use_gpu: bool
    version_limit: int
    export_on_materialization: bool
    features: list[FeatureShape]
    duplicate_features: list[FeatureShape]
    point_in_time_groups: list[dict[str, Any]]
    annotation_config: dict[str, Any]
    concatenation_config: ConcatenationShape | None
    indexing_config: IndexingShape
    code_source: CodeShape | None
    feature_group_template: dict[str, Any]
    explanation: dict[str, Any]
    refresh_schedules: list[RefreshScheduleShape]
    export_connector_config: dict[str, Any]
    latest_feature_group_version: FeatureGroupVersionShape | None
    operator_config: dict[str, Any]


class OperationShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A query that is run once."""

    feature_group_operation_run_id: str
    status: str
    error: str | None
    query: str


class ExceptionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The exception that ended a function, with the user's own frames."""

    type: str
    value: str
    traceback: str


class FeatureGroupRowShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A row of an online feature group."""

    feature_group_id: str
    primary_key: str
    created_at: str | None
    updated_at: str | None
    #: Column -> value, as it was written.
    contents: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]


class FunctionLogsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a function printed, and how it ended."""

    function: str | None
    stats: dict[str, Any]
    stdout: str | None
    stderr: str | None
    algorithm: str | None
    exception: ExceptionShape | None


class SearchResultShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A group that was found by words."""

    score: float
    feature_group_context: str
    feature_group: FeatureGroupShape
    feature_group_version: FeatureGroupVersionShape | None


class ModifiersShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether a group is locked, and who may change it then."""

    modification_lock: bool
    user_emails: list[str]
    organization_groups: list[str]


class ProjectConfigShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a project configures about a group."""

    type: str | None
    config: dict[str, Any] | None


class ProjectSchemaShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The columns of a group as a project uses them."""

    nested_schema: list[dict[str, Any]]
    schema: list[SchemaShape]
    duplicate_features: list[SchemaShape]
    project_config: ProjectConfigShape | None


class ProjectFeatureGroupShape(FeatureGroupShape, frozen=True, kw_only=True, rename="camel"):
    """A feature group within a project."""

    feature_group_type: str
    project_feature_group_schema: ProjectSchemaShape
    project_config: ProjectConfigShape | None


class FeatureMappingShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a column is likely to be."""

    feature_mapping: str
    feature_name: str


class InferredMappingsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the columns of a group are likely to be."""

    error: str | None
    feature_mappings: list[FeatureMappingShape]


class ProjectValidationShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether a project can be trained with."""

    valid: bool
    dataset_errors: list[dict[str, Any]]
    column_hints: dict[str, Any]


class ExportShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An export. Source: the SDK's `feature_group_export.py`."""

    feature_group_export_id: str
    failed_writes: int | None
    total_writes: int | None
    feature_group_version: str
    connector_type: str | None
    output_location: str | None
    file_format: str | None
    database_connector_id: str | None
    object_name: str | None
    write_mode: str | None
    database_feature_mapping: dict[str, str] | None
    id_column: str | None
    status: str
    created_at: str | None
    export_completed_at: str | None
    additional_id_columns: list[str] | None
    error: str | None
    database_output_error: bool
    project_config: ProjectConfigShape | None


class DownloadUrlShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A link that anybody may follow until then."""

    download_url: str
    expires_at: str
