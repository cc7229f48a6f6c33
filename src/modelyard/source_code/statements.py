"""Where a statement stands: at top level or inside what, and under which conditions it runs.

Used by `functions.py` and `imports.py`. Only statements are walked, never expressions, and never recursively, so that a
long source costs little and a deep one can't overflow a stack.
"""

import ast
from collections.abc import Iterable, Iterator
from enum import IntFlag
from typing import NamedTuple

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
ScopeNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_PLAIN = frozenset(
    {ast.Expr, ast.Return, ast.AugAssign, ast.Pass, ast.Raise, ast.Assert, ast.Delete, ast.Continue, ast.Break}
)
_FLAT = frozenset({ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal})
_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


class Guard(IntFlag):
    """What stands between a statement and its being run."""

    #: Runs whenever its scope runs.
    NONE = 0
    #: An `except` clause around it takes a failing import.
    CAUGHT = 1
    #: Under an `if`, a `while`, a `match`, or in an `except` clause: may or may not run.
    CONDITION = 2
    #: Under `if TYPE_CHECKING`: never runs.
    TYPES = 4
    #: Under `if __name__ == "__main__"`: never runs here, since the source is imported as a module.
    MAIN = 8


#: What `walk` gives.
Statements = list[tuple[ast.stmt, "Place"]]


class Place(NamedTuple):
    """The innermost function or class around a statement (None: top level), and its guards."""

    scope: ScopeNode | None
    guard: Guard


def walk(tree: ast.Module) -> Statements:
    """The statements that open blocks, bind names or import, each with its place, in the order of the source.

    The others (expressions, returns and the like) are left out: a source of a megabyte has a hundred thousand of them.
    """
    found: Statements = []
    top = Place(None, Guard.NONE)
    stack: Statements = [(statement, top) for statement in reversed(tree.body)]
    while stack:
        pair = stack.pop()
        kind = type(pair[0])
        if kind in _PLAIN:
            continue
        found.append(pair)
        if kind in _FLAT:
            continue
        for body, inner in reversed(list(_blocks(*pair))):
            stack.extend([(child, inner) for child in reversed(body) if type(child) not in _PLAIN])
    return found


def _blocks(statement: ast.stmt, place: Place) -> Iterator[tuple[list[ast.stmt], Place]]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            # Whatever catches an import error around a definition does not do so when its body runs later.
            yield statement.body, Place(statement, place.guard & ~Guard.CAUGHT if place.guard else place.guard)
        case ast.If():
            then, otherwise = _branches(statement.test)
            yield statement.body, _guarded(place, then)
            yield statement.orelse, _guarded(place, otherwise)
        case ast.Try() | ast.TryStar():
            caught = any(_takes_import_error(handler.type) for handler in statement.handlers)
            yield statement.body, _guarded(place, Guard.CAUGHT if caught else Guard.NONE)
            for handler in statement.handlers:
                yield handler.body, _guarded(place, Guard.CONDITION)
            yield statement.orelse, _guarded(place, Guard.CONDITION)
            yield statement.finalbody, place
        case ast.With() | ast.AsyncWith():
            yield statement.body, _guarded(place, _suppression(statement.items))
        case ast.For() | ast.AsyncFor():
            yield statement.body, place
            yield statement.orelse, _guarded(place, Guard.CONDITION)
        case ast.While():
            yield statement.body, _guarded(place, Guard.CONDITION)
            yield statement.orelse, _guarded(place, Guard.CONDITION)
        case ast.Match():
            for case in statement.cases:
                yield case.body, _guarded(place, Guard.CONDITION)


def _guarded(place: Place, guard: Guard) -> Place:
    return Place(place.scope, place.guard | guard)


def _branches(test: ast.expr) -> tuple[Guard, Guard]:
    """The guards of the two branches of an `if`."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        then, otherwise = _branches_of_constant(test.operand)
        return otherwise, then
    return _branches_of_constant(test)


def _branches_of_constant(test: ast.expr) -> tuple[Guard, Guard]:
    if _last_name(test) == "TYPE_CHECKING":
        return Guard.TYPES, Guard.NONE
    if _is_main_test(test):
        return Guard.MAIN, Guard.NONE
    return Guard.CONDITION, Guard.CONDITION


def _is_main_test(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
        case ast.Compare(left=ast.Constant(value="__main__"), ops=[ast.Eq()], comparators=[ast.Name(id="__name__")]):
            return True
    return False


def _takes_import_error(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds: Iterable[ast.expr] = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(_last_name(each) in _IMPORT_ERRORS for each in kinds)


def _suppression(items: list[ast.withitem]) -> Guard:
    for item in items:
        call = item.context_expr
        if not isinstance(call, ast.Call) or _last_name(call.func) != "suppress":
            continue
        if any(map(_takes_import_error, call.args)):
            return Guard.CAUGHT
    return Guard.NONE


def _last_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None
