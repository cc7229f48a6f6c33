"""Undefined names, found by pyflakes: those that can't resolve when the source runs, and those that are doubtful.

Doubtful are names that a star import may bring, names in `__all__`, names in annotations that are never evaluated, and
every name of a source that makes names at run time (`exec`, `globals()`).
"""

import ast
import builtins
import sys
from collections import Counter
from collections.abc import Iterator, Mapping

from pyflakes import checker, messages

from modelyard.source_code.exports import brought_by_star
from modelyard.source_code.frames import Finding, ModuleNames
from modelyard.source_code.idioms import import_for
from modelyard.source_code.parsing import Lines
from modelyard.source_code.statements import Guard, Statements

#: Frames that pyflakes may stack; a source that compiles under the default limit stays well below it.
DEPTH = 12_000
_MAKERS_OF_NAMES = frozenset({"exec", "globals", "vars", "locals"})


class _Reader(checker.Checker):  # type: ignore[misc]
    """pyflakes, keeping the messages about undefined names alone."""

    #: Asked at every node, for messages about `from __future__` that are not kept; found out anew each time it costs a
    #: sixth of all.
    futuresAllowed = False  # noqa: N815  pyflakes' own name

    def __init__(self, tree: ast.Module, contents: Mapping[str, ModuleNames]) -> None:
        self._contents = contents
        #: (node, name, doubt): doubt is "" where the name is certainly undefined when the node is evaluated.
        self.found: list[tuple[ast.expr, str, str]] = []
        super().__init__(tree, withDoctest=False)

    def report(self, kind: type, *args: object, **_: object) -> None:
        """Called by pyflakes for all that it sees."""
        match kind:
            case messages.UndefinedName:
                node, name = args
                doubt = "it stands in an annotation that is not evaluated" if self._is_unevaluated() else ""
            case messages.ImportStarUsage:
                node, name, origin = args
                of_star = self._doubt_of_star(str(name), str(origin))
                if of_star is None:
                    return
                doubt = of_star
            case messages.UndefinedLocal:
                node, name, *_rest = args
                doubt = "it is assigned further down in the same function, which makes it local there"
            case messages.UndefinedExport:
                node, name = args
                doubt = "only `__all__` names it"
            case _:
                return
        if isinstance(name, str):
            self.found.append((node, name, doubt))  # type: ignore[arg-type]

    def differentForks(self, *_: object) -> bool:  # noqa: N802  pyflakes' own name
        """Asked for the sake of redefinitions, which are not reported here; answering takes quadratic time."""
        return True

    def _doubt_of_star(self, name: str, origins: str) -> str | None:
        """None where a star import is known to bring the name, "" where none can, else the doubt."""
        found = {origin: brought_by_star(origin, self._contents) for origin in origins.split(", ")}
        if any(name in names for names, _ in found.values()):
            return None
        possible = [origin for origin, (_, is_open) in found.items() if is_open]
        return f"`from {', '.join(possible)} import *` may bring it" if possible else ""

    def _is_unevaluated(self) -> bool:
        state = self._in_annotation
        return bool(state == checker.AnnotationState.STRING or (state and self.annotationsFutureEnabled))


def find_undefined(
    tree: ast.Module, statements: Statements, lines: Lines, contents: Mapping[str, ModuleNames]
) -> tuple[list[Finding], list[Finding]]:
    """Errors and warnings about names that nothing defines; `contents` are the names in the organisation's modules."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(DEPTH)
    try:
        reader = _Reader(tree, contents)
        found = [*reader.found, *_types_only(tree, statements)] if "TYPE_CHECKING" in lines.source else reader.found
        dynamic = bool(found) and _makes_names(tree)
    except (RecursionError, MemoryError):
        return [], [Finding(0, 0, "The source is nested too deeply to look for undefined names.")]
    except Exception as error:  # noqa: BLE001  pyflakes stumbles over some odd sources; that is no fault of theirs
        return [], [Finding(0, 0, f"Undefined names could not be looked for ({type(error).__name__}).")]
    finally:
        sys.setrecursionlimit(limit)
    return _judge(found, lines, dynamic)


def _judge(found: list[tuple[ast.expr, str, str]], lines: Lines, dynamic: bool) -> tuple[list[Finding], list[Finding]]:
    errors, doubts = [], []
    times = Counter(name for _, name, _ in found)
    for node, name, doubt in found:
        count = times.pop(name, 0)
        if not count:
            continue
        why = doubt or ("the source makes names at run time, so it may be one of them" if dynamic else "")
        if why:
            doubts.append(lines.at(node, f"The name `{name}` may be undefined: {why}."))
        else:
            also = f" (here and in {count - 1} more places)" if count > 1 else ""
            errors.append(lines.at(node, f"The name `{name}` is not defined{also}. {_remedy(name)}"))
    return errors, doubts


def _remedy(name: str) -> str:
    statement = import_for(name)
    if statement:
        return f"Add `{statement}` inside the function or at the top of the source."
    close = [each for each in dir(builtins) if each.lower() == name.lower() and not each.startswith("_")]
    if close:
        return f"Did you mean `{close[0]}`?"
    return "Define it, import it (inside the function or at the top of the source), or correct its spelling."


def _makes_names(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS_OF_NAMES
        for node in ast.walk(tree)
    )


def _types_only(tree: ast.Module, statements: Statements) -> Iterator[tuple[ast.expr, str, str]]:
    """Loads of names that only an `if TYPE_CHECKING` block at top level binds, outside unevaluated annotations."""
    typed: set[str] = set()
    real: set[str] = set()
    for statement, place in statements:
        if place.scope is None:
            (typed if Guard.TYPES in place.guard else real).update(_bound(statement))
    only = typed - real
    if not only:
        return
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    for node in _evaluated(tree, lazy):
        if isinstance(node, ast.Name) and node.id in only and isinstance(node.ctx, ast.Load):
            yield node, node.id, ""


def _bound(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.Import() | ast.ImportFrom():
            yield from ((alias.asname or alias.name.split(".")[0]) for alias in statement.names)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Assign():
            for target in statement.targets:
                yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def _evaluated(tree: ast.Module, lazy: bool) -> Iterator[ast.AST]:
    """Every node that is evaluated at run time; `lazy`: annotations are not, as `__future__` can arrange."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            stack.extend(node.orelse)
            continue
        for field, value in ast.iter_fields(node):
            if lazy and field in ("annotation", "returns"):
                continue
            children = value if isinstance(value, list) else [value]
            stack.extend(child for child in children if isinstance(child, ast.AST))


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
