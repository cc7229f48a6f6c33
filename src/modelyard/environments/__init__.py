"""Environments: locked, content-addressed sets of packages, shared read-only by the guests that need them.

Requirement strings are resolved by uv to a **lock** (exact versions with hashes). The lock, the Python version and
the platform give the environment's id; it is built once, in the sandbox, beside its final place, and moved there in
one step, so that a half-made environment is never seen. Resolutions are kept too: the same requirements need no
network the second time. Base packages (`base.txt`) are in every environment.

Reading order: `environment.py` (the part that others use), `pins.py`, `resolving.py`, `lock.py`, `building.py`,
`bytecode.py`, `store.py`, `tool.py`. Neighbours: `sandbox` runs uv; `models`, `datasets` and `feature_groups` ask.
"""

from modelyard.environments.environment import Environment, Environments, Kept, read_environments
from modelyard.environments.failures import (
    BuildFailed,
    EnvironmentFailure,
    EnvironmentGone,
    EnvironmentInUse,
    ResolutionFailed,
)

__all__ = [
    "BuildFailed",
    "Environment",
    "EnvironmentFailure",
    "EnvironmentGone",
    "EnvironmentInUse",
    "Environments",
    "Kept",
    "ResolutionFailed",
    "read_environments",
]
