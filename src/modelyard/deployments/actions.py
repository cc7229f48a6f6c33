"""What callers may do with deployments and their tokens."""

from collections.abc import Sequence
from typing import Annotated, Any

from sqlalchemy import select, tuple_

from modelyard.actions import Auth, Call, UploadedFile, action
from modelyard.database import JsonObject
from modelyard.deployments import creating, lifecycle, tokens, wire
from modelyard.deployments.changes import note_change
from modelyard.deployments.lifecycle import DeploymentEvents, get_deployment
from modelyard.deployments.records import Deployment, DeploymentStatus
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
from modelyard.ids import DeploymentId, FeatureGroupId, ModelId, ModelVersionId, ProjectId, new_id
from modelyard.models.versions import get_model_version
from modelyard.projects.access import get_project
from modelyard.projects.actions import check_name
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import forget_target, schedules_of_all

#: Deployments that a long list reads at once.
READ_AT_ONCE = 1_000
_PREDICTION_ERRORS = (
    ConflictError,
    GenericPermissionDeniedError,
    DataNotFoundError,
    InvalidRequest,
    MissingParameterError,
    NotReadyError,
    PredictionError,
    RequestTimeoutError,
    TooManyRequestsError,
)


@action("POST", errors=(DataNotFoundError, InvalidParameterError))
def create_deployment_token(call: Call, *, project_id: ProjectId, name: str | None = None) -> wire.DeploymentAuthToken:
    """Creates a deployment token for a project: whoever holds it may ask predictions of the project's deployments."""
    get_project(call.session, call.organization_id, project_id)
    named = check_name(name) if name is not None else None
    return wire.token(tokens.create_token(call.session, call.clock, call.organization_id, project_id, named))


@action("GET", errors=(DataNotFoundError,))
def list_deployment_tokens(call: Call, *, project_id: ProjectId) -> list[wire.DeploymentAuthToken]:
    """The project's deployment tokens, oldest first."""
    get_project(call.session, call.organization_id, project_id)
    return [wire.token(each) for each in tokens.list_tokens(call.session, call.organization_id, project_id)]


@action("DELETE", errors=(DataNotFoundError,))
def delete_deployment_token(call: Call, *, deployment_token: str) -> None:
    """Revokes a deployment token; within a second no prediction is answered to it any more."""
    tokens.delete_token(call.session, call.organization_id, deployment_token)


@action("POST", errors=(ConflictError, DataNotFoundError, InvalidParameterError, MissingParameterError, NotReadyError))
def create_deployment(
    call: Call,
    *,
    name: str | None = None,
    model_id: ModelId | None = None,
    model_version: Annotated[ModelVersionId | None, "Default: the model's newest complete version."] = None,
    algorithm: Annotated[str | None, "A Python model has one algorithm, its own; kept as it is given."] = None,
    feature_group_id: FeatureGroupId | None = None,
    project_id: Annotated[ProjectId | None, "Needed with a featureGroupId; a model has its own."] = None,
    description: str | None = None,
    calls_per_second: Annotated[int | None, "Further calls are refused with 429; default: no limit."] = None,
    auto_deploy: bool = True,
    start: bool = True,
    enable_batch_streaming_updates: bool = False,
    skip_metrics_check: bool = False,
    model_deployment_config: JsonObject | None = None,
) -> wire.Deployment:
    """Puts a model version or a feature group to work: creates a deployment and, unless `start` is false, starts it.

    The deployment is PENDING, then DEPLOYING while its replicas start, then ACTIVE; or FAILED, with why in `error`.
    A feature group gives the rows of its newest complete version; one whose rows are online gives them as they stand,
    and is ACTIVE at once. `lookupFeatures` asks for rows.
    """
    deployment = Deployment(
        deployment_id=DeploymentId(new_id()),
        organization_id=call.organization_id,
        description=description,
        status=DeploymentStatus.PENDING if start else DeploymentStatus.STOPPED,
        created_at=call.clock(),
        calls_per_second=check_rate(calls_per_second),
        auto_deploy=auto_deploy,
        skip_metrics_check=skip_metrics_check,
        algorithm=algorithm,
        model_deployment_config=model_deployment_config,
        arguments_override=False,
        batch_streaming_updates=enable_batch_streaming_updates,
    )
    if feature_group_id is None:
        served = creating.serve_model(call.session, deployment, model_id, model_version, project_id)
    elif model_id is not None or model_version is not None:
        raise InvalidParameterError("A deployment serves a model or a feature group: leave out one of them")
    else:
        served = creating.serve_group(call.session, deployment, feature_group_id, project_id)
    deployment.name = check_name(name) if name is not None else f"{served} Deployment"[:255]
    lifecycle.add(call.session, deployment, start=start)
    return _shape(call, deployment)


@action("GET", errors=(DataNotFoundError,), under_way=wire.is_changing)
def describe_deployment(call: Call, *, deployment_id: DeploymentId) -> wire.Deployment:
    """One deployment."""
    return _shape(call, get_deployment(call.session, call.organization_id, deployment_id))


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_deployments(
    call: Call,
    *,
    project_id: ProjectId,
    limit: Annotated[
        int | None, "Most deployments to give; all of them without one, as the SDK knows no pages here."
    ] = None,
    start_after_id: Annotated[DeploymentId | None, "The deployment after which the list begins."] = None,
) -> list[wire.Deployment]:
    """The project's deployments, newest first."""
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1.")
    get_project(call.session, call.organization_id, project_id)
    query = select(Deployment).where(Deployment.project_id == project_id)
    if start_after_id is not None:
        after = get_deployment(call.session, call.organization_id, start_after_id)
        query = query.where(
            tuple_(Deployment.created_at, Deployment.deployment_id) < (after.created_at, start_after_id)
        )
    newest_first = query.order_by(Deployment.created_at.desc(), Deployment.deployment_id.desc()).limit(limit)
    found = call.session.scalars(newest_first.execution_options(yield_per=READ_AT_ONCE))
    return [shape for some in found.partitions() for shape in _shapes(call, some)]


@action("PATCH", errors=(DataNotFoundError,))
def update_deployment(
    call: Call,
    *,
    deployment_id: DeploymentId,
    description: str | None = None,
    auto_deploy: bool | None = None,
    skip_metrics_check: bool | None = None,
) -> None:
    """Changes a deployment's description and what happens when its model has been trained again."""
    deployment = _get_for_update(call, deployment_id)
    if description is not None:
        deployment.description = description
    if auto_deploy is not None:
        deployment.auto_deploy = auto_deploy
    if skip_metrics_check is not None:
        deployment.skip_metrics_check = skip_metrics_check


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def rename_deployment(call: Call, *, deployment_id: DeploymentId, name: str) -> None:
    """Gives a deployment another name."""
    lifecycle.rename(call.session, _get_for_update(call, deployment_id), check_name(name))


@action("POST", errors=(DataNotFoundError, MissingParameterError))
def set_auto_deployment(call: Call, *, deployment_id: DeploymentId, enable: bool | None = None) -> None:
    """Says whether versions that are trained from now on go to this deployment by themselves."""
    deployment = _get_for_update(call, deployment_id)
    if enable is None:
        raise MissingParameterError("Missing required parameter: enable")
    deployment.auto_deploy = enable


@action("PATCH", errors=(ConflictError, DataNotFoundError, NotReadyError))
def set_deployment_model_version(
    call: Call,
    *,
    deployment_id: DeploymentId,
    model_version: ModelVersionId,
    algorithm: Annotated[str | None, "A Python model has one algorithm, its own; kept as it is given."] = None,
    model_deployment_config: JsonObject | None = None,
) -> None:
    """Switches a deployment to another version of its model.

    The version is brought up beside the one that answers (`pendingModelVersion`) and takes over when it is ready; no
    call is lost. If it does not come up, the former version stays, and `error` says why.
    """
    deployment = _get_for_update(call, deployment_id)
    version = get_model_version(call.session, call.organization_id, model_version)
    lifecycle.switch(call.session, deployment, version)
    if algorithm is not None:
        deployment.algorithm = algorithm
    if model_deployment_config is not None:
        deployment.model_deployment_config = model_deployment_config


@action("POST", errors=(DataNotFoundError,))
def start_deployment(call: Call, *, deployment_id: DeploymentId) -> None:
    """Starts a deployment that is STOPPED or FAILED; nothing happens to any other."""
    lifecycle.start(call.session, _get_for_update(call, deployment_id))


@action("POST", errors=(DataNotFoundError,))
def stop_deployment(call: Call, *, deployment_id: DeploymentId) -> None:
    """Stops a deployment: calls under way end, further ones are answered NotReadyError."""
    lifecycle.stop(call.session, _get_for_update(call, deployment_id))


@action("DELETE", errors=(ConflictError, DataNotFoundError))
def delete_deployment(call: Call, *, deployment_id: DeploymentId) -> None:
    """Stops and deletes a deployment; what it served and the project's tokens stay."""
    deployment = _get_for_update(call, deployment_id)
    lifecycle.delete(call.session, call.parts.get(DeploymentEvents), deployment)
    forget_target(call.session, RefreshType.DEPLOYMENT, deployment_id)


@action("POST", errors=(ConflictError, DataNotFoundError))
def set_default_prediction_arguments(
    call: Call, *, deployment_id: DeploymentId, prediction_arguments: JsonObject, set_as_override: bool = False
) -> wire.Deployment:
    """Sets arguments that predictions get which leave them out, or, as override, all predictions whatever they say.

    They reach `predict` as keyword arguments, as far as it accepts them. An empty object takes them back.
    """
    deployment = _get_for_update(call, deployment_id)
    if deployment.feature_group_id is not None:
        raise ConflictError(f"Deployment {deployment_id} serves a feature group, which takes no prediction arguments")
    deployment.default_prediction_arguments = prediction_arguments or None
    deployment.arguments_override = set_as_override
    note_change(call.session, deployment_id)
    return _shape(call, deployment)


@action("POST", auth=Auth.DEPLOYMENT_TOKEN, errors=_PREDICTION_ERRORS, writes=False, also=("GET",))
def predict(
    call: Call,
    *,
    deployment_token: Annotated[str | None, "A token of the deployment's project; or send an API key."] = None,
    deployment_id: DeploymentId,
    query_data: Annotated[Any, "What `predict` gets as its second argument; further parameters as keywords."] = None,
) -> Any:
    """Asks a deployment for the prediction of one query."""
    raise not_here(call, deployment_id, deployment_token, query_data)


@action("POST", auth=Auth.DEPLOYMENT_TOKEN, errors=_PREDICTION_ERRORS, writes=False, also=("GET",))
def predict_multiple(
    call: Call,
    *,
    deployment_token: Annotated[str | None, "A token of the deployment's project; or send an API key."] = None,
    deployment_id: DeploymentId,
    query_data: Annotated[list[Any] | None, "Queries, each as for `predict`."] = None,
) -> list[Any]:
    """Asks a deployment for the predictions of several queries, in their order."""
    raise not_here(call, deployment_id, deployment_token, query_data)


@action("POST", auth=Auth.DEPLOYMENT_TOKEN, errors=_PREDICTION_ERRORS, writes=False, also=("GET",))
def predict_from_datasets(
    call: Call,
    *,
    deployment_token: Annotated[str | None, "A token of the deployment's project; or send an API key."] = None,
    deployment_id: DeploymentId,
    query_data: Annotated[
        dict[str, list[dict[str, Any]]] | None, "Table name of a dataset, or its id -> rows, column -> value."
    ] = None,
) -> list[Any]:
    """Asks a deployment for the predictions of rows that come as the datasets of the training do.

    The queries between the datasets and the model's first training table are run over the rows that were sent, and each
    row that comes out is predicted, in order. Rows are needed for every dataset that the queries read; a column that a
    row leaves out is null. Python functions and feature groups that are online are not run for a call.
    """
    raise not_here(call, deployment_id, deployment_token, query_data)


@action("POST", auth=Auth.DEPLOYMENT_TOKEN, errors=_PREDICTION_ERRORS, writes=False)
def predict_with_binary_data(
    call: Call,
    *,
    deployment_token: Annotated[str | None, "A token of the deployment's project; or send an API key."] = None,
    deployment_id: DeploymentId,
    blob: Annotated[UploadedFile | None, "The file: an image, a recording, anything."] = None,
) -> Any:
    """Asks a deployment for the prediction of a file, sent as a multipart form.

    `predict` gets `{"blob": bytes, "filename": ..., "contentType": ...}` as its query, and further fields of the form
    as keyword arguments, as far as it accepts them.
    """
    raise not_here(call, deployment_id, deployment_token, blob)


@action("GET", name="_executeFeatureGroupSqlInDeploymentParams", errors=(DataNotFoundError,))
def execute_feature_group_sql_in_deployment_params(call: Call, *, deployment_id: DeploymentId) -> None:
    """Where a deployment runs queries by itself: nowhere, so that the client runs them as it does elsewhere."""
    get_deployment(call.session, call.organization_id, deployment_id)


def not_here(call: Call, deployment_id: DeploymentId, *_unread: object) -> Exception:
    """Why the door has no answer: the fast lane gives it, and who comes here met a gateway without one."""
    return NotReadyError(f"Deployment {deployment_id} does not answer here (request {call.request_id})")


def _get_for_update(call: Call, deployment_id: DeploymentId) -> Deployment:
    return get_deployment(call.session, call.organization_id, deployment_id, for_update=True)


def check_rate(calls_per_second: int | None) -> int | None:
    """The limit, if it is one."""
    if calls_per_second is not None and not 1 <= calls_per_second <= 1_000_000:
        raise InvalidParameterError(f"callsPerSecond is {calls_per_second}; it must be between 1 and 1,000,000")
    return calls_per_second


def _shape(call: Call, deployment: Deployment) -> wire.Deployment:
    return _shapes(call, [deployment])[0]


def _shapes(call: Call, deployments: Sequence[Deployment]) -> list[wire.Deployment]:
    ids = [each.deployment_id for each in deployments]
    schedules = schedules_of_all(call.session, RefreshType.DEPLOYMENT, ids)
    return [wire.deployment(each, schedules.get(each.deployment_id, [])) for each in deployments]
