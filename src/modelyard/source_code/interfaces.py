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
    """Keys that it reads from the parameter -> whether it needs them, as those that every call reads as `query["x"]`.

    Not needed are those behind a condition, behind a `return` that stands in one, tried for, or asked for (`in`).
    """
    needed: dict[str, bool] = {}
    asked_for: set[str] = set()
    for node, is_certain in _walk(function):
        key = _key(node, query)
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and len(key.value) <= LONGEST:
            needed[key.value] = needed.get(key.value, False) or (is_certain and isinstance(node, ast.Subscript))
            if isinstance(node, ast.Compare):
                asked_for.add(key.value)
    yield from [(name, is_needed and name not in asked_for) for name, is_needed in needed.items()][:MOST]


def _key(node: ast.AST, query: str) -> ast.expr | None:
    """What `query[...]`, `query.get(...)` and `... in query` name, if the node is one of them."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Load()) if name == query:
            return node.slice
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[key, *_]) if name == query:
            return key
        case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=name)]) if name == query:
            return key
    return None


def _walk(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, bool]]:
    """All that is in the function, in the source's order, and whether every call comes there, as far as can be seen."""
    waiting: list[tuple[ast.AST, bool]] = [(each, True) for each in reversed(function.body)]
    may_have_left = False
    while waiting:
        node, is_certain = waiting.pop()
        yield node, is_certain and not may_have_left
        may_have_left = may_have_left or (isinstance(node, ast.Return) and not is_certain)
        branches = _branches(node)
        children = [(each, is_certain and id(each) not in branches) for each in ast.iter_child_nodes(node)]
        waiting += reversed(children)


def _branches(node: ast.AST) -> set[int]:
    """Those of its children, by identity, that are not come to each time that it is."""
    match node:
        case ast.If() | ast.While():
            found: list[ast.AST] = [*node.body, *node.orelse]
        case ast.Try():
            found = [*node.body, *node.handlers, *node.orelse]
        case ast.IfExp():
            found = [node.body, node.orelse]
        case ast.BoolOp():
            found = [*node.values[1:]]
        case ast.Match():
            found = [*node.cases]
        case _:
            found = []
    return {id(each) for each in found}


def _text(node: ast.expr | None) -> str | None:
    try:
        return None if node is None else ast.unparse(node)[:LONGEST]
    except RecursionError:
        return None
