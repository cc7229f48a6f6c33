"""uv, the tool that resolves and installs: how it is started, behind the sandbox's walls, and what it may touch.

Called by `resolving`, `building` and `bytecode`. A run of uv sees the system, the base Python, the configured local
indexes and one writable folder: the workspace. Ready-built wheels share a workspace, and with it a cache, since
nothing in them is executed; builds from source get a workspace and a cache that are thrown away after them.
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from uv import find_uv_bin

from modelyard.environments.failures import BuildFailed
from modelyard.environments.indexes import Indexes, find_indexes
from modelyard.sandbox import GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind

#: Flags of every call: no configuration files, no download of a Python, no bars.
FLAGS = ("--no-config", "--no-python-downloads", "--no-progress", "--color", "never")
#: Memory of one build, all its processes together.
MEMORY_GIB = 8
#: Processes and threads of one build.
PROCESSES = 1024
#: Characters of each stream that are kept.
OUTPUT_LIMIT = 16 * 1024**2


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
class Completed:
    """How a run ended: its exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Tool:
    """uv on this machine."""

    sandbox: Sandbox
    timeout_s: float
    environ: Mapping[str, str]

    @property
    def owner(self) -> int:
        """Whose the folders must be that uv writes; files of different owners don't mix."""
        owner = self.sandbox.owner
        return os.geteuid() if owner is None else owner

    def uv(
        self,
        arguments: Sequence[str],
        workspace: Workspace,
        *,
        network: bool = True,
        on_line: Callable[[str], None] | None = None,
        cancelled: Event | None = None,
    ) -> Completed:
        """Runs uv in a workspace. BuildFailed at a limit or when cancelled; other failures are the caller's."""
        uv = Path(find_uv_bin())
        indexes = find_indexes(self.environ)
        return self._run(
            [str(uv), *arguments, *FLAGS, *indexes.flags, "--cache-dir", str(workspace.cache)],
            writable=workspace.bound,
            readable=[uv, *indexes.readable, workspace.notes],
            starter=_starter(workspace, indexes),
            network=network and indexes.remote,
            output=_Output(on_line),
            cancelled=cancelled,
        )

    def python(self, arguments: Sequence[str], writable: Path, *, cancelled: Event | None = None) -> Completed:
        """Runs the base Python, without any environment's packages and without network, on one writable folder."""
        return self._run([str(base_python()), *arguments], writable=writable, cancelled=cancelled)

    def _run(
        self,
        argv: Sequence[str],
        *,
        writable: Path,
        readable: Sequence[Path] = (),
        starter: Sequence[str] = (),
        network: bool = False,
        output: "_Output | None" = None,
        cancelled: Event | None = None,
    ) -> Completed:
        output = output or _Output(None)
        limits = Limits(
            cores=os.cpu_count() or 1, memory_gib=MEMORY_GIB, timeout_s=self.timeout_s, processes=PROCESSES,
            network=network,
        )  # fmt: skip
        shown = {str(path): path for path in (*base_folders(), *readable)}
        try:
            error = self.sandbox.command(
                [*starter, *argv], limits, readonly=shown, writable={str(writable): writable},
                on_output=output.take, cancelled=cancelled, name="environment",
            )  # fmt: skip
        except (SandboxUnavailable, GuestNotStarted) as unavailable:
            raise BuildFailed(f"Environments can't be built here: {unavailable}") from unavailable
        status = 0 if error is None else _status(error, self.timeout_s)
        return Completed(status, output.text("stdout"), output.text("stderr"))


class _Output:
    """What a run prints: kept up to a limit, and its lines of stderr handed on."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._kept = {"stdout": "", "stderr": ""}
        self._partial = ""

    def take(self, stream: str, text: str) -> None:
        self._kept[stream] += text[: max(0, OUTPUT_LIMIT - len(self._kept[stream]))]
        if self._on_line is not None and stream == "stderr":
            *lines, self._partial = (self._partial + text)[-OUTPUT_LIMIT:].split("\n")
            for line in lines:
                self._on_line(line)

    def text(self, stream: str) -> str:
        return self._kept[stream]


def _status(error: GuestError, timeout_s: float) -> int:
    """1 for a program that ended by itself with an error; BuildFailed where something else ended it."""
    if error.kind == FailureKind.EXIT:
        return 1
    if error.kind == FailureKind.TIMEOUT:
        raise BuildFailed(f"The environment could not be built within {timeout_s:g} seconds.")
    if error.kind == FailureKind.CANCELLED:
        raise BuildFailed("The build of the environment was cancelled.")
    if error.kind == FailureKind.MEMORY:
        raise BuildFailed(f"The build of the environment used more memory than its limit of {MEMORY_GIB} GiB.")
    raise BuildFailed(f"The build of the environment was killed. {error.sentence}", temporary=True)


def _starter(workspace: Workspace, indexes: Indexes) -> Sequence[str]:
    """What sets uv's variables and becomes uv: from a file, since arguments, passwords too, show to all on the host."""
    fixed = {"UV_LINK_MODE": "hardlink", "UV_KEYRING_PROVIDER": "disabled", "TMPDIR": str(workspace.folder)}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in {**indexes.variables, **fixed}.items()]
    file = workspace.notes / "variables.sh"
    file.write_text("\n".join(lines), encoding="utf-8")
    return ["/bin/sh", "-c", '. "$0"; exec "$@"', str(file)]


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
