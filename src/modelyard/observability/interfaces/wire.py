"""The shapes of a deployment's interface that callers see. Of this platform's own making."""

from enum import StrEnum
from typing import Any

import msgspec

from modelyard.ids import DeploymentId


class Argument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A keyword argument of predictions, beside `queryData`."""

    name: str
    #: As the source has them.
    annotation: str | None
    default: str | None
    required: bool


class Source(StrEnum):
    """Where an example's values are from."""

    #: Somebody has called so: the newest call of the prediction log.
    CALL = "call"
    #: The first row of the first table that the version was trained on.
    ROW = "row"
    #: Made up to fit the types.
    TYPES = "types"


class Example(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A call that can be pasted."""

    #: The body of the call.
    body: dict[str, Any]
    #: What it was answered with; null where it was made up.
    result: Any
    #: Where its values are from.
    source: Source
    curl: str
    python: str


class DeploymentInterface(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a deployment wants to be asked."""

    deployment_id: DeploymentId
    #: The action that asks it: `predict`, or `lookupFeatures`.
    action: str
    #: The user's function and its docstring; null where the source does not say, or for a feature group.
    function_name: str | None
    documentation: str | None
    #: JSON schemas of `queryData`, and of the result.
    query: dict[str, Any]
    result: dict[str, Any]
    arguments: list[Argument]
    #: Whether the function takes any further keyword argument.
    takes_any_argument: bool
    #: Calls of the log that were looked at.
    calls_seen: int
    example: Example
