"""Starting processes for the sandbox, from one thread that lives as long as the platform's process.

bubblewrap's `--die-with-parent` asks the kernel for a signal when the *thread* that spawned it ends, not the process:
spawned from a short-lived worker thread, guests would die with it. So every launch goes through `Launcher`.
"""

import contextlib
import fcntl
import json
import os
import queue
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import IO

_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
#: In place of a handle that was given back.
CLOSED = -1


@dataclass(slots=True)
class Launched:
    """A started process: bubblewrap's own, or in bare mode the guest itself."""

    process: subprocess.Popen[bytes]
    stdout: int
    stderr: int
    #: The first process inside the walls, seen from outside: its end is the end of all. The guest itself if bare.
    init: int
    #: Stable handle on `init`.
    init_handle: int
    #: Whether there are walls around it.
    walled: bool
    #: Nobody uses the handle while it is given back: its number may be another's in the next moment.
    closing: threading.Lock = field(default_factory=threading.Lock)

    def kill(self) -> None:
        """Ends every process of the guest."""
        with self.closing, contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.init_handle, signal.SIGKILL)
        if not self.walled:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.process.kill()

    def is_gone(self, timeout_s: float) -> bool:
        """Whether no process of the guest is left; known behind walls only, where the first process goes last."""
        if self.init_handle == CLOSED:
            return True
        ended = select.poll()
        ended.register(self.init_handle, select.POLLIN)
        return self.walled and bool(ended.poll(timeout_s * 1000))

    def close(self) -> None:
        """Gives the handle back; may be called again, when its number may be somebody else's already."""
        with self.closing:
            handle, self.init_handle = self.init_handle, CLOSED
            if handle != CLOSED:
                os.close(handle)


class Launcher:
    """Starts processes, one after the other, from one thread."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[tuple[Callable[[], Launched], Future[Launched]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(
        self, command: Sequence[str], fds: Sequence[int], *, walled: bool, joins: Callable[[int], None],
        environment: dict[str, str], cwd: str,
    ) -> Launched:  # fmt: skip
        """Starts `command` with `fds` open; `joins` is called with the process to put into its control group first."""
        result: Future[Launched] = Future()
        launch = _launch_walled if walled else _launch_bare
        self._requests.put((lambda: launch(list(command), tuple(fds), joins, environment, cwd), result))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sandbox-launcher", daemon=True)
                self._thread.start()
        return result.result()

    def _run(self) -> None:
        while True:
            launch, result = self._requests.get()
            try:
                result.set_result(launch())
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
                result.set_exception(error)


def _launch_walled(
    command: list[str], fds: tuple[int, ...], joins: Callable[[int], None], environment: dict[str, str], cwd: str
) -> Launched:
    """bubblewrap, held back until its inner process is in the control group."""
    info, info_in = os.pipe()
    gate_out, gate = os.pipe()
    binary, *rest = command
    started = [binary, "--info-fd", str(info_in), "--block-fd", str(gate_out), *rest]
    try:
        launched = _spawn(started, (*fds, info_in, gate_out), environment, cwd)
    finally:
        os.close(info_in)
        os.close(gate_out)
    try:
        launched.walled = True
        with os.fdopen(info, "rb") as source:
            inner = _inner_process(source)
        if inner is not None:
            os.close(launched.init_handle)
            launched.init, launched.init_handle = inner, os.pidfd_open(inner)
            joins(inner)
            os.write(gate, b"x")
    except BaseException:
        launched.kill()
        launched.process.wait()
        raise
    finally:
        os.close(gate)
    return launched


def _inner_process(source: IO[bytes]) -> int | None:
    """The pid that bubblewrap tells; None if it died first (its words are on stderr)."""
    text = b""
    while b"}" not in text:
        data = os.read(source.fileno(), 4096)
        if not data:
            return None
        text += data
    return int(json.loads(text)["child-pid"])


def _launch_bare(
    command: list[str], fds: tuple[int, ...], joins: Callable[[int], None], environment: dict[str, str], cwd: str
) -> Launched:
    launched = _spawn(command, fds, environment, cwd)
    joins(launched.init)
    return launched


def _spawn(command: list[str], fds: tuple[int, ...], environment: dict[str, str], cwd: str) -> Launched:
    stdout, stdout_in = _pipe()
    stderr, stderr_in = _pipe()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout_in, stderr=stderr_in, pass_fds=fds, env=environment,
            cwd=cwd, start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(stdout)
        os.close(stderr)
        raise
    finally:
        os.close(stdout_in)
        os.close(stderr_in)
    return Launched(process, stdout, stderr, process.pid, os.pidfd_open(process.pid), walled=False)


def _pipe() -> tuple[int, int]:
    outer, inner = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(inner, _F_SETPIPE_SZ, _PIPE_BYTES)
    return outer, inner
