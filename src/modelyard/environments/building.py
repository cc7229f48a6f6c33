"""From a lock to an environment: a relocatable virtual environment filled by uv, hashes checked, links, no copies.

`environment.py` calls `build` while it holds the build lock of the environment's id. The result lies in the
workspace; moving it to its place is the caller's last step.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Event

from modelyard.environments.lock import Lock
from modelyard.environments.reasons import build_failure, clean, lacks_wheel
from modelyard.environments.tool import Completed, Tool, Workspace, base_python

Progress = Callable[[str], None]


def build(
    tool: Tool,
    workspaces: Callable[[bool], Workspace],
    lock: Lock,
    *,
    wheels_only: bool,
    on_progress: Progress,
    cancelled: Event | None = None,
) -> Path:
    """The prefix of a new environment with exactly the locked packages; BuildFailed with uv's reason.

    First from what is cached, then from the indexes, then, where that is allowed, with builds from source.
    """
    done = _install(tool, workspaces(False), lock, "--offline", "--only-binary", ":all:", cancelled=cancelled)
    if done.status != 0:
        on_progress(f"fetching {len(lock.packages)} packages")
        done = _install(
            tool, workspaces(False), lock, "--only-binary", ":all:", on_progress=on_progress, cancelled=cancelled
        )
    if done.status == 0:
        return workspaces(False).folder / "prefix"
    if wheels_only or not lacks_wheel(done.stderr):
        raise build_failure(done.stderr)
    on_progress("building packages from source")
    done = _install(tool, workspaces(True), lock, on_progress=on_progress, cancelled=cancelled)
    if done.status != 0:
        raise build_failure(done.stderr)
    return workspaces(True).folder / "prefix"


def _install(
    tool: Tool,
    workspace: Workspace,
    lock: Lock,
    *flags: str,
    on_progress: Progress | None = None,
    cancelled: Event | None = None,
) -> Completed:
    prefix = workspace.folder / "prefix"
    offline = "--offline" in flags
    made = tool.uv(
        ["venv", str(prefix), "--relocatable", "--clear", "--python", str(base_python()), "--quiet"],
        workspace,
        network=False,
        cancelled=cancelled,
    )
    if made.status != 0:
        raise build_failure(made.stderr)
    file = workspace.notes / "lock.txt"
    file.write_text(str(lock), encoding="utf-8")
    return tool.uv(
        ["pip", "sync", str(file), "--python", str(prefix / "bin" / "python"), "--require-hashes", *flags],
        workspace,
        network=not offline,
        on_line=None if on_progress is None else _speaker(on_progress),
        cancelled=cancelled,
    )


def _speaker(on_progress: Progress) -> Callable[[str], None]:
    def speak(line: str) -> None:
        words = clean(line)
        if words.startswith(("Downloading", "Building", "Built", "Prepared", "Installed")):
            on_progress(words)

    return speak
