"""An OpenAPI document of one deployment, for those who make clients or forms of it."""

from typing import Any

from modelyard.deployments.records import Deployment
from modelyard.observability.interfaces.inferring import Schema
from modelyard.observability.interfaces.wire import Argument, DeploymentInterface

#: What annotations of the source mean, where they are plain ones.
ANNOTATIONS: dict[str, Schema] = {
    "int": {"type": "integer"}, "float": {"type": "number"}, "str": {"type": "string"}, "bool": {"type": "boolean"},
    "list[str]": {"type": "array", "items": {"type": "string"}}, "list": {"type": "array"}, "dict": {"type": "object"},
}  # fmt: skip
FAILURES = {"400": "The call can't be used", "403": "Not your deployment, or no token", "408": "It took too long",
            "409": "The deployment is not ready", "413": "The call is too large", "429": "Too many calls",
            "500": "The model's own code failed"}  # fmt: skip


def document(deployment: Deployment, interface: DeploymentInterface, base_url: str) -> Schema:
    """The document: one path, or two where several queries may be sent at once."""
    paths = {f"/api/v0/{interface.action}": {"post": _operation(interface, interface.query, interface.result)}}
    if interface.action == "predict":
        several, results = ({"type": "array", "items": each} for each in (interface.query, interface.result))
        paths["/api/v0/predictMultiple"] = {"post": _operation(interface, several, results, many=True)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": deployment.name,
            "version": deployment.version or "online",
            "description": deployment.description or interface.documentation or "A deployment on Modelyard.",
        },
        "servers": [{"url": base_url}],
        "security": [{"deploymentToken": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "deploymentToken": {"type": "apiKey", "in": "query", "name": "deploymentToken"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "apiKey"},
            },
            "schemas": {"Failure": _object({"success": {"const": False}, "error": _TEXT, "errorType": _TEXT,
                                            "requestId": _TEXT})},
        },
    }  # fmt: skip


_TEXT: Schema = {"type": "string"}


def _operation(interface: DeploymentInterface, query: Schema, result: Schema, *, many: bool = False) -> Schema:
    name = "predictMultiple" if many else interface.action
    properties = {"queryData": query, **{each.name: _argument(each) for each in interface.arguments}}
    required = ["queryData", *(each.name for each in interface.arguments if each.required)]
    body = _object(properties, required)
    if not interface.takes_any_argument:
        body["additionalProperties"] = False
    content: Schema = {"schema": body}
    if not many:
        content["example"] = interface.example.body
    done = _object({"success": {"const": True}, "result": result, "requestId": _TEXT}, ["success", "result"])
    failure = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
    return {
        "operationId": name,
        "summary": "Asks for several predictions" if many else f"Asks the deployment ({name})",
        "parameters": [
            {"name": "deploymentId", "in": "query", "required": True, "schema": {"const": interface.deployment_id}}
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": done}}},
            **{status: {"description": words, "content": failure} for status, words in FAILURES.items()},
        },
    }


def _object(properties: dict[str, Any], required: list[str] | None = None) -> Schema:
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _argument(argument: Argument) -> Schema:
    schema = dict(ANNOTATIONS.get(argument.annotation or "", {}))
    if argument.default is not None:
        schema["description"] = f"Default: {argument.default}"
    return schema
