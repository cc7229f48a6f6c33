"""The names that a source binds at top level: what `from m import name` and `from m import *` of it may bring.

Read from its bytecode and its syntax tree in the checker's process, kept with a module's revision, and asked again when
something that imports the module is checked (`imports.py`, `names.py`).
"""

import ast
from collections.abc import Mapping
from types import CodeType

from modelyard.source_code.frames import ModuleNames
from modelyard.source_code.loads import bound_globals
from modelyard.source_code.statements import Statements

_MAKERS_OF_NAMES = frozenset({"exec", "globals", "vars", "locals", "setattr"})


def read_names(tree: ast.Module, code: CodeType, statements: Statements) -> ModuleNames:
    """What the source binds. Whatever could bind names that can't be read from it leaves it open."""
    names = bound_globals(code)
    return ModuleNames(
        names=sorted(names),
        exported=_exported(tree) if "__all__" in names else None,
        stars=_stars(statements),
        is_open="__getattr__" in names or _makes_names(tree),
    )


def brought_by_star(module: str, contents: Mapping[str, ModuleNames]) -> tuple[set[str], bool]:
    """The names that `from module import *` brings, and whether there may be others that nobody can tell."""
    found = contents.get(module)
    if found is None:
        return set(), True
    if found.exported is not None:
        return set(found.exported), False
    names, is_open = every_name(module, contents)
    return {name for name in names if not name.startswith("_")}, is_open or "__all__" in names


def every_name(module: str, contents: Mapping[str, ModuleNames]) -> tuple[set[str], bool]:
    """All names that the module has, its own star imports followed, and whether there may be others."""
    names: set[str] = set()
    waiting, seen, is_open = [module], set[str](), False
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        found = contents.get(each)
        if found is None:
            is_open = True
            continue
        is_first = each == module
        brought = found.names if is_first or found.exported is None else found.exported
        names.update(name for name in brought if is_first or found.exported is not None or not name.startswith("_"))
        is_open = is_open or found.is_open
        if is_first or found.exported is None:
            waiting.extend(found.stars)
    return names, is_open


def _exported(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`, where it is set once and to plain texts; None where nobody can tell."""
    values = [
        statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "__all__" for target in statement.targets)
    ]
    mentions = sum(isinstance(node, ast.Name) and node.id == "__all__" for node in ast.walk(tree))
    if len(values) != 1 or mentions != 1 or not isinstance(values[0], ast.List | ast.Tuple):
        return None
    items = [each.value for each in values[0].elts if isinstance(each, ast.Constant)]
    return [each for each in items if isinstance(each, str)] if len(items) == len(values[0].elts) else None


def _stars(statements: Statements) -> list[str]:
    found = [
        statement.module or ""
        for statement, place in statements
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*" and place.scope is None
    ]
    return list(dict.fromkeys(found))


def _makes_names(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS_OF_NAMES
        for node in ast.walk(tree)
    )
