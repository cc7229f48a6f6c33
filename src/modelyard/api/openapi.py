"""The OpenAPI document, derived from the table of actions: the same record that the door decodes by.

Committed as `docs/openapi.json` and compared in CI, so that every change of the wire shows in a diff.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

import modelyard
from modelyard.actions import Action, Auth, FileBytes, Parameter, RawBytes, UploadedFile
from modelyard.execution import After

JsonSchema = dict[str, Any]
REF = "#/components/schemas/{name}"


def document(actions: Mapping[str, Action]) -> JsonSchema:
    """OpenAPI 3.1 for all actions, keys in a stable order."""
    kinds = [_result_type(action) for action in actions.values()]
    kinds += [_plain(parameter) for action in actions.values() for parameter in action.parameters]
    schemas, components = msgspec.json.schema_components(kinds, schema_hook=_opaque, ref_template=REF)
    by_kind = iter(schemas)
    results = {name: next(by_kind) for name in actions}
    paths = {}
    for name, action in actions.items():
        paths[f"/api/v0/{name}"] = {
            verb.lower(): _operation(action, verb, results[name], parameters)
            for parameters in [{p.wire_name: next(by_kind) for p in action.parameters}]
            for verb in action.verbs
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Modelyard", "version": modelyard.__version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": components | _ENVELOPES, "securitySchemes": _SECURITY},
    }


_DESCRIPTION = (
    "The Abacus.AI API as Modelyard speaks it. Parameters may be given in the query, as a JSON object or as a form; "
    "null means left out."
)
_SECURITY = {"apiKey": {"type": "apiKey", "in": "header", "name": "apiKey"}}
_ENVELOPES: dict[str, JsonSchema] = {
    "Failure": {
        "type": "object",
        "required": ["success", "error", "errorType", "requestId"],
        "properties": {
            "success": {"const": False},
            "error": {"type": "string"},
            "errorType": {"type": "string"},
            "requestId": {"type": "string"},
        },
    }
}


def _operation(action: Action, verb: str, result: JsonSchema, parameters: Mapping[str, JsonSchema]) -> JsonSchema:
    first, _, rest = action.documentation.partition("\n")
    operation: JsonSchema = {
        "operationId": action.name if verb == action.verb else f"{action.name}By{verb.capitalize()}",
        "summary": first,
        "tags": [action.slice],
        "responses": _responses(action, result),
        "security": [] if action.auth is Auth.OPEN else [{"apiKey": []}],
    }
    if rest.strip():
        operation["description"] = rest.strip()
    if verb in ("GET", "DELETE"):
        operation["parameters"] = [_query_parameter(p, parameters[p.wire_name]) for p in action.parameters]
    elif action.parameters:
        operation["requestBody"] = _body(action, parameters)
    return operation


def _query_parameter(parameter: Parameter, schema: JsonSchema) -> JsonSchema:
    described = {"name": parameter.wire_name, "in": "query", "required": parameter.required, "schema": schema}
    return described | ({"description": parameter.description} if parameter.description else {})


def _body(action: Action, parameters: Mapping[str, JsonSchema]) -> JsonSchema:
    properties = {
        p.wire_name: parameters[p.wire_name] | ({"description": p.description} if p.description else {})
        for p in action.parameters
    }
    required = [p.wire_name for p in action.parameters if p.required]
    schema: JsonSchema = {"type": "object", "properties": properties} | ({"required": required} if required else {})
    has_file = any(p.type is UploadedFile for p in action.parameters)
    kind = "multipart/form-data" if has_file else "application/json"
    return {"required": bool(required), "content": {kind: {"schema": schema}}}


def _responses(action: Action, result: JsonSchema) -> JsonSchema:
    if action.result in (FileBytes, RawBytes):
        content: JsonSchema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    else:
        envelope = {"success": {"const": True}, "result": result, "requestId": {"type": "string"}}
        content = {"application/json": {"schema": {"type": "object", "properties": envelope}}}
    responses: JsonSchema = {"200": {"description": "Done", "content": content}}
    failure = {"application/json": {"schema": {"$ref": REF.format(name="Failure")}}}
    for error in sorted(action.errors, key=lambda error: (error.status, error.__name__)):
        known = responses.setdefault(str(error.status), {"description": "", "content": failure})
        known["description"] = ", ".join(filter(None, [known["description"], error.__name__]))
    return responses


def _result_type(action: Action) -> Any:
    kind = action.result
    members = [member for member in getattr(kind, "__args__", ()) if member not in (After, FileBytes, RawBytes)]
    if After in getattr(kind, "__args__", ()):
        kind = members[0] if members else type(None)
    return type(None) if kind in (FileBytes, RawBytes) else kind


def _plain(parameter: Parameter) -> Any:
    return str if parameter.type is UploadedFile else parameter.type


def _opaque(kind: type) -> JsonSchema:
    return {"description": kind.__name__}
