"""How a deployment wants to be asked, told to people and to programs. Actions of this platform's own."""

from typing import Any

from modelyard.actions import Call, action
from modelyard.deployments.lifecycle import get_deployment
from modelyard.errors import ConflictError, DataNotFoundError, NotReadyError
from modelyard.execution import After
from modelyard.ids import DeploymentId
from modelyard.observability.interfaces.assembling import describe_interface
from modelyard.observability.interfaces.openapi import document
from modelyard.observability.interfaces.wire import DeploymentInterface


@action("GET", writes=True, errors=(ConflictError, DataNotFoundError, NotReadyError))
def describe_deployment_interface(call: Call, *, deployment_id: DeploymentId) -> DeploymentInterface | After:
    """What a deployment takes and gives: types of its inputs and of its result, arguments, and a call to be pasted.

    Told from the source of the predict function, which is read and not run, the columns of the tables that the version
    was trained on, and the calls in the prediction log; each input says where it is known from. The example is the
    newest call of the log, or else a row of the first table.
    """
    deployment = get_deployment(call.session, call.organization_id, deployment_id)
    return describe_interface(call, deployment)


@action("GET", writes=True, errors=(ConflictError, DataNotFoundError, NotReadyError))
def get_deployment_openapi(call: Call, *, deployment_id: DeploymentId) -> dict[str, Any] | After:
    """The same as an OpenAPI 3.1 document of this one deployment."""
    deployment = get_deployment(call.session, call.organization_id, deployment_id)
    interface = describe_interface(call, deployment)
    return interface if isinstance(interface, After) else document(deployment, interface, call.base_url)
