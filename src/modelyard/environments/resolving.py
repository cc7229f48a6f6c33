"""From requirements to a lock: uv's resolver, asked again with looser base packages where the pins stand in the way.

A resolution is kept under the digest of all that was asked, so that the same requirements give the same lock, without
network, until the environment is purged.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from threading import Event

from modelyard.environments import pins
from modelyard.environments.failures import ResolutionFailed
from modelyard.environments.lock import Lock, parse_lock, runtime
from modelyard.environments.pins import Plan
from modelyard.environments.reasons import is_conflict, resolution_failure
from modelyard.environments.tool import Completed, Tool, Workspace, base_python

#: Part of every resolution's digest: raised when the way of resolving changes.
GENERATION = 1


def resolution_digest(requirements: Sequence[str], base: str, *, wheels_only: bool) -> str:
    """The name under which the resolution of these (normalised) requirements is kept."""
    asked = json.dumps([GENERATION, list(requirements), base, *runtime(), wheels_only])
    return hashlib.sha256(asked.encode()).hexdigest()


def resolve(
    tool: Tool,
    workspaces: Callable[[bool], Workspace],
    requirements: Sequence[str],
    base: str,
    *,
    wheels_only: bool,
    cancelled: Event | None = None,
) -> Lock:
    """The lock for the (normalised) requirements and the base packages; ResolutionFailed with the last reason.

    `workspaces` gives the workspace for wheels (False) or for builds from source (True). Where these are allowed, they
    are tried only when wheels alone give no solution.
    """
    lock = _resolve(tool, workspaces, requirements, base, wheels_only, cancelled)
    versions = {package.name: package.version for package in lock.packages}
    if not pins.needs_older_numpy(requirements, versions):
        return lock
    try:
        return _resolve(tool, workspaces, [*requirements, "numpy<2"], base, wheels_only, cancelled)
    except ResolutionFailed:
        return lock


def _resolve(
    tool: Tool,
    workspaces: Callable[[bool], Workspace],
    requirements: Sequence[str],
    base: str,
    wheels_only: bool,
    cancelled: Event | None,
) -> Lock:
    done: Completed | None = None
    for from_source in (False,) if wheels_only else (False, True):
        for plan in _distinct(pins.plans(requirements, base)):
            done = _compile(tool, workspaces(from_source), plan, from_source, cancelled)
            if done.status == 0:
                return parse_lock(done.stdout)
            if not is_conflict(done.stderr):
                break
    assert done is not None
    raise resolution_failure(done.stderr, len(requirements), wheels_only=wheels_only)


def _compile(tool: Tool, workspace: Workspace, plan: Plan, from_source: bool, cancelled: Event | None) -> Completed:
    constraints = workspace.notes / "constraints.txt"
    constraints.write_text("\n".join(plan.constraints), encoding="utf-8")
    asked = workspace.notes / "requirements.in"
    asked.write_text("\n".join(plan.requirements), encoding="utf-8")
    arguments = [
        "pip",
        "compile",
        str(asked),
        "--quiet",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--no-sources",
    ]
    arguments += ["--python", str(base_python()), "--constraints", str(constraints)]
    if not from_source:
        arguments += ["--only-binary", ":all:"]
    return tool.uv(arguments, workspace, cancelled=cancelled)


def _distinct(plans: Iterator[Plan]) -> list[Plan]:
    return list(dict.fromkeys(plans))
