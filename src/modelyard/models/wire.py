"""The shapes of models that callers see: every key of the documented classes, null or empty only where that is so.

Source: the page "updatePythonModel" (Model, ModelVersion, CodeSource, DatabaseConnector, ModelLocation), and the SDK's
`model.py`, `model_version.py`, `function_logs.py`, `model_metrics.py` for names newer than the page.
"""

from typing import Any

import msgspec

from modelyard.models.reproduction.wire import MadeFromShape, ReproductionShape
from modelyard.refresh.wire import RefreshScheduleShape

Config = dict[str, Any]


class CodeSourceShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the source code is, and what the check found."""

    #: TEXT: the source itself is in `sourceCode`; FILE_UPLOAD, APPLICATION_CONNECTOR: a tree of files. The client sends
    #: function objects as their text, and no model can name a registered function, so PYTHON is for feature groups.
    source_type: str
    source_code: str | None
    application_connector_id: str | None
    application_connector_info: str | None
    package_requirements: list[str]
    status: str
    error: str | None
    #: Warnings of the check, and the requirements that it added.
    publishing_msg: dict[str, Any]
    module_dependencies: list[str]


class DeployableAlgorithmShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The one algorithm of a Python model: its own."""

    algorithm: str
    name: str
    trained_model_types: list[dict[str, str]]
    #: True where there is no function for single predictions.
    only_offline_deployable: bool


class ModelLocationShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where an imported model lies."""

    location: str
    artifact_names: dict[str, Any]


class DatabaseConnectorShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A connection to a foreign database."""

    database_connector_id: str
    service: str
    name: str
    status: str
    auth: dict[str, Any]
    created_at: str
    created_by: str | None
    config_only: bool
    base_connector: str | None


class ModelVersionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One training of a model."""

    model_version: str
    model_config_type: str
    status: str
    model_id: str
    model_prediction_config: Config
    training_started_at: str | None
    training_completed_at: str | None
    feature_group_versions: list[str]
    custom_algorithms: list[str]
    builtin_algorithms: list[str]
    error: str | None
    pending_deployment_ids: list[str]
    failed_deployment_ids: list[str]
    cpu_size: str | None
    memory: int | None
    automl_complete: bool
    training_feature_group_ids: list[str]
    training_document_retriever_versions: list[str]
    document_retriever_mappings: dict[str, Any]
    best_algorithm: dict[str, Any] | None
    default_algorithm: dict[str, Any] | None
    feature_analysis_status: str
    data_cluster_info: dict[str, Any]
    custom_algorithm_configs: dict[str, Any]
    trained_model_types: list[dict[str, str]]
    use_gpu: bool
    partial_complete: bool
    model_feature_group_schema_mappings: dict[str, str]
    training_config_updated: bool
    code_source: CodeSourceShape
    model_config: Config
    deployable_algorithms: list[DeployableAlgorithmShape]
    #: Ours: the five exact things that this version is made from.
    made_from: MadeFromShape
    #: Ours: the version that this one trains again from the same five things; null for all others.
    reproduction_of: str | None
    #: Ours: how it compares with that one, once it has ended.
    reproduction: ReproductionShape | None
    #: Ours: what a training that has not begun waits for, in a sentence. Null in lists.
    waiting_for: str | None = None
    #: Ours: what an ended training used, `peakMemoryBytes` and `cpuSeconds`. Null in lists.
    usage: dict[str, int | float] | None = None


class FollowedLineShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A piece of what a training printed."""

    at: str
    #: stdout, stderr, or gap: a note on what was left out.
    stream: str
    text: str


class FollowedLogsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is new in the log of a training."""

    status: str
    #: What a training that has not begun waits for.
    waiting_for: str | None
    #: Why it failed, with the user's own traceback in the log's place in `getTrainingLogs`.
    error: str | None
    lines: list[FollowedLineShape]
    #: To be given as `after` in the next call.
    next: int
    #: New steps of metrics.jsonl, where `afterStep` was given.
    steps: list[dict[str, Any]]
    #: To be given as `afterStep` in the next call. Less than that was, the steps began anew and `steps` are all.
    next_step: int | None
    #: Nothing more will come.
    ended: bool

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing new yet, and something may come."""
        return not self.lines and not self.steps and not self.ended


class ModelShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A model with its newest version."""

    name: str
    model_id: str
    model_config_type: str
    model_prediction_config: Config
    created_at: str | None
    project_id: str
    shared: bool
    shared_at: str | None
    train_function_name: str
    predict_function_name: str | None
    predict_many_function_name: str | None
    initialize_function_name: str | None
    training_input_tables: list[str]
    source_code: str | None
    cpu_size: str | None
    memory: int | None
    training_feature_group_ids: list[str]
    algorithm_model_configs: list[Config]
    training_vector_store_versions: list[str]
    document_retrievers: list[Config]
    document_retriever_ids: list[str]
    is_python_model: bool
    default_algorithm: str | None
    custom_algorithm_configs: dict[str, Any]
    restricted_algorithms: dict[str, Any]
    use_gpu: bool
    is_thread_safe: bool | None
    notebook_id: str | None
    training_required: bool
    latest_model_version: ModelVersionShape | None
    location: ModelLocationShape | None
    refresh_schedules: list[RefreshScheduleShape]
    code_source: CodeSourceShape
    database_connector: DatabaseConnectorShape | None
    data_llm_feature_groups: list[Config]
    model_config: Config


class UserExceptionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the user's code raised, cut to the user's own frames."""

    type: str
    value: str
    traceback: str


class FunctionLogsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one function of the user printed, and how long it took."""

    function: str
    stats: dict[str, Any]
    stdout: str | None
    stderr: str | None
    algorithm: str
    exception: UserExceptionShape | None


class ModelMetricsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The metrics that `train` wrote down."""

    algo_metrics: dict[str, Any]
    selected_algorithm: str
    selected_algorithm_name: str
    model_id: str
    model_version: str
    metric_names: dict[str, str]
    target_column: str | None
    train_val_test_split: dict[str, Any]
    training_completed_at: str | None


class LineageNodeShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A version, or what stands on one, in the lineage of another."""

    kind: str
    id: str
    name: str
    status: str
    created_at: str | None
    #: Nodes that it was made from directly, as `kind id`.
    made_from: list[str]
    #: Code, locked packages, settings.
    made_with: dict[str, Any]


class LineageShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a version came from, and what hangs on it."""

    ancestors: list[LineageNodeShape]
    descendants: list[LineageNodeShape]
