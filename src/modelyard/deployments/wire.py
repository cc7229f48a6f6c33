"""The shapes of deployments that callers see. Source: the SDK's Deployment and DeploymentAuthToken."""

from collections.abc import Sequence

import msgspec

from modelyard.clock import iso
from modelyard.database import JsonObject
from modelyard.deployments.exporting import export_shape
from modelyard.deployments.records import Deployment as DeploymentRecord
from modelyard.deployments.records import DeploymentToken
from modelyard.ids import DeploymentId, FeatureGroupId, FeatureGroupVersionId, ModelId, ModelVersionId, ProjectId

#: The algorithm of a Python model is its own. Source: the names of user algorithms start with `USER.`.
ALGORITHM_NAME = "Python Model"


class Deployment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A deployment, with every key of the SDK's class; null where what it serves has no such thing."""

    deployment_id: DeploymentId
    name: str
    status: str
    description: str | None
    deployed_at: str | None
    created_at: str | None
    project_id: ProjectId
    model_id: ModelId | None
    model_version: ModelVersionId | None
    feature_group_id: FeatureGroupId | None
    #: Null for a group whose rows are online: they are looked up as they stand.
    feature_group_version: FeatureGroupVersionId | None
    calls_per_second: int | None
    auto_deploy: bool
    skip_metrics_check: bool
    algo_name: str | None
    regions: list[JsonObject]
    error: str | None
    batch_streaming_updates: bool
    algorithm: str | None
    #: What it is switching to: `{modelId, modelVersion}`, or `{featureGroupId, featureGroupVersion}`: by this one key
    #: the official client waits for the end of a switch.
    pending_model_version: JsonObject | None
    model_deployment_config: JsonObject | None
    prediction_operator_id: None = None
    prediction_operator_version: None = None
    pending_prediction_operator_version: None = None
    online_feature_group_id: FeatureGroupId | None
    output_online_feature_group_id: None = None
    realtime_monitor_id: None = None
    runtime_configs: JsonObject | None = None
    is_system_created: bool = False
    refresh_schedules: Sequence[object]
    feature_group_export_config: JsonObject | None
    default_prediction_arguments: JsonObject | None


class DeploymentAuthToken(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token with which predictions are asked."""

    deployment_token: str
    created_at: str | None
    name: str | None
    #: Beyond the SDK's class: calls that it may ask a second; null: no limit.
    calls_per_second: int | None


def deployment(record: DeploymentRecord, refresh_schedules: Sequence[object]) -> Deployment:
    """The deployment as callers see it."""
    is_model, is_online = record.model_id is not None, record.online_table_id is not None
    return Deployment(
        deployment_id=record.deployment_id,
        name=record.name,
        status=record.status,
        description=record.description,
        deployed_at=iso(record.deployed_at),
        created_at=iso(record.created_at),
        project_id=record.project_id,
        model_id=record.model_id,
        model_version=record.model_version,
        feature_group_id=record.feature_group_id,
        feature_group_version=record.feature_group_version,
        online_feature_group_id=record.feature_group_id if is_online else None,
        calls_per_second=record.calls_per_second,
        auto_deploy=record.auto_deploy,
        skip_metrics_check=record.skip_metrics_check,
        algo_name=ALGORITHM_NAME if is_model else None,
        regions=[],
        error=record.error,
        batch_streaming_updates=record.batch_streaming_updates,
        algorithm=record.algorithm or record.model_id,
        pending_model_version=_pending(record),
        model_deployment_config=record.model_deployment_config,
        refresh_schedules=refresh_schedules,
        feature_group_export_config=export_shape(record),
        default_prediction_arguments=record.default_prediction_arguments,
    )


def _pending(record: DeploymentRecord) -> JsonObject | None:
    if record.pending_version is None:
        return None
    if record.model_id is not None:
        return {"modelId": record.model_id, "modelVersion": record.pending_version}
    return {"featureGroupId": record.feature_group_id, "featureGroupVersion": record.pending_version}


def token(record: DeploymentToken) -> DeploymentAuthToken:
    """The token as callers see it."""
    return DeploymentAuthToken(
        deployment_token=record.deployment_token,
        created_at=iso(record.created_at),
        name=record.name,
        calls_per_second=record.calls_per_second,
    )


def is_changing(deployment: Deployment) -> bool:
    """Whether the deployment is on its way to another state or version."""
    return deployment.status in ("PENDING", "DEPLOYING") or deployment.pending_model_version is not None
