"""Imports that nothing provides: neither the base packages, nor the requirements, the standard library or modules.

One that the curated table knows becomes an inferred requirement; one that is guarded is only doubtful.
"""

import ast
import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from modelyard.source_code import distributions
from modelyard.source_code.exports import every_name
from modelyard.source_code.frames import CheckRequest, Finding
from modelyard.source_code.parsing import Lines
from modelyard.source_code.siblings import is_sibling, sibling_error
from modelyard.source_code.statements import Guard, Statements

#: Errors that come with a suggestion; finding one compares hundreds of names, and no more errors are shown anyway.
SUGGESTED = 20
_OURS = frozenset({"__main__", "__future__"})


class Imports(NamedTuple):
    """What a source imports, and what follows from it."""

    errors: list[Finding]
    warnings: list[Finding]
    inferred: list[str]
    #: Top-level names, sorted.
    names: list[str]
    #: The organisation's modules among them, in the order of the source.
    modules: list[str]


class _Import(NamedTuple):
    node: ast.Import | ast.ImportFrom
    #: Dotted names that may be modules: `from google.cloud import storage` gives google.cloud.storage.
    dotted: tuple[str, ...]
    guard: Guard

    @property
    def root(self) -> str:
        return self.dotted[0].partition(".")[0]


def check_imports(statements: Statements, request: CheckRequest, lines: Lines) -> Imports:
    """Every import of the source, wherever it stands, held against what will be there."""
    found = Imports([], [], [], [], [])
    supply = distributions.Supply(request.requirements)
    names: set[str] = set()
    for each in _imports(statements):
        if request.package is not None and (each.root == "" or is_sibling(each.root, request)):
            error = sibling_error(each.node, request.package, request.siblings)
            if error is not None:
                (found.warnings if each.guard else found.errors).append(lines.at(each.node, error))
            continue
        if each.root == "":
            message = "Relative imports can't work: the source is one file, not part of a package. Import by full name."
            found.errors.append(lines.at(each.node, message))
            continue
        names.add(each.root)
        _judge(each, request, supply, lines, found)
    found.names.extend(sorted(names))
    return found


def _judge(each: _Import, request: CheckRequest, supply: distributions.Supply, lines: Lines, found: Imports) -> None:
    root = each.root
    if root in sys.stdlib_module_names or root in _OURS:
        return
    if root in request.modules:
        if root not in found.modules:
            found.modules.append(root)
        _check_members(each, request, lines, found)
        return
    if any(map(supply.provides, each.dotted)):
        return
    distribution = next(filter(None, map(distributions.distribution_of, each.dotted)), None)
    if each.guard & Guard.CAUGHT:
        hint = distribution or root
        message = f"`{root}` is not installed, and the import error is caught. If you want it, require `{hint}`."
        found.warnings.append(lines.at(each.node, message))
    elif distribution:
        _infer(each, distribution, lines, found)
    else:
        _unknown(each, supply, request, lines, found)


def _check_members(each: _Import, request: CheckRequest, lines: Lines, found: Imports) -> None:
    """Refuses `from m import name` of a module that has no such name."""
    node, root = each.node, each.root
    dotted = next((one for one in each.dotted[:1] if "." in one), None)
    if dotted is not None:
        found.errors.append(lines.at(node, f"`{root}` is a module of one file: there is no `{dotted}` in it."))
    if dotted is not None or root not in request.contents or not isinstance(node, ast.ImportFrom):
        return
    names, is_open = every_name(root, request.contents)
    for alias in [] if is_open else node.names:
        if alias.name == "*" or alias.name in names or (alias.name[:2] == alias.name[-2:] == "__"):
            continue
        close = difflib.get_close_matches(alias.name[:100], [name for name in names if len(name) < 200], 2, 0.6)
        meant = f" Did you mean {_list(close)}?" if close else ""
        message = f"The module `{root}` defines no `{alias.name}`.{meant}"
        (found.warnings if each.guard else found.errors).append(lines.at(alias, message))


def _infer(each: _Import, distribution: str, lines: Lines, found: Imports) -> None:
    if distribution in found.inferred:
        return
    found.inferred.append(distribution)
    message = (
        f"`{each.root}` is imported but not among packageRequirements: `{distribution}` is added to the environment. "
        f"Require it yourself to choose its version."
    )
    found.warnings.append(lines.at(each.node, message))


def _unknown(each: _Import, supply: distributions.Supply, request: CheckRequest, lines: Lines, found: Imports) -> None:
    root = each.root
    nothing = f"Nothing provides `{root}`: no base package, requirement, module, nor the standard library."
    if supply.unknown:
        message = f"It is not known whether {_list(supply.unknown)} provides `{root}`. If not, require what does."
        found.warnings.append(lines.at(each.node, message))
    elif each.guard & Guard.CONDITION:
        message = f"{nothing} It is imported under a condition; if that comes true, the import fails."
        found.warnings.append(lines.at(each.node, message))
    elif request.is_module and not _close(root, request.modules):
        message = f"{nothing} Whatever imports this module must require what provides it."
        found.warnings.append(lines.at(each.node, message))
    else:
        found.errors.append(lines.at(each.node, f"{nothing} {_advice(root, supply, request.modules, found)}"))


def _advice(root: str, supply: distributions.Supply, modules: Sequence[str], found: Imports) -> str:
    absent = supply.excluded.get(root)
    if absent:
        return f"The marker of the requirement `{absent}` leaves it out here."
    if len(found.errors) >= SUGGESTED:
        return ""
    close = _close(root, modules)
    meant = f"Did you mean {_list(close)}? If not, add" if close else "Add"
    return f"{meant} the distribution that provides it to packageRequirements, for example `{root.replace('_', '-')}`."


def _close(root: str, modules: Sequence[str]) -> list[str]:
    known = [*distributions.KNOWN_NAMES, *modules, *(name for name in sys.stdlib_module_names if name[0] != "_")]
    return difflib.get_close_matches(root[:100], known, 2, 0.8)


def _list(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names[:3])


def _imports(statements: Statements) -> Iterator[_Import]:
    for statement, place in statements:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        if place.guard & (Guard.TYPES | Guard.MAIN):
            continue
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield _Import(statement, (alias.name,), place.guard)
        elif statement.level:
            yield _Import(statement, ("",), place.guard)
        else:
            module = statement.module or ""
            members = [f"{module}.{alias.name}" for alias in statement.names]
            yield _Import(statement, (module, *members), place.guard)
