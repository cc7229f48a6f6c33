"""The functions that a source is registered for: are they there, and can they be called as they will be?

`train(df_0, ..., df_n)` gets its tables positionally and `training_config` by keyword where it names it;
`predict(model, query)` may ask for the tables as well; `predict_many(model, queries)`; `initialize(model)`; and a
feature group's `function` gets its tables positionally, or keywords where its bindings name them.
Source: updatePythonModel, Arguments.
"""

import ast
import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from modelyard.source_code.exports import brought_by_star
from modelyard.source_code.frames import CheckRequest, Finding
from modelyard.source_code.parsing import Lines
from modelyard.source_code.signatures import Call, misfit
from modelyard.source_code.statements import FunctionNode, Guard, Statements

_NEVER = Guard.TYPES | Guard.MAIN
#: Role -> how messages call it.
ROLES = {
    "train": "train function",
    "predict": "predict function",
    "predict_many": "predict-many function",
    "initialize": "initialize function",
    "function": "function",
    "callable": "function",
}


class Binding(NamedTuple):
    """What a top-level name was bound to last."""

    node: ast.stmt
    value: FunctionNode | ast.ClassDef | ast.expr | None
    conditional: bool


class TopLevel(NamedTuple):
    """The names that a source binds at top level, the functions inside of something, and its star imports."""

    bindings: dict[str, Binding]
    nested: dict[str, FunctionNode]
    stars: list[ast.ImportFrom]


Findings = tuple[list[Finding], list[Finding]]


def check_functions(statements: Statements, request: CheckRequest, lines: Lines) -> Findings:
    """Errors and warnings about the functions that the request names."""
    top = _top_level(statements)
    errors: list[Finding] = []
    doubts: list[Finding] = []
    for role, name in request.functions.items():
        if name is not None:
            wrong, doubtful = _check(role, name, top, request, lines)
            errors += wrong
            doubts += doubtful
    return errors, doubts


def _check(role: str, name: str, top: TopLevel, request: CheckRequest, lines: Lines) -> Findings:
    binding = top.bindings.get(name)
    if binding is None:
        return _missing(role, name, top, request, lines)
    resolved = _resolve(binding, top)
    doubts = _doubts(role, name, binding, resolved, lines)
    if not isinstance(resolved.value, FunctionNode | ast.Lambda):
        return [], doubts
    function = resolved.value
    flaw = _kind_flaw(role, name, function)
    if flaw is None and role != "callable":
        flaw = misfit(name, function.args, _calls(role, request))
    if flaw is None:
        return [], doubts
    finding = lines.at(function, flaw)
    if isinstance(function, FunctionNode) and function.decorator_list:
        return [], [*doubts, lines.at(function, f"{flaw} Its decorator may change that.")]
    return [finding], doubts


def _resolve(binding: Binding, top: TopLevel) -> Binding:
    """Follows `train = _train` to the function meant."""
    for _ in range(10):
        if not isinstance(binding.value, ast.Name) or binding.value.id not in top.bindings:
            break
        binding = top.bindings[binding.value.id]
    return binding


def _doubts(role: str, name: str, binding: Binding, resolved: Binding, lines: Lines) -> list[Finding]:
    said = ROLES.get(role, role)
    if isinstance(resolved.value, FunctionNode):
        if binding is not resolved:
            alias = resolved.value.name
            return [
                lines.at(binding.node, f"The {said} `{name}` is another name for `{alias}`; name `{alias}` itself.")
            ]
        if binding.conditional:
            return [lines.at(binding.node, f"The {said} `{name}` is defined under a condition, so it may be missing.")]
        return []
    if isinstance(resolved.value, ast.Lambda):
        return []
    message = f"The {said} `{name}` is not defined with `def` in this source, so how it can be called was not checked."
    return [lines.at(binding.node, message)]


def _missing(role: str, name: str, top: TopLevel, request: CheckRequest, lines: Lines) -> Findings:
    said = ROLES.get(role, role)
    origin = next((each for each in top.stars if _may_bring(each, name, request)), None)
    if origin is not None:
        return _from_star(said, name, origin, lines)
    if name in top.nested:
        message = f"The {said} `{name}` is not at top level: move it out of what it is nested in."
        return [lines.at(top.nested[name], message)], []
    defined = {key: each for key, each in top.bindings.items() if isinstance(each.value, FunctionNode)}
    message = f"The {said} `{name}` is not in the source code. "
    close = difflib.get_close_matches(name[:200], [key for key in list(defined)[:2000] if len(key) < 200], 3, 0.6)
    if close:
        message += f"Did you mean {_list(close)}?"
        return [lines.at(defined[close[0]].node, message)], []
    if not defined:
        message += f"It defines no function at top level: add `def {name}(...)`."
    else:
        message += f"Define it at top level, or name one of those that are there: {_list(list(defined)[:10])}."
    return [lines.whole(message)], []


def _may_bring(star: ast.ImportFrom, name: str, request: CheckRequest) -> bool:
    names, is_open = brought_by_star(star.module or "", request.contents)
    return is_open or name in names


def _from_star(said: str, name: str, star: ast.ImportFrom, lines: Lines) -> Findings:
    message = f"The {said} `{name}` is not in this source; `from {star.module or '.'} import *` may bring it."
    return [], [lines.at(star, message)]


def _kind_flaw(role: str, name: str, function: FunctionNode | ast.Lambda) -> str | None:
    said = ROLES.get(role, role)
    if isinstance(function, ast.AsyncFunctionDef):
        return f"The {said} `{name}` is asynchronous, and nobody awaits it: write `def {name}` without `async`."
    if isinstance(function, FunctionNode) and _yields(function):
        return f"The {said} `{name}` is a generator (it uses `yield`), so calling it runs nothing: `return` the result."
    return None


def _yields(function: FunctionNode) -> bool:
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, FunctionNode | ast.ClassDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))
    return False


def _calls(role: str, request: CheckRequest) -> Sequence[Call]:
    """The ways in which a role may be called; a function must fit one of them."""
    tables = request.table_count
    match role:
        case "train":
            return [Call(tables, ("training_config",), (), f"the {_tables(tables)} of trainingInputTables")]
        case "predict":
            plain = Call(2, (), (), "(model, query)")
            return [plain, Call(2 + tables, (), (), "(model, query) and its tables", exact=True)] if tables else [plain]
        case "predict_many":
            return [Call(2, (), (), "(model, queries)")]
        case "initialize":
            return [Call(1, (), (), "(model)")]
    keywords = tuple(request.keywords)
    return [Call(tables, (), keywords, f"its {_tables(tables)}" + (f" and {_list(keywords)}" if keywords else ""))]


def _tables(count: int) -> str:
    return "1 table" if count == 1 else f"{count} tables"


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _top_level(statements: Statements) -> TopLevel:
    top = TopLevel({}, {}, [])
    for statement, place in statements:
        if place.guard and place.guard & _NEVER:
            continue
        if place.scope is not None:
            if isinstance(statement, FunctionNode):
                top.nested.setdefault(statement.name, statement)
            continue
        conditional = bool(place.guard and place.guard & Guard.CONDITION)
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            top.stars.append(statement)
        for name, value in _bound(statement):
            top.bindings[name] = Binding(statement, value, conditional)
    return top


Bound = Iterable[tuple[str, FunctionNode | ast.ClassDef | ast.expr | None]]


def _bound(statement: ast.stmt) -> Bound:
    """The names that a statement binds, each with its value where that is plain to see."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):  # by far the commonest, so first
            return ((name, value),)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return ((name, statement),)
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [(alias.asname or alias.name.partition(".")[0], None) for alias in aliases]
        case ast.Assign(targets=targets, value=value):
            return [each for target in targets for each in _assigned(target, value)]
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return ((name, value),)
        case ast.For(target=target):
            return _assigned(target, None)
        case ast.With(items=items):
            targets = [item.optional_vars for item in items if item.optional_vars is not None]
            return [each for target in targets for each in _assigned(target, None)]
    return ()


def _assigned(target: ast.expr, value: ast.expr | None) -> Bound:
    single = value if isinstance(target, ast.Name) else None
    return [(node.id, single) for node in ast.walk(target) if isinstance(node, ast.Name)]
