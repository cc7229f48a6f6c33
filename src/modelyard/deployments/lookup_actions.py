"""Looking up rows of feature groups, and switching what is looked up."""

from typing import Annotated, Any

from modelyard.actions import Auth, Call, action
from modelyard.deployments import lifecycle
from modelyard.deployments.actions import not_here
from modelyard.deployments.lifecycle import get_deployment
from modelyard.errors import (
    ConflictError,
    DataNotFoundError,
    GenericPermissionDeniedError,
    InvalidParameterError,
    InvalidRequest,
    MissingParameterError,
    NotReadyError,
    PredictionError,
    RequestTimeoutError,
    TooManyRequestsError,
)
from modelyard.feature_groups.tables import get_version
from modelyard.ids import DeploymentId, FeatureGroupVersionId

_LOOKUP_ERRORS = (
    ConflictError,
    GenericPermissionDeniedError,
    DataNotFoundError,
    InvalidParameterError,
    InvalidRequest,
    MissingParameterError,
    NotReadyError,
    PredictionError,
    RequestTimeoutError,
    TooManyRequestsError,
)


@action("PATCH", errors=(ConflictError, DataNotFoundError, NotReadyError))
def set_deployment_feature_group_version(
    call: Call, *, deployment_id: DeploymentId, feature_group_version: FeatureGroupVersionId
) -> None:
    """Switches a deployment to another version of its feature group.

    The version is brought up beside the one that answers (`pendingModelVersion` tells which) and takes over when it is
    ready; no call is lost. If it does not come up, the former version stays, and `error` says why.
    """
    deployment = get_deployment(call.session, call.organization_id, deployment_id, for_update=True)
    version = get_version(call.session, call.organization_id, feature_group_version)
    lifecycle.switch_table(call.session, deployment, version)


@action("POST", auth=Auth.DEPLOYMENT_TOKEN, errors=_LOOKUP_ERRORS, writes=False, also=("GET",))
def lookup_features(
    call: Call,
    *,
    deployment_token: Annotated[str | None, "A token of the deployment's project; or send an API key."] = None,
    deployment_id: DeploymentId,
    query_data: Annotated[dict[str, Any], "Column -> value, or list of values; several columns must all match."],
    limit_results: Annotated[int | None, "Gives so many rows at most."] = None,
    result_columns: Annotated[list[str] | None, "Gives these columns alone."] = None,
) -> list[dict[str, Any]]:
    """The rows of a deployed feature group that have those values in its primary key or lookup keys.

    Rows online are found as they stand at that moment, those of any other group as the deployed version has them.
    """
    raise not_here(call, deployment_id, deployment_token, query_data, limit_results, result_columns)
