"""How a function becomes an action of the API.

An action is a plain keyword-only function: its signature is the wire, its docstring the documentation. The decorator
only tags it. `collect` reads the tagged functions of the slices into one table, from which the door's decoder, the
OpenAPI document, the reference page and the contract's coverage are all derived.

    @action("POST", errors=(DataNotFoundError, ConflictError))
    def rename_model(call: Call, *, model_id: ModelId, name: str) -> None:
        "Renames a model."

Wire rules (source: what the SDK sends, and sdk `client.py` `_request`): names are camelCase; query, JSON body and form
are one mapping; null means left out; in query and form everything is text, lists and objects are JSON text, booleans
are `True`/`False`; an unknown parameter that is null is ignored, one with a value is refused by name.
"""

import difflib
import inspect
import json
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NewType, TypeVar

import msgspec
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.container import Container
from modelyard.errors import (
    ApiError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
)
from modelyard.ids import OrganizationId, UserId
from modelyard.settings import Settings
from modelyard.texts import can_be_kept

Function = TypeVar("Function", bound=Callable[..., object])
#: Whether an answer is of something that is still going on.
UnderWay = Callable[[Any], bool]
#: Parameters whose own check says where in the text such a character stands.
CHECKED_LATER = frozenset({"functionSourceCode"})
#: A value as it comes off the wire, not yet decoded.
Wire = Any


class Auth(StrEnum):
    """Who may call an action."""

    #: Whoever holds an API key of an active user, within that user's organisation.
    KEY = "key"
    #: As KEY, and the user must be an administrator.
    ADMIN = "admin"
    #: Anybody: the two calls that a client makes before it has a key, and health.
    OPEN = "open"
    #: Whoever holds a deployment token of the deployment's project (or an API key). Checked by the action itself.
    DEPLOYMENT_TOKEN = "deployment token"  # noqa: S105 - a kind of key, not one
    #: Whoever holds a streaming token of the organisation (or an API key). Checked by the action itself.
    STREAMING_TOKEN = "streaming token"  # noqa: S105 - as above


class Principal(NamedTuple):
    """Who calls."""

    organization_id: OrganizationId
    user_id: UserId
    is_admin: bool


@dataclass(frozen=True, slots=True)
class Call:
    """What every action gets: the transaction, the caller, and the house's parts."""

    session: Session
    parts: Container
    settings: Settings
    clock: Clock
    request_id: str
    #: The notebook that the SDK runs in, from its `notebookId` header.
    notebook_id: str | None = None
    #: Public URL under which this caller reached us, without a trailing slash.
    base_url: str = ""
    who: Principal | None = None

    @property
    def principal(self) -> Principal:
        """The caller; only absent in OPEN actions, where asking is a defect."""
        if self.who is None:
            raise RuntimeError("this action is open and has no caller")
        return self.who

    @property
    def organization_id(self) -> OrganizationId:
        return self.principal.organization_id


class FileBytes(NamedTuple):
    """An answer that is raw bytes of a file, from `offset` on, `length` of them at most. Past its end: an empty 200."""

    path: Path
    offset: int = 0
    length: int = 10 * 1024**2


class RawBytes(NamedTuple):
    """An answer that is raw bytes, given in chunks."""

    chunks: Iterator[bytes]


class UploadedFile(NamedTuple):
    """A file field of a multipart form, spooled to disk by the door."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an action."""

    name: str
    wire_name: str
    type: Any
    required: bool
    default: Any
    description: str
    takes_text: bool
    takes_json: bool


@dataclass(frozen=True, slots=True)
class Tag:
    """What the decorator leaves on a function."""

    verb: str
    name: str
    auth: Auth
    errors: tuple[type[ApiError], ...]
    writes: bool
    proxy: bool
    verbs: tuple[str, ...]
    own_transaction: bool
    under_way: UnderWay | None
    deferred: bool


@dataclass(frozen=True, slots=True)
class Action:
    """One record of the table that everything is derived from."""

    name: str
    verb: str
    #: Further verbs under which it answers (the documentation shows `predict` by GET too).
    verbs: tuple[str, ...]
    auth: Auth
    errors: tuple[type[ApiError], ...]
    #: False: a read-only transaction, never queued behind writers.
    writes: bool
    #: True: also found under the proxy base, `/api/{name}`.
    proxy: bool
    #: True: it works long before it writes, so it gets a reading session and opens its writing ones itself.
    own_transaction: bool
    #: Tells that an answer is of something that is still going on; a client that polls is answered when it has ended.
    under_way: UnderWay | None
    #: True: it gives a Future of its answer at once, without a session and without waiting for anything.
    deferred: bool
    #: The first word of the module path below `modelyard`: the slice.
    slice: str
    function: Callable[..., object]
    parameters: tuple[Parameter, ...]
    result: Any
    documentation: str
    _by_wire_name: Mapping[str, Parameter]

    def decode(self, values: Mapping[str, Wire]) -> dict[str, object]:
        """The function's keyword arguments from one merged mapping of wire values; errors name the parameter."""
        arguments: dict[str, object] = {}
        for wire_name, value in values.items():
            if value is None:
                continue
            parameter = self._by_wire_name.get(wire_name)
            if parameter is None:
                raise InvalidParameterError(self._unknown(wire_name))
            arguments[parameter.name] = converted = _convert(parameter, value)
            if isinstance(converted, int) and not -(2**63) <= converted < 2**63:
                raise InvalidParameterError(f"Invalid value for {wire_name}: {_shorten(value)}: it has over 64 bits")
        for parameter in self.parameters:
            if parameter.required and parameter.name not in arguments:
                raise MissingParameterError(f"Missing required parameter: {parameter.wire_name}")
        return arguments

    def _unknown(self, wire_name: str) -> str:
        names = [parameter.wire_name for parameter in self.parameters]
        near = difflib.get_close_matches(wire_name[:100], names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(names) or 'no parameters'}."
        return f"{self.name} has no parameter {_shorten(wire_name)}; {hint}"


def action(
    verb: str,
    *,
    name: str | None = None,
    auth: Auth = Auth.KEY,
    errors: tuple[type[ApiError], ...] = (),
    writes: bool | None = None,
    proxy: bool = False,
    also: tuple[str, ...] = (),
    own_transaction: bool = False,
    under_way: UnderWay | None = None,
    deferred: bool = False,
) -> Callable[[Function], Function]:
    """Tags a function as an action. `name`: unless camelCase of the function's; `writes`: unless verb != GET."""

    def tag(function: Function) -> Function:
        wire_name = name or camel(function.__name__)
        changes = verb != "GET" if writes is None else writes
        found = Tag(verb, wire_name, auth, errors, changes, proxy, (verb, *also), own_transaction, under_way, deferred)
        function.__action__ = found  # type: ignore[attr-defined]
        return function

    return tag


def collect(modules: Iterable[ModuleType]) -> dict[str, Action]:
    """The table of all tagged functions in `modules`, by wire name; a name that comes twice is a defect."""
    table: dict[str, Action] = {}
    for module in modules:
        for function in vars(module).values():
            tag = getattr(function, "__action__", None)
            if tag is None or function.__module__ != module.__name__:
                continue
            if tag.name in table:
                raise ValueError(f"the action {tag.name} is defined twice")
            table[tag.name] = _build(function, tag)
    return dict(sorted(table.items()))


def while_status(*statuses: str) -> UnderWay:
    """Under way as long as the answer's `status` is one of these."""
    return lambda answer: answer.status in statuses


def camel(name: str) -> str:
    """`update_python_model` -> `updatePythonModel`."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def _build(function: Callable[..., object], tag: Tag) -> Action:
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = tuple(
        _parameter(name, hints[name], parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    )
    return Action(
        name=tag.name,
        verb=tag.verb,
        verbs=tag.verbs,
        auth=tag.auth,
        errors=tag.errors,
        writes=tag.writes,
        proxy=tag.proxy,
        own_transaction=tag.own_transaction,
        under_way=tag.under_way,
        deferred=tag.deferred,
        slice=function.__module__.split(".")[1],
        function=function,
        parameters=parameters,
        result=_answer_type(hints.get("return")),
        documentation=inspect.cleandoc(function.__doc__ or ""),
        _by_wire_name={parameter.wire_name: parameter for parameter in parameters},
    )


def _answer_type(hint: Any) -> Any:
    """What callers get: of a future, what it is the future of."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Future else hint


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    description = " ".join(_notes(hint))
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    kinds = _members(hint)
    return Parameter(
        name=name,
        wire_name=camel(name),
        type=hint,
        required=default is inspect.Parameter.empty,
        default=None if default is inspect.Parameter.empty else default,
        description=description,
        takes_text=any(kind is str or (isinstance(kind, type) and issubclass(kind, Enum)) for kind in kinds),
        takes_json=any(kind in (list, dict, tuple, Any) or _is_struct(kind) for kind in kinds),
    )


def _notes(hint: Any) -> Iterator[str]:
    """The texts of `Annotated`, on the whole hint or on members of its union."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        yield from (note for note in arguments[1:] if isinstance(note, str))
    members = arguments[:1] if origin is typing.Annotated else arguments
    if origin in (typing.Annotated, typing.Union, types.UnionType):
        for member in members:
            yield from _notes(member)


def _members(hint: Any) -> list[Any]:
    """The plain types that a hint stands for: unions opened, NewTypes and generics reduced to what they are made of."""
    if isinstance(hint, NewType):
        return _members(hint.__supertype__)
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _members(typing.get_args(hint)[0])
    if origin is typing.Union or origin is types.UnionType:
        return [kind for member in typing.get_args(hint) for kind in _members(member)]
    return [origin or hint]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


class Text(str):
    """A value from a query string or a form, where everything is text."""

    __slots__ = ()


def _convert(parameter: Parameter, value: Wire) -> object:
    if isinstance(value, Text):
        value = _from_text(parameter, str(value))
        if value is None:
            return parameter.default
    if parameter.wire_name not in CHECKED_LATER and not can_be_kept(value):
        raise InvalidParameterError(
            f"Invalid value for {parameter.wire_name}: {_shorten(value)}: it holds a NUL character or half of a "
            "surrogate pair, which can't be kept"
        )
    try:
        return msgspec.convert(value, parameter.type, strict=True, dec_hook=_pass_through)
    except msgspec.ValidationError as error:
        return _convert_leniently(parameter, value, error)


def _convert_leniently(parameter: Parameter, value: Wire, first: msgspec.ValidationError) -> object:
    if isinstance(value, str) and not parameter.takes_text:
        try:
            return msgspec.convert(value, parameter.type, strict=False, dec_hook=_pass_through)
        except msgspec.ValidationError as error:
            first = error
    if "Invalid enum value" in str(first):
        raise InvalidEnumParameterError(
            f"Invalid value for {parameter.wire_name}: {_shorten(value)}; it must be one of {_choices(parameter)}"
        )
    where = re.sub(r"^Expected", "expected", str(first)).replace("`$", f"`{parameter.wire_name}")
    raise InvalidParameterError(f"Invalid value for {parameter.wire_name}: {_shorten(value)}: {where}")


def _from_text(parameter: Parameter, text: str) -> Wire:
    if (parameter.takes_json and text[:1] in '[{"') or (parameter.takes_json and not parameter.takes_text):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            if parameter.takes_text:
                return text
            raise InvalidParameterError(f"{parameter.wire_name} must be JSON text, not {_shorten(text)}") from None
    return text


def _pass_through(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _choices(parameter: Parameter) -> str:
    values = [
        str(member.value)
        for kind in _members(parameter.type)
        if isinstance(kind, type) and issubclass(kind, Enum)
        for member in kind
    ]
    return ", ".join(values)


def _shorten(value: Wire) -> str:
    text = _SHORT.repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 100 else text[:97] + "..."


#: Writes down no more of a value than anybody reads: of a list of millions its first items.
_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 10
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
