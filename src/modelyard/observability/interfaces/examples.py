"""Calls written out, to be pasted: curl, and the official client."""

import json
import shlex
from typing import Any

from modelyard.ids import DeploymentId
from modelyard.observability.interfaces.wire import Example, Source


def example(
    base_url: str, deployment_id: DeploymentId, action: str, body: dict[str, Any], result: Any, source: Source
) -> Example:
    """The call; whoever pastes it puts their deployment token into the variable TOKEN."""
    text = json.dumps(body, ensure_ascii=False)
    url = f"{base_url}/api/v0/{action}?deploymentToken=$TOKEN&deploymentId={deployment_id}"
    return Example(
        body=body,
        result=result,
        source=source,
        curl=f'curl -H "content-type: application/json" -d {shlex.quote(text)} "{url}"',
        python=_python(base_url, deployment_id, action, body),
    )


def _python(base_url: str, deployment_id: DeploymentId, action: str, body: dict[str, Any]) -> str:
    method = {"predict": "predict", "lookupFeatures": "lookup_features"}[action]
    further = {name: value for name, value in body.items() if name != "queryData"}
    keywords = "".join(f", {name}={value!r}" for name, value in further.items() if name.isidentifier())
    return (
        "import os\n\nimport abacusai\n\n"
        f"client = abacusai.PredictionClient(abacusai.ClientOptions(server={base_url!r}))\n"
        f'print(client.{method}(os.environ["TOKEN"], {str(deployment_id)!r}, {body.get("queryData")!r}{keywords}))\n'
    )
