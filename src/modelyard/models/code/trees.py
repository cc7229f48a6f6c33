"""Code of several files: how it is kept, and how it is checked, file by file, without running any of it.

A tree is one archive in the blob store, packed by ourselves (`sandbox.scratch.pack`) out of what a guest unpacked, and
a list of its files with their digests, a line each, which is the revision's text: two of them compare as sources do.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from modelyard.errors import ConflictError, InvalidParameterError
from modelyard.ids import Digest
from modelyard.source_code.check import Checker, CheckReport, CheckRequest, Finding
from modelyard.source_code.pins import KnownModules

if TYPE_CHECKING:
    from modelyard.models.definition import Definition

_CHUNK = 1024**2
_PART = r"(?!\.\.?(/|$))[A-Za-z0-9_.][A-Za-z0-9_. +@-]{0,199}"
_ROOT = re.compile(rf"{_PART}(/{_PART}){{0,49}}")
#: Problems that one answer tells.
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a piece of code."""

    digest: Digest
    #: A line a file: sha256, size in bytes, name.
    manifest: str
    #: The Python files: name -> text.
    sources: Mapping[str, str]


def read_tree(digest: Digest, archive: IO[bytes]) -> Tree:
    """The tree in an archive of our own making; ConflictError where a Python file is no UTF-8."""
    lines, sources = [], {}
    with tarfile.open(fileobj=archive, mode="r|") as opened:
        for member in opened:
            content = opened.extractfile(member)
            if content is None:
                raise ValueError(f"{member.name!r} is no file of a tree")
            hasher, kept = hashlib.sha256(), bytearray()
            while chunk := content.read(_CHUNK):
                hasher.update(chunk)
                if member.name.endswith(".py"):
                    kept += chunk
            lines.append(f"{hasher.hexdigest()} {member.size:>12} {member.name}\n")
            if member.name.endswith(".py"):
                sources[member.name] = _text(member.name, bytes(kept))
    return Tree(digest, "".join(lines), sources)


def _text(name: str, content: bytes) -> str:
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"The code is invalid.\n{name}, line {line}: it is not UTF-8; save the file as UTF-8."
        raise ConflictError(message) from None


def check_module_name(name: str, given: str) -> str:
    """The dotted name of a module given as `package.module` or `package/module.py`, from the root of the code."""
    dotted = given.removesuffix(".py").replace("/", ".") if "/" in given or given.endswith(".py") else given
    if len(dotted) > 500 or not all(part.isidentifier() and part.isascii() for part in dotted.split(".")):
        raise InvalidParameterError(
            f"{name} is {given[:100]!r}; it must be the module's path from the root of the code, as `package.module` "
            "or `package/module.py`."
        )
    return dotted


def check_root(given: str | None) -> str | None:
    """The folder in which the Python code begins; None for the whole repository."""
    if given is None or given in ("", ".", "./"):
        return None
    root = given.removeprefix("./").removesuffix("/")
    if not _ROOT.fullmatch(root):
        raise InvalidParameterError(
            f"pythonRoot is {given[:100]!r}; it must be a folder of the repository, as `services/model`."
        )
    return root


def check_tree(checker: Checker, definition: "Definition", tree: Tree, modules: KnownModules) -> CheckReport:
    """What there is to know about a tree that can run; ConflictError names file, line and column of what can't."""
    siblings = modules_of(tree.sources)
    train = definition.train_module_name or ""
    predict = definition.predict_module_name or train
    places = {role: _file_of(tree, role, name) for role, name in (("train", train), ("predict", predict))}
    errors, reports = [], []
    for name, source in tree.sources.items():
        request = CheckRequest(
            source=source,
            functions=_functions(definition, name, places),
            table_count=len(definition.training_input_tables),
            requirements=definition.package_requirements,
            modules=modules.names,
            contents=modules.contents,
            package=_package(name),
            siblings=siblings,
        )
        try:
            reports.append((name, checker.check(request)))
        except ConflictError as error:
            errors.append(f"{name}: {error.message}")
    if errors:
        more = f"\n... and problems in {len(errors) - _MOST_TOLD} more files." if len(errors) > _MOST_TOLD else ""
        raise ConflictError("\n".join(errors[:_MOST_TOLD]) + more)
    return _joined(reports)


def modules_of(names: Iterable[str]) -> list[str]:
    """All modules and packages, dotted, that files of those names make up; folders without `__init__.py` count."""
    found: set[str] = set()
    for name in names:
        parts = name.removesuffix(".py").split("/")
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found.update(".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return sorted(found)


def _functions(definition: "Definition", name: str, places: Mapping[str, str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    if name == places["train"]:
        found["train"] = definition.train_function_name
    if name == places["predict"]:
        found["predict"] = definition.predict_function_name
        found["predict_many"] = definition.predict_many_function_name
        found["initialize"] = definition.initialize_function_name
    return found


def _file_of(tree: Tree, role: str, module: str) -> str:
    if not module:
        raise InvalidParameterError(
            f"{role}ModuleName is missing: name the module of the code in which the {role} function stands."
        )
    path = module.replace(".", "/")
    for name in (f"{path}.py", f"{path}/__init__.py"):
        if name in tree.sources:
            return name
    close = ", ".join(sorted(tree.sources)[:10]) or "no Python file"
    raise ConflictError(f"{role}ModuleName is {module}, and the code holds no {path}.py. It holds {close}.")


def _package(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent.replace("/", ".")


def _joined(reports: list[tuple[str, CheckReport]]) -> CheckReport:
    """One report of many: warnings say which file they are about."""
    warnings = [
        Finding(each.line, each.column, f"{name}: {each.message}")
        for name, report in reports
        for each in report.warnings
    ]
    if len(warnings) > _MOST_TOLD:
        warnings = [*warnings[:_MOST_TOLD], Finding(0, 0, f"There are {len(warnings) - _MOST_TOLD} more warnings.")]

    def gathered(lists: Iterable[list[str]]) -> list[str]:
        return list(dict.fromkeys(each for one in lists for each in one))

    return CheckReport(
        warnings=warnings,
        inferred_requirements=gathered(report.inferred_requirements for _, report in reports),
        imports=sorted(set(gathered(report.imports for _, report in reports))),
        module_dependencies=gathered(report.module_dependencies for _, report in reports),
    )
