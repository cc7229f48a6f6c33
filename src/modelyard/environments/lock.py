"""A lock: exact versions with the hashes of their files, and nothing else; its digest is the environment's identity.

The text is the format of pip's requirement files, so that a lock can be used outside of the platform as well:
`pip install --require-hashes -r lock.txt`. It names no index, so no credential can be in it.
"""

import hashlib
import json
import platform
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from modelyard.environments.failures import BuildFailed
from modelyard.ids import Digest

_PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)(?:\s*;\s*([^\\]+?))?\s*")
_HASH = re.compile(r"--hash=([a-z0-9]+:[0-9a-f]{32,128})")
#: Largest lock that is read.
LONGEST = 8 * 1024**2


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One locked package."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        head = f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")
        return " \\\n".join([head, *(f"    --hash={value}" for value in self.hashes)])


@dataclass(frozen=True, slots=True)
class Lock:
    """Locked packages by name, each with at least one hash."""

    packages: tuple[Package, ...]

    def __str__(self) -> str:
        return "".join(f"{package}\n" for package in self.packages)

    @property
    def id(self) -> Digest:
        """sha256 over the lock, the Python version and the platform."""
        identity = json.dumps([str(self), *runtime()], separators=(",", ":"))
        return Digest(hashlib.sha256(identity.encode()).hexdigest())


def runtime() -> Sequence[str]:
    """Python's implementation and version and the platform that environments are made for."""
    return platform.python_implementation(), platform.python_version(), sysconfig.get_platform()


def parse_lock(text: str) -> Lock:
    """The lock in a text, in one order and spelling; BuildFailed where a line is not `name==version` with hashes."""
    if len(text) > LONGEST:
        raise BuildFailed(f"The lock has {len(text)} characters, more than the {LONGEST} allowed.")
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = [line for raw in joined.splitlines() if (line := raw.partition("#")[0].strip())]
    return Lock(tuple(sorted(_package(line) for line in lines)))


def _package(line: str) -> Package:
    head, _, tail = line.partition("--hash=")
    hashes = f"--hash={tail}".split() if tail else []
    match = _PACKAGE.fullmatch(head.strip())
    if match is None or not hashes or not all(_HASH.fullmatch(value) for value in hashes):
        raise BuildFailed(f"The lock can't be used: expected 'name==version --hash=sha256:...', found {line[:100]!r}.")
    name, version, marker = match.groups()
    digests = tuple(sorted({value.removeprefix("--hash=") for value in hashes}))
    return Package(canonicalize_name(name), version, (marker or "").strip(), digests)
