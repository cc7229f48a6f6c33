"""What the user's code imports before it does anything else, told to the host so that the next guest has it ready.

Only the imports at the head of a source count: up to there it has done nothing yet, set no variable and drawn no
number, so that it can't tell whether they were made before it began. What a pickled model needs counts as well, where
the source does nothing but import and define.
"""

import ast
import os
import pickle
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .streams import flush_output

#: Names that are told at most.
_NAMES = 64
_NAME_LENGTH = 200
#: What was imported when the guest had the base packages and nothing beside them.
_base: set[str] = set()


def note_base() -> None:
    """What is imported now is in every guest, and needs no word."""
    _base.update(sys.modules)


def prepare(names: Iterable[str]) -> None:
    """Imports what the code that this guest waits for will, without a word on its output.

    What that raises is left to the caller, whose guest is then of no use: a module may be half imported.
    """
    flush_output()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        for name in names:
            __import__(name)
    finally:
        flush_output()
        for stream, copy in enumerate(kept, start=1):
            os.dup2(copy, stream)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)


class Unpickler(pickle.Unpickler):
    """One that keeps the names of the modules that it was the first to need, in order."""

    def __init__(self, file: Any, *, buffers: Any = None) -> None:
        super().__init__(file, buffers=buffers)
        self.modules: dict[str, None] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The object of that name."""
        if module not in sys.modules:
            self.modules[module] = None
        return super().find_class(module, name)


def first_imports(message: Mapping[str, Any], role: str, unpickled: Iterable[str] = ()) -> list[str]:
    """Modules of the environment that the code of a message imports at its head, then those of its pickled model."""
    try:
        text, own, is_all = _source(message, role)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever there is to say was said when it was executed
            body = ast.parse(text).body
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    told = dict.fromkeys(_head(body, own))
    if is_all and all(_is_quiet(each, own) for each in body):
        told.update(dict.fromkeys(name for name in unpickled if name.partition(".")[0] not in own))
    return [name for name in told if _is_news(name)][:_NAMES]


def _source(message: Mapping[str, Any], role: str) -> tuple[str, Collection[str], bool]:
    """What is executed first, the top names of the user's own modules, and whether nothing is executed beside it."""
    own = {"modelyard_source", "__main__", *(message.get("modules") or {})}
    tree = message.get("tree")
    if tree is None:
        return message["source"], own, True
    folder = tree.get("folder") or os.path.abspath(".modelyard/code")
    name = tree["train" if role == "train" else "predict"]
    path = os.path.join(folder, *name.split("."))
    path = f"{path}.py" if os.path.exists(f"{path}.py") else os.path.join(path, "__init__.py")
    packages = name.split(".")[:-1]
    if packages:  # their own code comes before that of the module
        path = os.path.join(folder, packages[0], "__init__.py")
    with open(path, encoding="utf-8") as file:
        return file.read(), own | {each.partition(".")[0] for each in os.listdir(folder)}, not packages


def _head(body: Iterable[ast.stmt], own: Collection[str]) -> Iterable[str]:
    """What is imported before anything else is done."""
    for number, each in enumerate(body):
        if number == 0 and isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
            continue
        if not isinstance(each, ast.Import | ast.ImportFrom) or not _is_foreign(each, own):
            return
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif each.module is not None:
            yield each.module
            yield from (f"{each.module}.{alias.name}" for alias in each.names)


def _is_foreign(statement: ast.Import | ast.ImportFrom, own: Collection[str]) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.level == 0 and (statement.module or "").partition(".")[0] not in own
    return all(alias.name.partition(".")[0] not in own for alias in statement.names)


def _is_quiet(statement: ast.stmt, own: Collection[str]) -> bool:
    """Whether the statement does nothing but import, define, or name a constant."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return _is_foreign(statement, own)
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return not statement.decorator_list
    if isinstance(statement, ast.ClassDef):
        return not statement.decorator_list and all(_is_quiet(each, own) for each in statement.body)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
        return statement.value is None or _is_constant(statement.value)
    return isinstance(statement, ast.Pass)


def _is_constant(value: ast.expr) -> bool:
    return all(isinstance(each, _CONSTANT) for each in ast.walk(value))


_CONSTANT = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.UnaryOp, ast.unaryop, ast.expr_context)


def _is_news(name: str) -> bool:
    """Whether it is a module that was imported, and not one of the base packages or of Python's own."""
    return (
        name in sys.modules
        and name not in _base
        and name.partition(".")[0] not in sys.stdlib_module_names
        and len(name) <= _NAME_LENGTH
    )
