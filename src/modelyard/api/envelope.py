"""The answer's envelope. Source: the SDK's `client.py`, `_call_api`: `success` decides, not the status."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from modelyard.errors import ApiError, TooManyRequestsError

_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode_result(result: object) -> bytes:
    """The result as JSON. NaN and infinities become null, as JSON has none."""
    return _encode(result)


def success(result: bytes, request_id: str) -> Response:
    """`{"success": true, "result": ..., "requestId": ...}` around a result that is JSON already."""
    body = b'{"success":true,"result":' + result + b',"requestId":"' + request_id.encode() + b'"}'
    return Response(body, media_type="application/json", headers={"x-request-id": request_id})


def failure(error: ApiError, request_id: str) -> Response:
    """The error's envelope under its status."""
    headers = {"x-request-id": request_id}
    if isinstance(error, TooManyRequestsError):
        headers["retry-after"] = str(error.retry_after_s)
    return Response(failure_bytes(error, request_id), error.status, headers, "application/json")


def failure_bytes(error: ApiError, request_id: str) -> bytes:
    """The error's envelope as JSON."""
    body: Mapping[str, Any] = {
        "success": False,
        "error": error.message.encode("utf-8", "backslashreplace").decode(),
        "errorType": error.error_type,
        "requestId": request_id,
    }
    return _encode(body)
