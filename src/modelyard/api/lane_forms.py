"""The forms in which a prediction may be asked, reduced to one: token, deployment, and a JSON body.

The official client puts token and deployment into the query and `queryData` with further arguments into a JSON body;
it repeats those arguments in the query, where they are passed over. That form never gets here but for its query, which
the lane remembers. A GET has JSON text in its query: `queryData` and arguments, or, without `queryData`, the query's
items themselves. Token and deployment may also stand in the body, and the body may be a form.
Source: the documented example `GET predict?deploymentToken=foobar&deploymentId=baz&tokens=[[123,456]]`.
"""

from collections.abc import MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from modelyard.errors import InvalidRequest

OWN = ("deploymentToken", "deploymentId")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class Target(NamedTuple):
    """What a query string says."""

    token: str
    deployment_id: str
    #: Everything else in it, as text.
    arguments: dict[str, str]

    @property
    def is_plain(self) -> bool:
        """Whether the query names both; then the body needs no look."""
        return bool(self.deployment_id)


def read_target(query: bytes) -> Target:
    """Token, deployment and arguments of a query string."""
    items = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace"))
    return Target(items.pop("deploymentToken", ""), items.pop("deploymentId", ""), items)


def rewrite(target: Target, scope: MutableMapping[str, Any], body: bytes) -> tuple[Target, bytes]:
    """The same request in the one form."""
    if not body.strip():
        values = _from_text(target.arguments)
        if "queryData" not in values:
            values = {"queryData": msgspec.Raw(_encode(values))} if values else {}
    elif content_type_of(scope).split(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        if b"=" not in body:  # curl says of every body that it is a form
            raise InvalidRequest('The body is neither a form nor a JSON object such as {"queryData": ...}')
        values = _from_text(dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))
    else:
        values = _read_object(body)
    named = {name: _text(values.pop(name, None)) for name in OWN}
    token, deployment_id = target.token or named["deploymentToken"], target.deployment_id or named["deploymentId"]
    return Target(token, deployment_id, {}), _encode(values)


def content_type_of(scope: MutableMapping[str, Any]) -> str:
    """What the caller says that the body is."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value, "latin-1")
    return ""


def fill_in(body: bytes, arguments: dict[str, Any], *, override: bool) -> bytes:
    """The body with a deployment's arguments, which fill in what it leaves out or has as null, or win over it."""
    values = _read_object(body)
    for name, value in arguments.items():
        if override or bytes(values.get(name, msgspec.Raw(b"null"))) == b"null":
            values[name] = msgspec.Raw(_encode(value))
    return _encode(values)


def _from_text(items: dict[str, str]) -> dict[str, msgspec.Raw]:
    return {name: _json_or_text(name, text) for name, text in items.items()}


def _json_or_text(name: str, text: str) -> msgspec.Raw:
    raw = text.encode("utf-8", "surrogateescape")
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if name == "queryData" and text.lstrip()[:1] in ("{", "["):
            raise InvalidRequest(f"queryData is not JSON: {error}") from None
        named = {"True": b"true", "False": b"false", "None": b"null"}
        return msgspec.Raw(named[text]) if text in named else msgspec.Raw(_encode(raw.decode("utf-8", "replace")))
    return msgspec.Raw(raw)


def _read_object(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _object.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f'The body must be a JSON object such as {{"queryData": ...}}: {error}') from error


def _text(value: msgspec.Raw | None) -> str:
    if value is None:
        return ""
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return bytes(value).decode("utf-8", "replace")
