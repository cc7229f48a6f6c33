"""The sandbox's front: starts guests behind walls, runs one task in one of them, keeps a few warm.

The agent calls it, for training, feature groups, imports, SQL and replicas; `environments` builds packages in it.
A guest serves one run and is then killed. Where no walls can be had, starting raises `SandboxUnavailable` unless the
operator has turned the sandbox off.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from modelyard.sandbox import bubblewrap, cgroups, failures, seccomp
from modelyard.sandbox.bubblewrap import GUEST_FOLDER, GUEST_ID, WORK_FOLDER, Walls
from modelyard.sandbox.channel import Channel
from modelyard.sandbox.failures import FailureKind, GuestError, GuestNotStarted, SandboxUnavailable
from modelyard.sandbox.imports import CODES, Imports
from modelyard.sandbox.kinds import KeptKinds, Kind, kind_of
from modelyard.sandbox.launch import Launched, Launcher
from modelyard.sandbox.learnt import Learnt
from modelyard.sandbox.limits import Interpreter, Limits, Usage, machine_memory_bytes
from modelyard.sandbox.output import Listener
from modelyard.sandbox.process import Guest, StepListener
from modelyard.sandbox.report import SandboxReport, describe
from modelyard.sandbox.scratch import ScratchRoot
from modelyard.sandbox.warm import BOOT_TIMEOUT_S, WarmGuests
from modelyard.sandbox.watchdog import Watchdog
from modelyard.settings import Settings

#: What a guest imports before it takes a task; a package that the environment lacks is passed over.
PRELOAD = ("numpy", "pandas", "pyarrow")
_GUEST_SOURCE = Path(__file__).parent / "guest"
_PASSWD = b"root:x:0:0::/:/bin/false\nguest:x:65534:65534::" + WORK_FOLDER.encode() + b":/bin/sh\n"
_GROUP = b"root:x:0:\nguest:x:65534:\n"

log = logging.getLogger("modelyard.sandbox")
Collected = TypeVar("Collected")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Collected]):
    """How a run in a guest went: a result or an error, what `collect` brought back, and what was used."""

    result: dict[str, Any] | None
    error: GuestError | None
    collected: Collected | None
    usage: Usage


class Sandbox:
    """Starts and ends guests. One per process; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._launcher = Launcher()
        self._guests: dict[int, Guest] = {}
        self._ready: SandboxReport | None = None
        self._bubblewrap: bubblewrap.Bubblewrap | None = None
        self._cgroups: cgroups.Cgroups | None = None
        self._folders: ScratchRoot | None = None
        self._closed = False
        learnt = Learnt(settings.home / "learnt", CODES + 1)
        self._imports = Imports(learnt)
        self._warm = WarmGuests(settings.warm_guests, self._launch_kind, KeptKinds(learnt))
        self._watchdog = Watchdog(self._all_guests, walled=settings.sandbox != "off")

    # -- what there is here -------------------------------------------------------------------------------------

    def report(self) -> SandboxReport:
        """What works on this machine, why the rest does not, and how to mend it. Looked at once."""
        with self._lock:
            if self._ready is None:
                wanted = self._settings.sandbox != "off"
                self._bubblewrap, reasons = bubblewrap.find() if wanted else (None, [])
                self._cgroups = cgroups.find()
                self._ready = describe(self._bubblewrap, self._cgroups, reasons, self._settings.sandbox)
                if not wanted:
                    log.warning(
                        "THE SANDBOX IS OFF: user code runs as this very user and can read all that this user can, "
                        "the database and every key among it. Use it for your own code only."
                    )
            return self._ready

    # -- guests -------------------------------------------------------------------------------------------------

    def start(
        self, interpreter: Interpreter, limits: Limits, *, preload: Sequence[str] = PRELOAD,
        on_output: Listener | None = None, name: str = "guest", readonly: Mapping[str, Path] | None = None,
        code: Sequence[str] = (), recurs: bool = False,
    ) -> Guest:  # fmt: skip
        """A booted guest that waits for a task: a warm one if there is one, else a fresh one.

        `code` are names under which its imports may have been learnt, the best first: it may have made these already.
        For what `recurs` guests are kept waiting from the second time on.
        Raises SandboxUnavailable where there are no walls, GuestNotStarted if its Python does not come up.
        """
        kind = kind_of(interpreter, limits, tuple(preload), self._imports_of(code, interpreter))
        if readonly:
            guest = self._boot(kind, limits, name, readonly)
        else:
            guest = self._warm.get(kind, limits, name, recurs=recurs)
        guest.name = name
        guest.adopt(limits, on_output)
        return guest

    def run(
        self, interpreter: Interpreter, limits: Limits, task: str, message: dict[str, Any], *,
        fds: Sequence[int] = (), on_output: Listener | None = None, cancelled: threading.Event | None = None,
        collect: Callable[[Guest, dict[str, Any]], Collected] | None = None,
        preload: Sequence[str] = PRELOAD, name: str = "guest", on_steps: StepListener | None = None,
        code: Sequence[str] = (),
    ) -> Outcome[Collected]:  # fmt: skip
        """One task in one guest, which is dead and gone afterwards. `code` as for `start`; its imports are learnt, and
        what has one recurs.

        `collect(guest, result)` runs after a result, when the guest's processes are dead and its files lie still.
        """
        guest = self.start(
            interpreter, limits, preload=preload, on_output=on_output, name=name, code=code, recurs=bool(code)
        )
        try:
            reply = guest.call(task, message, fds, cancelled=cancelled, on_steps=on_steps)
            guest.stop()
            if reply.result is not None:
                self.learn(code, interpreter, reply.result)
            collected = collect(guest, reply.result) if collect is not None and reply.result is not None else None
            usage = guest.usage
        finally:
            guest.kill()
            self._forget_dead()
        if guest.output_failure is not None:
            raise guest.output_failure
        return Outcome(reply.result, reply.error, collected, usage)

    def learn(self, code: Sequence[str], interpreter: Interpreter, result: Mapping[str, object]) -> None:
        """Takes note of what a guest told of the imports of its code, under its first name; see `imports.py`."""
        if code:
            self._imports.learn(code[0], interpreter, result.get("imports"))

    def warm(
        self, interpreter: Interpreter, limits: Limits | None = None, *, preload: Sequence[str] = PRELOAD,
        code: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Keeps guests of this environment waiting from now on, for runs of the same cores, network, GPUs and code."""
        limits = limits or Limits()
        if self.report().usable:
            self._warm.keep(kind_of(interpreter, limits, tuple(preload), self._imports_of(code, interpreter)), limits)

    def resume(self) -> None:
        """Keeps guests waiting for those for whom they waited when the platform was last ended."""
        if self.report().usable:
            self._warm.resume()

    def cool(self, interpreter: Interpreter) -> None:
        """Ends the waiting guests of an environment, which is about to be removed."""
        self._warm.drop(interpreter)
        self._forget_dead()

    def command(
        self, command: Sequence[str], limits: Limits, *, readonly: Mapping[str, Path] | None = None,
        writable: Mapping[str, Path] | None = None, environment: Mapping[str, str] | None = None,
        on_output: Listener | None = None, cancelled: threading.Event | None = None, name: str = "command",
    ) -> GuestError | None:  # fmt: skip
        """Runs a program behind the walls with the given folders; None when it ended with status 0.

        `readonly` and `writable` map paths inside to paths of the host. As root the program runs as user 65534, which
        must own what it writes (`owner`).
        """
        interpreter = own_interpreter()
        view = _View(dict(readonly or {}), dict(writable or {}), dict(environment or {}))
        guest = self._launch(interpreter, limits, name, ["--exec", *command], view)
        try:
            guest.adopt(limits, on_output)
            deadline = None if limits.timeout_s is None else time.monotonic() + limits.timeout_s
            while (ended := guest.wait(0.1)) is None:
                if cancelled is not None and cancelled.is_set():
                    guest.end(failures.cancelled_error())
                elif deadline is not None and time.monotonic() > deadline:
                    guest.end(failures.timeout_error(limits.timeout_s or 0))
            guest.stop()
        finally:
            guest.kill()
            self._forget_dead()
        return None if ended.kind == FailureKind.EXIT and guest.status == 0 else ended

    @property
    def owner(self) -> int | None:
        """The user id that must own folders which a guest may write; None where it is our own."""
        self.report()
        return GUEST_ID if self._bubblewrap is not None and self._bubblewrap.privileged else None

    def close(self) -> None:
        """Ends all guests and removes what they left."""
        with self._lock:
            self._closed = True
        self._warm.close()
        for guest in self._all_guests():
            guest.kill()
        self._watchdog.close()
        if self._folders is not None:
            self._folders.close()

    # -- how a guest comes to be --------------------------------------------------------------------------------

    def _imports_of(self, code: Sequence[str], interpreter: Interpreter) -> tuple[str, ...]:
        return next((names for each in code if (names := self._imports.of(each, interpreter))), ())

    def _boot(self, kind: Kind, limits: Limits, name: str, readonly: Mapping[str, Path]) -> Guest:
        guest = self._launch_kind(kind.plain, limits, name, readonly)
        guest.await_ready(BOOT_TIMEOUT_S)
        return guest

    def _launch_kind(self, kind: Kind, limits: Limits, name: str, readonly: Mapping[str, Path] | None = None) -> Guest:
        options = ["--preload", ",".join(kind.preload), "--imports", ",".join(kind.imports)]
        return self._launch(kind.interpreter, limits, name, options, _View(dict(readonly or {}), {}, {}))

    def _launch(self, interpreter: Interpreter, limits: Limits, name: str, options: list[str], view: "_View") -> Guest:
        self._check_usable()
        self._check_trusted(interpreter)
        self._forget_dead()
        folder = self._scratch_root().make(self.owner)
        group = self._cgroups.make() if self._cgroups is not None and self._cgroups.limits_memory() else None
        if group is not None:
            group.limit(limits)
        ours, theirs = socket.socketpair()
        try:
            launched = self._spawn(interpreter, limits, folder, options, view, theirs, group)
        finally:
            theirs.close()
        guest = Guest(name, launched, Channel(ours), limits, folder, group)
        with self._lock:
            self._guests[id(guest)] = guest
            closed = self._closed
        if closed:
            guest.kill()
            raise SandboxUnavailable("the sandbox is being closed")
        self._watchdog.start()
        return guest

    def _spawn(
        self, interpreter: Interpreter, limits: Limits, folder: Path, options: list[str], view: "_View",
        connection: socket.socket, group: cgroups.Group | None,
    ) -> Launched:  # fmt: skip
        home = str(folder) if self._bubblewrap is None else WORK_FOLDER
        environment = limits.environment(interpreter.python, home) | view.environment
        joins = group.add if group is not None else _join_nothing
        # All that -I means but for -E: the guest's variables are ours alone, and PYTHONHASHSEED is one of them.
        boot = [str(interpreter.python), "-s", "-P", "-S"]
        options = ["--socket", str(connection.fileno()), *options]
        if self._bubblewrap is None:
            command = [*boot, str(_GUEST_SOURCE / "boot.py"), *options]
            return self._launcher.start(
                command, (connection.fileno(),), walled=False, joins=joins, environment=environment, cwd=str(folder)
            )
        with contextlib.ExitStack() as stack:
            data = [_memory_file(stack, bytes_) for bytes_ in (_PASSWD, _GROUP, seccomp.filter_program() or b"")]
            walls = Walls(
                limits, interpreter, _GUEST_SOURCE, folder, view.readonly, view.writable, environment,
                _tmpfs_bytes(limits), data[0], data[1],
            )  # fmt: skip
            filtered = ["--seccomp", str(data[2])] if seccomp.filter_program() else []
            drop = ["--drop", str(GUEST_ID)] if self._bubblewrap.privileged else []
            command = [
                *self._bubblewrap.command(walls), *filtered, "--", *boot, f"{GUEST_FOLDER}/boot.py", *drop,
                "--folder", WORK_FOLDER, *options,
            ]  # fmt: skip
            fds = (connection.fileno(), *(data if filtered else data[:2]))
            return self._launcher.start(command, fds, walled=True, joins=joins, environment={}, cwd="/")

    def _check_usable(self) -> None:
        report = self.report()
        if not report.usable:
            raise SandboxUnavailable(report.advice)

    def _check_trusted(self, interpreter: Interpreter) -> None:
        """As root the guest's first steps are taken with root's name: only by a Python that no build could replace."""
        python = interpreter.python.resolve()
        if not python.exists():
            raise GuestNotStarted("the environment's Python is not there any more")
        if self.owner is not None and python.stat().st_uid != 0:
            raise SandboxUnavailable(f"the Python {python.name} of this environment does not belong to the superuser")

    def _scratch_root(self) -> ScratchRoot:
        with self._lock:
            if self._folders is None:
                self._folders = ScratchRoot(self._settings.home / "scratch")
            return self._folders

    def _all_guests(self) -> list[Guest]:
        with self._lock:
            return list(self._guests.values())

    def _forget_dead(self) -> None:
        with self._lock:
            self._guests = {key: guest for key, guest in self._guests.items() if guest.alive}


@dataclass(frozen=True, slots=True)
class _View:
    """What a guest sees beside its environment."""

    readonly: dict[str, Path]
    writable: dict[str, Path]
    environment: dict[str, str]


def own_interpreter() -> Interpreter:
    """The Python that this process runs on."""
    prefixes = dict.fromkeys(Path(prefix) for prefix in (sys.prefix, sys.base_prefix))
    return Interpreter(Path(sys.executable), tuple(prefixes))


def _join_nothing(pid: int) -> None:
    """Leaves the process where it is."""


def _memory_file(stack: contextlib.ExitStack, data: bytes) -> int:
    handle = os.memfd_create("modelyard")
    stack.callback(os.close, handle)
    os.write(handle, data)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _tmpfs_bytes(limits: Limits) -> int:
    """Size of /tmp and /dev/shm each: half of the guest's memory, since they live in it."""
    return max(16 * 1024**2, min(limits.memory_bytes, machine_memory_bytes()) // 2)
