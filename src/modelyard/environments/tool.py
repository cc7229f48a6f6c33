"""uv, the tool that resolves and installs: how it is started, behind the sandbox's walls, and what it may touch.

Called by `resolving`, `building` and `bytecode`. A run of uv sees the system, the base Python, the configured local
indexes and one writable folder: the workspace. Ready-built wheels share a workspace, and with it a cache, since
nothing in them is executed; builds from source get a workspace and a cache that are thrown away after them.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from uv import find_uv_bin

from modelyard.environments.failures import BuildFailed
from modelyard.environments.indexes import Indexes, find_indexes
from modelyard.sandbox.bubblewrap import Bubblewrap
from modelyard.sandbox.command import Command, Completed, Ending, owner, run_command

#: Flags of every call: no configuration files, no download of a Python, no bars.
FLAGS = ("--no-config", "--no-python-downloads", "--no-progress", "--color", "never")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders of one build. All below `bound` may be written by what runs inside, so nothing there is trusted."""

    #: The one folder that is writable inside.
    bound: Path
    cache: Path
    #: Where the environment is made.
    folder: Path
    #: What the platform writes for uv to read: the lock, the constraints. Read-only inside.
    notes: Path


@dataclass(frozen=True, slots=True)
class Tool:
    """uv on this machine."""

    #: The walls; None runs bare.
    bubblewrap: Bubblewrap | None
    timeout_s: float
    environ: Mapping[str, str]

    @property
    def owner(self) -> int:
        """Whose the folders must be that uv writes; files of different owners don't mix."""
        return os.geteuid() if self.bubblewrap is None else owner(self.bubblewrap)

    def uv(
        self,
        arguments: Sequence[str],
        workspace: Workspace,
        *,
        network: bool = True,
        text: str = "",
        on_line: Callable[[str], None] | None = None,
        cancelled: Event | None = None,
    ) -> Completed:
        """Runs uv in a workspace. BuildFailed at its time limit or when cancelled; other failures are the caller's."""
        uv = Path(find_uv_bin())
        indexes = find_indexes(self.environ)
        return self._run(
            [str(uv), *arguments, *FLAGS, "--cache-dir", str(workspace.cache)],
            workspace.bound,
            env=_variables(indexes, workspace),
            readable=[uv, *indexes.readable, workspace.notes],
            network=network and indexes.remote,
            text=text,
            on_line=on_line,
            cancelled=cancelled,
        )

    def python(self, arguments: Sequence[str], writable: Path, *, readable: Sequence[Path] = ()) -> Completed:
        """Runs the base Python, without any environment's packages and without network, on one writable folder."""
        argv = [str(base_python()), *arguments]
        return self._run(argv, writable, env=_plain(), readable=readable, network=False)

    def _run(
        self,
        argv: Sequence[str],
        writable: Path,
        *,
        env: Mapping[str, str],
        readable: Sequence[Path],
        network: bool,
        text: str = "",
        on_line: Callable[[str], None] | None = None,
        cancelled: Event | None = None,
    ) -> Completed:
        command = Command(
            argv, env, base_python(), writable=[writable], readable=[*base_folders(), *readable],
            network=network, timeout_s=self.timeout_s, input=text,
        )  # fmt: skip
        done = run_command(command, self.bubblewrap, on_line=on_line, cancelled=cancelled)
        if done.ending is Ending.TIMEOUT:
            raise BuildFailed(f"The environment could not be built within {self.timeout_s:g} seconds.")
        if done.ending is Ending.CANCELLED:
            raise BuildFailed("The build of the environment was cancelled.")
        if done.status < 0 or done.status in (137, 139):
            raise BuildFailed("The build of the environment was killed.", temporary=True)
        return done


def base_python() -> Path:
    """The Python that environments are made from: the one that runs the platform, outside of any environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def base_folders() -> list[Path]:
    """Read-only folders that the base Python needs."""
    named = (Path(sys.base_prefix), Path(sys.base_exec_prefix), base_python().parent.parent)
    found = {folder for path in named for folder in (path, path.resolve())}
    return sorted(
        folder for folder in found if not folder.is_relative_to("/usr") or folder.is_relative_to("/usr/local")
    )


def _plain() -> dict[str, str]:
    path = "/usr/local/bin:/usr/bin:/bin"
    return {"PATH": path, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC"}  # noqa: S108 - a tmpfs inside


def _variables(indexes: Indexes, workspace: Workspace) -> dict[str, str]:
    fixed = {"UV_LINK_MODE": "hardlink", "TMPDIR": str(workspace.folder), "UV_KEYRING_PROVIDER": "disabled"}
    return {**_plain(), **indexes.variables, **fixed}
