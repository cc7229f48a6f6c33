"""What may be set for a deployment token beyond what the official client has words for."""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.deployments import tokens, wire
from modelyard.deployments.actions import check_rate
from modelyard.errors import DataNotFoundError, InvalidParameterError


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def set_deployment_token_limit(
    call: Call,
    *,
    deployment_token: str,
    calls_per_second: Annotated[int | None, "Further calls are refused with 429; left out: no limit."] = None,
) -> wire.DeploymentAuthToken:
    """Limits how many calls a second a token may ask, of all deployments of its project and all gateways together.

    The limits of the deployments hold besides. An action of this platform's own.
    """
    rate = check_rate(calls_per_second)
    return wire.token(tokens.limit_token(call.session, call.organization_id, deployment_token, rate))
