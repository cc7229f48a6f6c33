"""Requirement strings that come with a source: read, checked against what is allowed, and brought to one form.

Called by the actions before the check of the source. A requirement is a name, extras, version specifiers and a marker
(PEP 508), and no more: no URLs, no files, no options of an installer, nothing that spans lines.
Source: updatePythonModel, packageRequirements; the mapping from name to version is the older form of the same argument.
"""

import re
from collections.abc import Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from modelyard.errors import InvalidParameterError

#: Entries that one list may have.
MOST = 500
#: Characters that one entry may have.
LONGEST = 1000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_NAME_AND_EXTRAS = re.compile(r"\s*" + _NAME.pattern + r"\s*(\[[\w ,.-]*\])?\s*", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9.+!*_-]+", re.ASCII)
_OPERATOR = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>)")
_LOCATION = re.compile(r"://|@|^\s*(git|hg|svn|bzr)\+|^\s*[./~]|\\", re.ASCII)


def parse_requirements(given: Sequence[str] | Mapping[str, str | None] | None) -> list[str]:
    """The requirements in their normal form, in the caller's order, one for each name and marker.

    Raises InvalidParameterError naming the first one that can't be used.
    """
    if given is None:
        return []
    if isinstance(given, str | bytes) or not isinstance(given, Mapping | Sequence):
        raise InvalidParameterError("packageRequirements must be a list of strings such as ['numpy==1.2.3'].")
    if len(given) > MOST:
        raise InvalidParameterError(f"packageRequirements has {len(given)} entries; at most {MOST} are allowed.")
    texts = [_joined(name, version) for name, version in given.items()] if isinstance(given, Mapping) else list(given)
    return _merged([_parse(text) for text in texts])


def _joined(name: object, version: object) -> str:
    """One entry of the older mapping: `{"numpy": "1.2.3"}` means numpy==1.2.3, no version means any."""
    if not isinstance(name, str) or not isinstance(version, str | None):
        raise _refusal(f"{name}: {version}", "the mapping must lead from names to version strings")
    if not _NAME_AND_EXTRAS.fullmatch(name):
        raise _refusal(name, "the keys of the mapping must be names of packages")
    if not version or not version.strip():
        return name
    return f"{name}{version}" if _OPERATOR.match(version) else f"{name}=={version}"


def _parse(text: object) -> Requirement:
    if not isinstance(text, str):
        raise _refusal(text, "it must be a string such as 'numpy==1.2.3'")
    if len(text) > LONGEST:
        raise _refusal(text[:60] + "...", f"it has {len(text)} characters; at most {LONGEST} are allowed")
    if not text.isascii() or not text.isprintable():
        raise _refusal(text, "it holds a line break, a control character or a character outside ASCII")
    if text.lstrip().startswith("-"):
        raise _refusal(text, "options of an installer are not allowed; name packages only")
    if _LOCATION.search(text.partition(";")[0]):
        raise _refusal(text, "URLs, paths and version control are not allowed; name a package of the index")
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        reason = str(error).partition("\n")[0] or "it is nested too deeply"
        raise _refusal(text, f"it does not parse: {reason}") from error
    if requirement.url is not None or not _NAME.fullmatch(requirement.name):
        raise _refusal(text, "name a package of the index")
    if not all(_VERSION.fullmatch(each.version) for each in requirement.specifier):
        raise _refusal(text, "a version holds letters, digits and . + ! * _ - only")
    return requirement


def _merged(requirements: list[Requirement]) -> list[str]:
    merged: dict[tuple[str, str], Requirement] = {}
    for requirement in requirements:
        key = (canonicalize_name(requirement.name), str(requirement.marker or ""))
        before = merged.get(key)
        if before is None:
            merged[key] = requirement
            continue
        _refuse_contradiction(before, requirement)
        before.extras |= requirement.extras
        before.specifier &= requirement.specifier
    return list(map(str, merged.values()))


def _refuse_contradiction(before: Requirement, after: Requirement) -> None:
    """Two pins of one name that no version can meet; subtler contradictions are the resolver's to find."""
    both = before.specifier & after.specifier
    for pin in both:
        if pin.operator == "==" and not pin.version.endswith(".*") and not both.contains(pin.version, prereleases=True):
            raise _refusal(str(after), f"it contradicts {str(before)!r}")


def _refusal(given: object, reason: str) -> InvalidParameterError:
    return InvalidParameterError(f"The package requirement {str(given)[:200]!r} can't be used: {reason}.")
