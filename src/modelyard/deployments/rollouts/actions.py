"""Rolling a version out by degrees, and back. Actions of ours: the official client has no words for them."""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.deployments.lifecycle import get_deployment
from modelyard.deployments.records import Deployment, Role
from modelyard.deployments.rollouts import steps, wire
from modelyard.deployments.rollouts.sides import sides_of
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError, NotReadyError
from modelyard.ids import DeploymentId, ModelVersionId
from modelyard.models.versions import get_model_version

_ERRORS = (ConflictError, DataNotFoundError, InvalidParameterError, NotReadyError)


@action("PATCH", errors=_ERRORS)
def set_deployment_canary(
    call: Call,
    *,
    deployment_id: DeploymentId,
    model_version: ModelVersionId,
    percent: Annotated[float, "Of the calls, from 0 to 100; drawn by lot, call by call."],
) -> wire.Rollout:
    """Has another version of the model answer a part of the calls, as soon as it is up; or changes that part.

    Until it is up, and whenever none of its replicas is, the version that answers gets all calls. `promoteDeployment`
    or `removeDeploymentCanary` ends it.
    """
    return _set(call, deployment_id, Role.CANARY, model_version, percent)


@action("PATCH", errors=_ERRORS)
def set_deployment_shadow(
    call: Call,
    *,
    deployment_id: DeploymentId,
    model_version: ModelVersionId,
    percent: Annotated[float, "Of the calls, from 0 to 100; drawn by lot, call by call."] = 100.0,
) -> wire.Rollout:
    """Has another version of the model get copies of calls. Its answers are compared with those that callers get
    (`describeDeploymentRollout`), and thrown away; callers never wait for it.
    """
    return _set(call, deployment_id, Role.SHADOW, model_version, percent)


@action("DELETE", errors=(DataNotFoundError, NotReadyError))
def remove_deployment_canary(call: Call, *, deployment_id: DeploymentId) -> None:
    """Ends the canary: the version that answers gets all calls again. Calls that the canary has are answered."""
    steps.remove_side(call.session, _get(call, deployment_id), Role.CANARY)


@action("DELETE", errors=(DataNotFoundError, NotReadyError))
def remove_deployment_shadow(call: Call, *, deployment_id: DeploymentId) -> None:
    """Ends the shadow."""
    steps.remove_side(call.session, _get(call, deployment_id), Role.SHADOW)


@action("POST", errors=(ConflictError, DataNotFoundError, NotReadyError))
def promote_deployment(call: Call, *, deployment_id: DeploymentId) -> wire.Rollout:
    """Has the canary answer all calls: at once if it is up, else as soon as it is (`pendingModelVersion`)."""
    deployment = _get(call, deployment_id)
    steps.promote(call.session, deployment)
    return _shape(call, deployment)


@action("POST", errors=(ConflictError, DataNotFoundError, NotReadyError))
def rollback_deployment(call: Call, *, deployment_id: DeploymentId) -> wire.Rollout:
    """Goes back to the version that answered before the last switch.

    At once if its replicas are still up, which the option `keepFormerS` is for; else it is brought up again, which is
    a switch like any other. A second rollback leads forth again.
    """
    deployment = _get(call, deployment_id)
    steps.roll_back(call.session, deployment)
    return _shape(call, deployment)


@action("GET", errors=(DataNotFoundError,))
def describe_deployment_rollout(call: Call, *, deployment_id: DeploymentId) -> wire.Rollout:
    """The versions of a deployment: which answers, which is about to, the canary, the shadow and the former one, and
    what gateways counted of them since each began.
    """
    return _shape(call, get_deployment(call.session, call.organization_id, deployment_id))


def _set(
    call: Call, deployment_id: DeploymentId, role: Role, model_version: ModelVersionId, percent: float
) -> wire.Rollout:
    deployment = _get(call, deployment_id)
    version = get_model_version(call.session, call.organization_id, model_version)
    steps.set_side(call.session, deployment, role, version, percent, call.clock())
    return _shape(call, deployment)


def _get(call: Call, deployment_id: DeploymentId) -> Deployment:
    return get_deployment(call.session, call.organization_id, deployment_id, for_update=True)


def _shape(call: Call, deployment: Deployment) -> wire.Rollout:
    return wire.rollout(deployment, sides_of(call.session, deployment.deployment_id))
