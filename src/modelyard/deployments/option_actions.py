"""Setting and showing what the official client has no words for: how many replicas, when they rest, batches.

Called by `client._call_api("setDeploymentOptions", "PATCH", body={...})`; see `options.py`.
"""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.database import JsonObject
from modelyard.deployments.changes import note_change
from modelyard.deployments.lifecycle import get_deployment
from modelyard.deployments.options import DeploymentOptions, change_options, read_options
from modelyard.errors import DataNotFoundError, InvalidParameterError
from modelyard.ids import DeploymentId


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def set_deployment_options(
    call: Call,
    *,
    deployment_id: DeploymentId,
    options: Annotated[JsonObject, "Option -> value; null takes one back to its default. Others stay as they are."],
) -> DeploymentOptions:
    """Changes options of a deployment, within a second and without a break, and gives all of them.

    `minReplicas` and `maxReplicas`: replicas at least and at most; between them their number follows the calls.
    `targetQueue`: calls under way and waiting for each replica, from which on there are to be more.
    `idleTimeoutS`: seconds without a call until the replicas are given back; the next call brings them up again.
    `maxBatchSize`, `latencyBudgetMs`: up to so many single predictions go to `predict_many` as one call, which is kept
    to so many milliseconds. `keepFormerS`: seconds for which a former version stays up for `rollbackDeployment`.
    """
    deployment = get_deployment(call.session, call.organization_id, deployment_id, for_update=True)
    deployment.options = change_options(deployment.options, options)
    note_change(call.session, deployment_id)
    return read_options(deployment.options)


@action("GET", errors=(DataNotFoundError,))
def describe_deployment_options(call: Call, *, deployment_id: DeploymentId) -> DeploymentOptions:
    """Every option of a deployment with the value that holds; null: the platform's settings say."""
    return read_options(get_deployment(call.session, call.organization_id, deployment_id).options)
