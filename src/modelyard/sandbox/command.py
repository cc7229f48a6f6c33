"""One native program behind the sandbox's walls: for tools such as uv that are no guest but meet hostile bytes.

`environments` calls `run_command`. The program sees the system read-only, the folders that it is given under their own
paths, and nothing else of the machine; it has no capability and, where the platform runs as root, a user id of its
own, different from that of guests. Its whole process tree ends with it, with its time limit, or with the caller.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import IO

from modelyard.sandbox.bubblewrap import GUEST_ID, Bubblewrap
from modelyard.sandbox.seccomp import filter_program

#: Who a command is when the platform runs as root: nobody's neighbour, so that guests (65534) can't write what it owns.
COMMAND_UID = 65533
#: Bytes of each stream that are kept.
OUTPUT_LIMIT = 1024**2
#: Processes that a command may have.
PROCESSES = 4096
#: Parts of /etc that name resolution and TLS need; no accounts, no keys.
_SYSTEM_FILES = (
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf",
    "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/alternatives", "/etc/localtime",
)  # fmt: skip
#: Folders of the root that are there already.
_MADE = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "dev", "proc", "tmp")
#: Gives up what is left of root and sets limits, then becomes the command. Runs before any byte from outside is read.
_BOOTSTRAP = """
import os, resource, sys
uid, processes = int(sys.argv[1]), int(sys.argv[2])
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if uid:
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
os.execv(sys.argv[3], sys.argv[3:])
"""


class Ending(StrEnum):
    """How a command ended."""

    #: By itself; `status` is its exit status.
    EXIT = "exit"
    #: Its time limit passed.
    TIMEOUT = "timeout"
    #: The caller's event was set.
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and what of the machine it gets."""

    argv: Sequence[str]
    #: All of its environment variables.
    env: Mapping[str, str]
    #: A Python on this machine that starts it; its folders must be among `readable`.
    python: Path
    writable: Sequence[Path] = ()
    readable: Sequence[Path] = ()
    network: bool = False
    timeout_s: float = 600.0
    input: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """What came of a command."""

    ending: Ending
    status: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class _Streams:
    on_line: Callable[[str], None] | None
    kept: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    _partial: bytes = b""

    def take(self, name: str, chunk: bytes) -> None:
        room = OUTPUT_LIMIT - len(self.kept[name])
        self.kept[name] += chunk[: max(0, room)]
        if name == "stderr" and self.on_line is not None:
            *lines, self._partial = (self._partial + chunk)[-OUTPUT_LIMIT:].split(b"\n")
            for line in lines:
                self.on_line(line.decode(errors="replace"))

    def text(self, name: str) -> str:
        return self.kept[name].decode(errors="replace")


def owner(bubblewrap: Bubblewrap) -> int:
    """The user id that a command's writable folders must belong to."""
    return COMMAND_UID if bubblewrap.privileged else os.geteuid()


def run_command(
    command: Command,
    bubblewrap: Bubblewrap | None,
    *,
    on_line: Callable[[str], None] | None = None,
    cancelled: Event | None = None,
) -> Completed:
    """Runs the command to its end; `on_line` gets each line of stderr as it comes.

    Without `bubblewrap` it runs bare, with the same variables: for operators who switched the sandbox off.
    """
    with contextlib.ExitStack() as stack:
        descriptors: list[int] = []
        argv = list(command.argv)
        if bubblewrap is not None:
            argv = [*_walls(command, bubblewrap, stack, descriptors), *argv]
        process = subprocess.Popen(
            argv,
            env=dict(command.env),
            stdin=stack.enter_context(_memory(command.input.encode())),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
            umask=0o022,
        )
        return _watch(process, command.timeout_s, _Streams(on_line), cancelled)


def _walls(command: Command, bubblewrap: Bubblewrap, stack: contextlib.ExitStack, descriptors: list[int]) -> list[str]:
    walls = [str(bubblewrap.binary), "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    walls += ["--die-with-parent", "--new-session", "--hostname", "build", "--cap-drop", "ALL"]
    if not command.network:
        walls.append("--unshare-net")
    if bubblewrap.privileged:
        walls += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        walls += ["--unshare-user", "--disable-userns", "--uid", str(GUEST_ID), "--gid", str(GUEST_ID)]
    walls += [*_system(), *_parents([*command.readable, *command.writable])]
    for folder in command.readable:
        walls += ["--ro-bind-try", str(folder), str(folder)]
    for folder in command.writable:
        walls += ["--bind", str(folder), str(folder)]
    program = filter_program()
    if program is not None:
        file = stack.enter_context(_memory(program))
        descriptors.append(file.fileno())
        walls += ["--seccomp", str(file.fileno())]
    uid = str(COMMAND_UID if bubblewrap.privileged else 0)
    bootstrap = [str(command.python), "-I", "-S", "-c", _BOOTSTRAP, uid, str(PROCESSES)]
    return [*walls, "--remount-ro", "/", "--chdir", "/tmp", "--", *bootstrap]


def _parents(paths: Sequence[Path]) -> list[str]:
    """Makes the folders above each path, readable by all: bubblewrap itself would leave them to root alone."""
    parents = dict.fromkeys(parent for path in paths for parent in reversed(path.parents))
    mine = [parent for parent in parents if len(parent.parts) > 2 or parent.name not in _MADE]
    return [part for parent in mine if parent.name for part in ("--perms", "0755", "--dir", str(parent))]


def _system() -> Iterator[str]:
    yield from ("--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp")
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        folder = Path("/", name)
        if folder.is_symlink():
            yield from ("--symlink", os.readlink(folder), str(folder))
        elif folder.is_dir():
            yield from ("--ro-bind", str(folder), str(folder))
    yield from ("--perms", "0755", "--dir", "/etc")
    for path in _SYSTEM_FILES:
        yield from ("--ro-bind-try", path, path)


@contextlib.contextmanager
def _memory(content: bytes) -> Iterator[IO[bytes]]:
    with os.fdopen(os.memfd_create("modelyard"), "r+b") as file:
        file.write(content)
        file.seek(0)
        yield file


def _watch(
    process: "subprocess.Popen[bytes]", timeout_s: float, streams: _Streams, cancelled: Event | None
) -> Completed:
    deadline = time.monotonic() + timeout_s
    ending = Ending.EXIT
    with selectors.DefaultSelector() as selector, process:
        assert process.stdout is not None and process.stderr is not None
        selector.register(process.stdout, selectors.EVENT_READ, "stdout")
        selector.register(process.stderr, selectors.EVENT_READ, "stderr")
        try:
            while selector.get_map() and ending is Ending.EXIT:
                _pump(selector, streams, min(0.2, max(0.0, deadline - time.monotonic())))
                if time.monotonic() >= deadline:
                    ending = Ending.TIMEOUT
                elif cancelled is not None and cancelled.is_set():
                    ending = Ending.CANCELLED
        finally:
            with contextlib.suppress(ProcessLookupError):
                if ending is not Ending.EXIT or selector.get_map():
                    os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    return Completed(ending, status, streams.text("stdout"), streams.text("stderr"))


def _pump(selector: selectors.BaseSelector, streams: _Streams, wait_s: float) -> None:
    for key, _ in selector.select(wait_s):
        chunk = os.read(key.fd, 65536)
        if chunk:
            streams.take(key.data, chunk)
        else:
            selector.unregister(key.fileobj)
