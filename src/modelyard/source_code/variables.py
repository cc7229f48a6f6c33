"""The variables of a Python function: their names, their types, and whether a value is one of its type.

A function says which variables it takes (`functionVariableMappings`), a feature group what it gives them
(`pythonFunctionBindings`); both come as lists of the same objects, in camelCase from the SDK's classes and in
snake_case from dicts. They are shown with both.
Source: the SDK's PythonFunctionArgument, PythonFunctionArgumentType, and python_function_validator.py, which reads
`variable_type` and `is_required`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from keyword import iskeyword
from typing import Any

import msgspec

from modelyard.errors import InvalidEnumParameterError, InvalidParameterError


class VariableType(StrEnum):
    """What a variable holds."""

    #: The table of that name; the function gets its rows.
    FEATURE_GROUP = "FEATURE_GROUP"
    #: A whole number.
    INTEGER = "INTEGER"
    #: A text.
    STRING = "STRING"
    #: True or false.
    BOOLEAN = "BOOLEAN"
    #: A number.
    FLOAT = "FLOAT"
    #: An object or a list.
    JSON = "JSON"
    #: A list, of items of `itemType` where that is given.
    LIST = "LIST"
    #: An id, handed on as text; so are the others.
    DATASET_ID = "DATASET_ID"
    MODEL_ID = "MODEL_ID"
    FEATURE_GROUP_ID = "FEATURE_GROUP_ID"
    MONITOR_ID = "MONITOR_ID"
    BATCH_PREDICTION_ID = "BATCH_PREDICTION_ID"
    DEPLOYMENT_ID = "DEPLOYMENT_ID"
    #: A file of a chat; no feature group can give one.
    ATTACHMENT = "ATTACHMENT"
    #: Of outputs alone: anything.
    ANY = "ANY"


_INPUTS = frozenset(VariableType) - {VariableType.ANY}
_OUTPUTS = frozenset(VariableType) - {VariableType.FEATURE_GROUP}
#: Key in snake_case -> key in camelCase.
_KEYS = {
    "name": "name", "variable_type": "variableType", "is_required": "isRequired", "value": "value",
    "pipeline_variable": "pipelineVariable", "description": "description", "long_description": "longDescription",
    "item_type": "itemType",
}  # fmt: skip
_CLASS_KEYS = frozenset({"_supportKwargs", "_upperSnakeCaseKeys", "_SUPPORT_KWARGS", "_UPPER_SNAKE_CASE_KEYS"})


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One variable. Without a type it has that of the function's variable of the same name."""

    name: str
    variable_type: VariableType | None = None
    is_required: bool = True
    value: Any = None
    description: str | None = None
    long_description: str | None = None
    item_type: VariableType | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """As callers see it: every key in both spellings."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain | {_KEYS[key]: value for key, value in plain.items()}


def read_variables(parameter: str, given: Sequence[Mapping[str, Any]] | None) -> list[Variable]:
    """The variables of a list of a caller's, each name once; values are held against their types."""
    found: dict[str, Variable] = {}
    for each in given or []:
        variable = _read(parameter, each)
        if variable.name in found:
            raise InvalidParameterError(f"{parameter} names the variable {variable.name} twice.")
        found[variable.name] = variable
    return list(found.values())


def read_outputs(parameter: str, given: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """What a caller says about results: kept as it was said, the types checked."""
    outputs = []
    for each in given or []:
        named = _named(parameter, each)
        name, kind = named.get("name"), _kind(parameter, named.get("variable_type"), _OUTPUTS)
        if not isinstance(name, str | None) or kind is None:
            raise InvalidParameterError(f"{parameter} must hold objects with a name and a variableType.")
        texts = {key: named.get(key) for key in ("description", "long_description")}
        outputs.append({"name": name, "variable_type": kind.value, "variableType": kind.value, **texts})
    return outputs


def check_value(variable: Variable) -> Any:
    """The variable's value as its function gets it; InvalidParameterError if it is not of the variable's type."""
    try:
        return _converted(variable.variable_type, variable.item_type, variable.value)
    except ValueError as wrong:
        shown = repr(variable.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise InvalidParameterError(
            f"The value of {variable.name} is {shown}; {variable.variable_type} is {wrong}."
        ) from None


def _read(parameter: str, given: Mapping[str, Any]) -> Variable:
    named = _named(parameter, given)
    name, is_required = named.get("name"), named.get("is_required", True)
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
        raise InvalidParameterError(
            f"{parameter}: a variable's name must be that of a parameter, not {str(name)[:100]!r}."
        )
    if named.get("pipeline_variable") is not None:
        raise InvalidParameterError(f"{parameter}: there are no pipelines here; give {name} a value instead.")
    if not isinstance(is_required, bool):
        raise InvalidParameterError(f"{parameter}: isRequired of {name} must be true or false.")
    texts = {key: named.get(key) for key in ("description", "long_description")}
    if not all(isinstance(text, str | None) for text in texts.values()):
        raise InvalidParameterError(f"{parameter}: the description of {name} must be a text.")
    variable = Variable(
        name=name,
        variable_type=_kind(parameter, named.get("variable_type"), _INPUTS),
        is_required=is_required,
        value=named.get("value"),
        item_type=_kind(parameter, named.get("item_type"), _INPUTS),
        **texts,
    )
    if variable.value is not None and variable.variable_type is not None:
        check_value(variable)
    return variable


def _named(parameter: str, given: object) -> dict[str, Any]:
    """The object's values by their keys in snake_case; nulls are left out."""
    if not isinstance(given, Mapping):
        raise InvalidParameterError(f"{parameter} must be a list of objects with name and variableType.")
    snake = {camel: plain for plain, camel in _KEYS.items()}
    named: dict[str, Any] = {}
    for key, value in given.items():
        plain = snake.get(key, key)
        if plain not in _KEYS and key not in _CLASS_KEYS:
            raise InvalidParameterError(
                f"{parameter}: {str(key)[:100]!r} is no key of a variable; those are {', '.join(_KEYS.values())}."
            )
        if value is not None and plain in _KEYS:
            named[plain] = value
    return named


def _kind(parameter: str, given: object, allowed: frozenset[VariableType]) -> VariableType | None:
    if given is None:
        return None
    name = given.upper() if isinstance(given, str) else None
    if name not in allowed:
        known = ", ".join(each for each in VariableType if each in allowed)
        raise InvalidEnumParameterError(f"{parameter}: {str(given)[:100]!r} is no variableType; those are {known}.")
    return VariableType(name)


def _converted(kind: VariableType | None, item_type: VariableType | None, value: Any) -> Any:
    """The value, or ValueError with what a value of that type is."""
    match kind:
        case None:
            return value
        case VariableType.JSON:
            return _json(value)
        case VariableType.LIST:
            return _list(item_type, value)
        case VariableType.FLOAT:
            return float(_require(_is_number(value), value, "a number"))
    is_right, words = _PLAIN.get(kind, (_is_text, "an id, as text"))
    return _require(is_right(value), value, words)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_never(_value: Any) -> bool:
    return False


#: Type -> the test of its values, and what they are called; the others are ids.
_PLAIN: dict[VariableType, tuple[Callable[[Any], bool], str]] = {
    VariableType.INTEGER: (_is_whole, "a whole number"),
    VariableType.BOOLEAN: (_is_flag, "true or false"),
    VariableType.STRING: (_is_text, "a text"),
    VariableType.FEATURE_GROUP: (_is_text, "the name of a table"),
    VariableType.ATTACHMENT: (_is_never, "a file of a chat, and there are no chats here"),
}


def _require(is_right: bool, value: Any, words: str) -> Any:
    if not is_right:
        raise ValueError(words)
    return value


def _json(value: Any) -> Any:
    words = "an object or a list, or its JSON text"
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(words) from None
    return _require(isinstance(value, dict | list), value, words)


def _list(item_type: VariableType | None, value: Any) -> list[Any]:
    items = _require(isinstance(value, list), value, "a list")
    if item_type in (None, VariableType.FEATURE_GROUP):
        return list(items)
    try:
        return [_converted(item_type, None, each) for each in items]
    except ValueError as wrong:
        raise ValueError(f"a list in which every item is {wrong}") from None
