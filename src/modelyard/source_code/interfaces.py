"""How a function wants to be called, as its source says: parameters, and the keys that it reads from one of them.

Read in the checker's process, from the syntax tree alone: nothing is imported or run, so what a source makes as it runs
(keys of a list, a decorator's parameters) is not known here.
"""

import ast
from collections.abc import Iterator

from modelyard.source_code.frames import FunctionInterface, ParameterInterface

#: Parameters, keys and characters of a text that are told; a source may have any number.
MOST, LONGEST = 200, 2000


def read_interface(tree: ast.Module, name: str) -> FunctionInterface | None:
    """The function of that name as the source's top level has it last; None where it is made some other way."""
    found = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == name]
    if not found:
        return None
    function = found[-1]
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    parameters = [_parameter(arg, default) for arg, default in zip(positional, defaults, strict=True)]
    parameters += [
        _parameter(arg, default, keyword_only=True)
        for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    query = positional[1].arg if len(positional) > 1 else ""
    return FunctionInterface(
        name=name,
        parameters=parameters[:MOST],
        takes_any_keyword=arguments.kwarg is not None,
        documentation=(ast.get_docstring(function) or "")[:LONGEST],
        keys=dict(_keys(function, query)) if query else {},
    )


def _parameter(arg: ast.arg, default: ast.expr | None, *, keyword_only: bool = False) -> ParameterInterface:
    return ParameterInterface(
        name=arg.arg,
        annotation=_text(arg.annotation),
        default=_text(default),
        required=default is None,
        keyword_only=keyword_only,
    )


def _keys(function: ast.FunctionDef, query: str) -> Iterator[tuple[str, bool]]:
    """Keys that it reads from the parameter -> whether it needs them: for `query["x"]` yes, for `query.get("x")` no."""
    needed: dict[str, bool] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and _is(node.value, query) and isinstance(node.ctx, ast.Load):
            key, is_needed = node.slice, True
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and _is(node.func.value, query)
            and node.args
        ):
            key, is_needed = node.args[0], False
        else:
            continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and len(key.value) <= LONGEST:
            needed[key.value] = needed.get(key.value, False) or is_needed
    yield from list(needed.items())[:MOST]


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _text(node: ast.expr | None) -> str | None:
    try:
        return None if node is None else ast.unparse(node)[:LONGEST]
    except RecursionError:
        return None
