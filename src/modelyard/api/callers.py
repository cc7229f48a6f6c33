"""Who asks for predictions, and of which deployment: by tokens and API keys, looked up in memory.

What memory does not know is looked for in the database before anyone is refused: a token may have come this moment.
"""

from collections.abc import Mapping
from typing import Any

from modelyard.accounts.keys import Holder
from modelyard.api.keyring import Keyring
from modelyard.api.lane_forms import Target, read_target
from modelyard.deployments.calls.dispatch import Dispatch
from modelyard.deployments.calls.line import Line
from modelyard.deployments.calls.refusals import not_ready
from modelyard.deployments.records import DeploymentStatus
from modelyard.errors import (
    DataNotFoundError,
    GenericPermissionDeniedError,
    MissingParameterError,
    TooManyRequestsError,
)

#: Different queries whose reading is remembered, and the longest of them.
REMEMBERED, REMEMBERED_BYTES = 4096, 512


class Callers:
    """Part of the lane; lives in the gateway's event loop."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._dispatch: Dispatch | None = None
        self._targets: dict[bytes, Target] = {}

    def start(self, dispatch: Dispatch) -> None:
        """From now on deployments are known."""
        self._dispatch = dispatch

    def target(self, query: bytes) -> Target:
        """Whose call it is, as its query says."""
        target = self._targets.get(query)
        if target is None:
            target = read_target(query)
            if len(query) < REMEMBERED_BYTES:
                if len(self._targets) > REMEMBERED:
                    self._targets.clear()
                self._targets[query] = target
        return target

    def find(self, target: Target, scope: Mapping[str, Any]) -> Line | None:
        """The deployment's line if the caller may use it; None where only a fresh look can tell."""
        dispatch = self._dispatch
        assert dispatch is not None, "the server was started without its lifespan"
        line = dispatch.find(target.deployment_id)
        if line is None:
            return None
        if target.token:
            return line if dispatch.table.tokens.get(target.token) == line.project_id else None
        checked = self._keys.trusted(_api_key(scope))
        if checked is None or checked.holder is None:
            return None
        return line if checked.holder.principal.organization_id == line.route.organization_id else None

    async def find_anew(self, target: Target, scope: Mapping[str, Any]) -> Line:
        """As `find`, after a look at the database; raises where the caller is wrong."""
        assert self._dispatch is not None
        if not target.deployment_id:
            raise MissingParameterError("Missing required parameter: deploymentId")
        await self._dispatch.look_again()
        organization_id = None
        if not target.token:
            organization_id = (await self._find_holder(_api_key(scope))).principal.organization_id
        elif target.token not in self._dispatch.table.tokens:
            raise GenericPermissionDeniedError("Invalid deployment token")
        line = self._dispatch.find(target.deployment_id)
        if line is None or (organization_id is not None and organization_id != line.route.organization_id):
            raise DataNotFoundError(f"Deployment {target.deployment_id[:100]} was not found")
        if target.token and self._dispatch.table.tokens[target.token] != line.project_id:
            raise GenericPermissionDeniedError("The deployment token belongs to another project than the deployment")
        if line.route.status != DeploymentStatus.ACTIVE:
            raise not_ready(line.route)
        return line

    async def _find_holder(self, key: str) -> Holder:
        if not key:
            raise GenericPermissionDeniedError(
                "Give a deploymentToken in the query, or an API key in the header apiKey"
            )
        assert self._dispatch is not None
        holder = await self._dispatch.loop.run_in_executor(None, self._keys.find, key)
        if holder is None:
            raise GenericPermissionDeniedError("Invalid API Key")
        return holder

    @property
    def have_limits(self) -> bool:
        """Whether any token has one."""
        return self._dispatch is not None and bool(self._dispatch.token_buckets)

    def check_limit(self, token: str) -> None:
        """TooManyRequestsError past the callsPerSecond of a token that has a limit."""
        bucket = self._dispatch.token_buckets.get(token) if self._dispatch is not None else None
        if bucket is not None and not bucket.take():
            raise TooManyRequestsError(
                f"More than {bucket.rate} calls a second by this deployment token; see setDeploymentTokenLimit",
                bucket.retry_after_s(),
                limit="token",
            )


def _api_key(scope: Mapping[str, Any]) -> str:
    for name, value in scope["headers"]:
        if name == b"apikey":
            return str(value, "latin-1")
    return ""
