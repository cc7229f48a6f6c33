"""Can a function with these parameters be called so? The arithmetic of Python's calls, on syntax alone."""

import ast
from collections.abc import Sequence
from typing import NamedTuple


class Call(NamedTuple):
    """One way of calling a function."""

    #: How many values are given positionally.
    positional: int
    #: Keywords that are given where the function names them, and not otherwise.
    offered: tuple[str, ...]
    #: Keywords that are given always.
    keywords: tuple[str, ...]
    #: What the values are, for messages.
    words: str
    #: The function must require all of the positional values, or this way is not taken.
    exact: bool = False


class _Parameters(NamedTuple):
    #: (name, has a default) of those that may be given positionally.
    positional: list[tuple[str, bool]]
    positional_only: int
    #: (name, has a default) of those that may be given by keyword only.
    keyword_only: list[tuple[str, bool]]
    any_positional: bool
    any_keyword: bool


def misfit(name: str, arguments: ast.arguments, calls: Sequence[Call]) -> str | None:
    """Why a function can't be called in any of these ways; None if it can."""
    parameters = _read(arguments)
    reasons = [_reason(name, parameters, call) for call in calls]
    return None if None in reasons else reasons[0]


def _read(arguments: ast.arguments) -> _Parameters:
    both = [*arguments.posonlyargs, *arguments.args]
    required = len(both) - len(arguments.defaults)
    keyword_only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return _Parameters(
        [(arg.arg, index >= required) for index, arg in enumerate(both)],
        len(arguments.posonlyargs),
        [(arg.arg, default is not None) for arg, default in keyword_only],
        arguments.vararg is not None,
        arguments.kwarg is not None,
    )


def _reason(name: str, parameters: _Parameters, call: Call) -> str | None:
    by_keyword = {key for key in call.offered if _takes_keyword(parameters, key)} | set(call.keywords)
    return (
        _unknown_keyword(name, parameters, call)
        or _collision(name, parameters, call, by_keyword)
        or _count(name, parameters, call, by_keyword)
        or _required_keyword(name, parameters, by_keyword)
    )


def _takes_keyword(parameters: _Parameters, key: str) -> bool:
    named = [each for each, _ in parameters.positional[parameters.positional_only :]]
    return key in named or any(key == each for each, _ in parameters.keyword_only)


def _unknown_keyword(name: str, parameters: _Parameters, call: Call) -> str | None:
    if parameters.any_keyword:
        return None
    unknown = [key for key in call.keywords if not _takes_keyword(parameters, key)]
    if not unknown:
        return None
    return f"`{name}` is called with the keyword `{unknown[0]}`, which it does not take: add that parameter."


def _collision(name: str, parameters: _Parameters, call: Call, by_keyword: set[str]) -> str | None:
    for key, _ in parameters.positional[: call.positional][parameters.positional_only :]:
        if key in by_keyword:
            return (
                f"`{name}` is called with {call.words} positionally and `{key}` by keyword, so `{key}` would get two "
                f"values: move it behind the others, or after a `*`."
            )
    return None


def _count(name: str, parameters: _Parameters, call: Call, by_keyword: set[str]) -> str | None:
    fillable = [
        (key, default)
        for index, (key, default) in enumerate(parameters.positional)
        if index < parameters.positional_only or key not in by_keyword
    ]
    required = sum(not default for _, default in fillable)
    given = call.positional
    if call.exact and required != given:
        return f"`{name}` does not require exactly {given} values."
    if required <= given and (given <= len(fillable) or parameters.any_positional):
        return None
    takes = _range(required, None if parameters.any_positional else len(fillable))
    return f"`{name}` takes {takes}, but is called with {given}: {call.words}. {_advice(name, call, by_keyword)}"


def _range(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least} positional argument{'s' * (least != 1)}"
    if least == most:
        return f"{least} positional argument{'s' * (least != 1)}"
    return f"{least} to {most} positional arguments"


def _advice(name: str, call: Call, by_keyword: set[str]) -> str:
    if call.words.startswith("("):
        return f"Write it as `def {name}{call.words}`."
    also = f" and `{min(by_keyword)}`" if by_keyword else ""
    return f"Give it one parameter for each table{also}." if call.positional else "Give its other parameters defaults."


def _required_keyword(name: str, parameters: _Parameters, by_keyword: set[str]) -> str | None:
    for key, default in parameters.keyword_only:
        if not default and key not in by_keyword:
            return f"`{name}` requires the keyword `{key}`, which nobody gives it: give `{key}` a default."
    return None
