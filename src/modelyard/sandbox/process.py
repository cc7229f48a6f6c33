"""One guest as the host sees it: a process behind walls, its socket, its output, its scratch folder.

`host.Sandbox` makes guests. A guest boots, says that it is ready, takes tasks one at a time, and is used for one run
only. However it ends, `kill` leaves nothing of it behind: no process, no control group, no folder.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from modelyard.sandbox import failures, scratch
from modelyard.sandbox.cgroups import Group
from modelyard.sandbox.channel import Channel, ChannelClosed, ChannelGarbage, Step, WireError
from modelyard.sandbox.failures import FailureKind, GuestError, GuestNotStarted
from modelyard.sandbox.launch import Launched
from modelyard.sandbox.limits import GIB, Limits, Usage
from modelyard.sandbox.output import Listener, Output

_END_TIMEOUT_S = 10.0
#: What a guest that boots gets of a busy core, as a multiple of what others get: a run waits for it, or none does.
_WAITED_FOR, _IN_BACKGROUND = 4.0, 0.02
#: Processes of other guests under the same user id, which the kernel counts along.
_NEIGHBOURS = 4096
#: Frames of steps that a guest may send at once, and a second; ours sends two.
_STEPS_AT_ONCE, _STEPS_A_SECOND = 20, 4.0


class StepListener(Protocol):
    """Who wants to hear of a training's steps while it goes on. Called on the thread that waits for the answer."""

    def heard(self, first: int, steps: list[Step]) -> None:
        """Steps from the place `first` on; what was told from there on is void. ChannelGarbage if that can't be."""

    def tick(self) -> None:
        """Some tenths of a second have passed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one call: a result or an error, never both."""

    result: dict[str, Any] | None = None
    error: GuestError | None = None


class Stopped(Exception):
    """A call was ended from outside; carries why."""

    def __init__(self, error: GuestError) -> None:
        super().__init__(error.value)
        self.error = error


class Guest:
    """A booted guest. `call` from one thread at a time; `kill` from any."""

    def __init__(
        self, name: str, launched: Launched, channel: Channel, limits: Limits, folder: Path, group: Group | None
    ) -> None:
        self.name, self.limits = name, limits
        #: The guest's working directory, as the host sees it. Read it with `files` and `open` only.
        self.scratch = folder
        self._launched, self._channel, self._group = launched, channel, group
        self._ended = threading.Event()
        self._status: int | None = None
        self._verdict: GuestError | None = None
        self._sampled = Usage()
        self._final: Usage | None = None
        self._started_at: float | None = None
        self._listeners: list[Callable[[GuestError], None]] = []
        self._lock = threading.RLock()
        self._output = Output(launched, name, self._on_end)

    # -- life ---------------------------------------------------------------------------------------------------

    def await_ready(self, timeout_s: float) -> None:
        """Waits until the guest has booted. GuestNotStarted, with what it printed, if it ends before."""
        why = f"the guest was not ready within {timeout_s:g} seconds"
        try:
            frame = self._channel.receive(time.monotonic() + timeout_s, lambda: None)
        except (ChannelClosed, ChannelGarbage):
            frame, why = None, self._after_silence().sentence
        if frame is None or frame.event != "ready":
            self.stop()
            words = self._output.early_text().strip()
            self.kill()
            raise GuestNotStarted(words or why)

    def adopt(self, limits: Limits, on_output: Listener | None) -> None:
        """Gives a waiting guest to a run: its limits hold from now on, its output goes there."""
        self.limits = limits
        if self._group is not None:
            self._group.limit(limits)
            self._group.weigh(1.0)
        self._output.attach(on_output)

    def weigh(self, *, waited_for: bool) -> None:
        """Has its boot go before other work on a busy core, or after it. Without control groups nothing happens."""
        with self._lock:
            if self._group is not None:
                self._group.weigh(_WAITED_FOR if waited_for else _IN_BACKGROUND)

    @property
    def alive(self) -> bool:
        """Whether the guest's process runs."""
        return not self._ended.is_set()

    @property
    def status(self) -> int | None:
        """The exit status once it has ended, as a shell shows it."""
        return self._status

    @property
    def pid(self) -> int:
        """The first process of the guest, as seen from the host."""
        return self._launched.init

    def wait(self, timeout_s: float | None = None) -> GuestError | None:
        """Waits for the guest's end and says how it came; None if it still runs after `timeout_s`."""
        return self._why_ended() if self._ended.wait(timeout_s) else None

    def on_exit(self, callback: Callable[[GuestError], None]) -> None:
        """Calls `callback` once, from another thread, when the guest has ended; at once if it has already."""
        with self._lock:
            if not self._ended.is_set():
                self._listeners.append(callback)
                return
        callback(self._why_ended())

    def end(self, verdict: GuestError) -> None:
        """Kills the processes for the reason given, which the call in progress then answers with."""
        with self._lock:
            self._verdict = self._verdict or verdict
        self.stop()

    def stop(self) -> None:
        """Kills the processes and waits for the end of their output; the scratch folder stays for reading."""
        self._launched.kill()
        if self._group is not None:
            self._group.kill()
        self._output.join(_END_TIMEOUT_S)

    def kill(self) -> None:
        """Ends the guest and removes all that is left of it. May be called twice."""
        self.stop()
        with self._lock:
            self._final = self._final or self._measure()
            group, self._group = self._group, None
        self._channel.close()
        self._launched.close()
        if group is not None:
            group.remove()
        scratch.remove(self.scratch)

    # -- work ---------------------------------------------------------------------------------------------------

    def call(
        self, task: str, message: dict[str, Any], fds: Sequence[int] = (), *, timeout_s: float | None = None,
        cancelled: threading.Event | None = None, on_steps: StepListener | None = None,
    ) -> Reply:  # fmt: skip
        """Runs `task` inside and gives its answer; the time limit is `timeout_s`, or that of the limits.

        After an error of any kind but "exception" and "unpicklable" the guest is dead.
        """
        limit_s = self.limits.timeout_s if timeout_s is None else timeout_s
        try:
            request: dict[str, object] = {"task": task, "message": message, "limits": self.resource_limits(fds)}
            self._channel.send(request, fds)
            return self._await_reply(limit_s, cancelled, on_steps)
        except Stopped as stopped:
            self.end(stopped.error)
            return Reply(error=self._why_ended())
        except ChannelClosed:
            return Reply(error=self._after_silence())
        except ChannelGarbage as garbage:
            self.end(failures.protocol_error(str(garbage)))
            return Reply(error=self._why_ended())

    def resource_limits(self, fds: Sequence[int] = ()) -> dict[str, int]:
        """Limits that the guest's own boot program sets on its process, and which then can't be raised again."""
        limits = {"CORE": 0, "FSIZE": self.limits.scratch_bytes, "NOFILE": 8192}
        if self._group is None:
            # Backstops behind the watchdog, which looks ten times a second; mapped tables come on top.
            tables = sum(os.fstat(fd).st_size for fd in fds)
            limits["DATA"] = 2 * self.limits.memory_bytes + tables + 2 * GIB
        if self.watched_processes:
            limits["NPROC"] = self.limits.processes + _NEIGHBOURS
        return limits

    def _await_reply(
        self, limit_s: float | None, cancelled: threading.Event | None, on_steps: StepListener | None
    ) -> Reply:
        def tick() -> None:
            if cancelled is not None and cancelled.is_set():
                raise Stopped(failures.cancelled_error())
            if on_steps is not None:
                on_steps.tick()

        self._started_at = None
        hear = None if on_steps is None else _Bounded(on_steps)
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while (frame := self._channel.receive(deadline, tick)) is not None:
            if frame.event == "started" and self._started_at is None and frame.at is not None:
                self._started_at = frame.at
            elif frame.event == "steps" and frame.steps is not None and hear is not None:
                hear.heard(frame.first, frame.steps)
            elif frame.event == "reply" and (frame.result is None) != (frame.error is None):
                self._output.drain()
                return Reply(frame.result, self.told(frame.error) if frame.error else None)
            else:
                raise ChannelGarbage("an answer that is none")
        raise Stopped(failures.timeout_error(limit_s or 0))

    def told(self, error: WireError) -> GuestError:
        """A failure that the guest tells, as users are told it."""
        if error.kind == "memory":
            said = failures.memory_error(self.limits)
            return GuestError(said.kind, said.type, said.value, error.traceback)
        return GuestError(error.kind, error.type, error.value, error.traceback)

    def _after_silence(self) -> GuestError:
        """The socket is closed: the process is ending, or its code closed what is not its own."""
        if not self._ended.wait(2.0):
            self.end(failures.protocol_error("it was closed"))
        return self._why_ended()

    # -- what it left -------------------------------------------------------------------------------------------

    def files(
        self, *, private: bool = False, count: int = 10_000, total: int | None = None
    ) -> list[scratch.ScratchFile]:
        """The regular files in the working directory; see `scratch.files`."""
        return scratch.files(self.scratch, private=private, count=count, total=total)

    def open(self, name: str) -> IO[bytes]:
        """Opens a file of the working directory, following no link; see `scratch.open_file`."""
        return scratch.open_file(self.scratch, name)

    def take(self, name: str, target: Path) -> IO[bytes]:
        """Puts a file of the working directory at `target`, ours alone, and opens it; see `scratch.take_file`.

        It is moved where nothing can have it open any more, and copied else. Call it when the guest was stopped.
        """
        may_move = not self.limits.network and self._launched.is_gone(_END_TIMEOUT_S)
        return scratch.take_file(self.scratch, name, target, may_move=may_move)

    def pack(self, target: IO[bytes], *, count: int = 10_000, total: int | None = None) -> list[scratch.ScratchFile]:
        """Writes the user's files as one tar; see `scratch.pack`."""
        return scratch.pack(self.scratch, target, count=count, total=total)

    # -- measuring ----------------------------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        """What the guest has used up to now, or in all once it is dead."""
        with self._lock:
            return self._final or self._measure()

    @property
    def output_failure(self) -> Exception | None:
        """What the listener of the output raised, if it did."""
        return self._output.failure

    @property
    def watched_memory(self) -> bool:
        """Whether no control group limits the memory, so that the watchdog must."""
        return self._group is None

    @property
    def watched_processes(self) -> bool:
        """Whether no control group limits how many processes there are, so that the watchdog must."""
        return self._group is None or not self._group.limits_processes

    def sampled(self, peak_memory_bytes: int, cpu_s: float) -> None:
        """The watchdog tells what it saw."""
        old = self._sampled
        self._sampled = Usage(max(old.peak_memory_bytes, peak_memory_bytes), max(old.cpu_s, cpu_s))

    def _measure(self) -> Usage:
        peak, cpu_s = self._sampled.peak_memory_bytes, self._sampled.cpu_s
        if self._group is not None:
            peak, cpu_s = self._group.peak_memory_bytes() or peak, self._group.cpu_s() or cpu_s
        return Usage(peak, cpu_s, self._started_at)

    def _on_end(self, status: int) -> None:
        with self._lock:
            self._status = status
            starved = self._group is not None and self._group.was_out_of_memory()
            if self._verdict is None and starved and failures.exit_error(status).kind == FailureKind.SIGNAL:
                self._verdict = failures.memory_error(self.limits)
            self._ended.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(self._why_ended())

    def _why_ended(self) -> GuestError:
        return self._verdict or failures.exit_error(self._status if self._status is not None else -9)


class _Bounded:
    """A listener that is not told more often than an honest guest would."""

    def __init__(self, listener: StepListener) -> None:
        self._listener, self._begun, self._count = listener, time.monotonic(), 0

    def heard(self, first: int, steps: list[Step]) -> None:
        self._count += 1
        if self._count > _STEPS_AT_ONCE + _STEPS_A_SECOND * (time.monotonic() - self._begun):
            raise ChannelGarbage("steps of metrics.jsonl, more often than a guest sends them")
        self._listener.heard(first, steps)
