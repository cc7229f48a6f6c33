"""What is asked of the resolver: the user's requirements together with the base packages.

The base packages come with exact versions. A requirement of the user's takes the place of its package's pin; where
the other pins then contradict it they are loosened, as little as needed: `plans` gives the attempts in order.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from modelyard.environments.failures import ResolutionFailed

#: What the platform's own code inside a guest imports; no environment is without them.
RUNTIME = ("pandas", "numpy", "pyarrow", "cloudpickle", "msgspec")
#: The line of `base.txt` after which pins only bind what the packages above bring along.
CARRIED = "# carried along"
#: Packages whose releases before the one named were compiled against numpy 1, without saying so in what they require.
COMPILED_FOR_NUMPY_1 = {"pandas": "2.2.2", "scipy": "1.13", "scikit-learn": "1.4.2", "pyarrow": "16.1"}
#: More requirements than anyone means.
MOST_REQUIREMENTS = 1000

_SAFE = re.compile(r"[^\n\r\x00\\]+")


@dataclass(frozen=True, slots=True)
class Plan:
    """One attempt at a resolution: what must be there, and what binds versions without asking for the package."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]


def base_text() -> str:
    """The text of `base.txt`."""
    return files("modelyard.environments").joinpath("base.txt").read_text(encoding="utf-8")


def base_pins(base: str) -> tuple[dict[str, str], dict[str, str]]:
    """Base packages and what they carry along, each a name with its pinned requirement."""
    wanted, _, carried = base.partition(CARRIED)
    return _pins(wanted), _pins(carried)


def normalise(requirements: Sequence[str]) -> list[str]:
    """The requirements in one spelling and order; ResolutionFailed names one that is none.

    Only names with versions, extras and markers: no options, links, files or repositories, whatever they look like.
    """
    if len(requirements) > MOST_REQUIREMENTS:
        raise ResolutionFailed(f"{len(requirements)} requirements are more than the {MOST_REQUIREMENTS} allowed.")
    return sorted({_normalised(text) for text in requirements})


def plans(requirements: Sequence[str], base: str) -> Iterator[Plan]:
    """Attempts in order: all pins but the user's, base packages by name, the runtime's packages by name."""
    packages, carried = base_pins(base)
    named = {canonicalize_name(Requirement(text).name) for text in requirements}
    rest = {name: pin for name, pin in packages.items() if name not in named}
    bound = tuple(pin for name, pin in carried.items() if name not in named)
    yield Plan((*requirements, *rest.values()), bound)
    if requirements:
        yield Plan((*requirements, *rest), ())
        yield Plan((*requirements, *(name for name in rest if name in RUNTIME)), ())


def needs_older_numpy(requirements: Sequence[str], versions: Mapping[str, str]) -> bool:
    """Whether numpy 2 stands beside a release that can't be imported with it, and the user left numpy open."""
    if any(Requirement(text).name == "numpy" for text in requirements) or Version(versions.get("numpy", "0")).major < 2:
        return False
    limits = {name: Version(text) for name, text in COMPILED_FOR_NUMPY_1.items() if name in versions}
    return any(Version(versions[name]) < limit for name, limit in limits.items())


def _normalised(text: str) -> str:
    shown = repr(text if len(text) <= 100 else text[:100] + "...")
    if text.lstrip().startswith("-") or not _SAFE.fullmatch(text.strip()):
        raise ResolutionFailed(f"{shown} is not a requirement: expected a package name, as in 'scikit-learn>=1.5'.")
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise ResolutionFailed(f"{shown} is not a requirement: expected a name, as in 'scikit-learn>=1.5'.") from error
    if requirement.url is not None:
        raise ResolutionFailed(f"{shown} names a location; packages come from the configured indexes, by name.")
    requirement.name = canonicalize_name(requirement.name)
    return str(requirement)


def _pins(text: str) -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {canonicalize_name(Requirement(line).name): line for line in lines if line}
