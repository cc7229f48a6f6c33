"""The host's side of the resident checker processes: starts them, asks them, limits and replaces them.

A process has one request at a time, so that the source that kills it is known for certain and no other is lost with it;
a second process is started when the first is busy, so that a slow source holds up few others. Each is started with an
empty environment and no descriptor but its socket, which is also how it learns that this process is gone.
"""

import contextlib
import math
import socket
import subprocess
import sys
import threading
import time

import msgspec

from modelyard.errors import InternalServerError
from modelyard.source_code import frames
from modelyard.source_code.frames import CheckRequest, Verdict

#: Seconds that a process may take to start, on a machine that is busy.
START_TIMEOUT_S = 60.0
#: Processes at most.
MOST = 2
#: The environment that they see.
_NOTHING: dict[str, str] = {}


class SourceKilledChecker(Exception):
    """Examining this source ended the process that did it."""


class SourceTookTooLong(Exception):
    """Examining this source did not end within its time."""


class Residents:
    """Up to `MOST` checker processes, each started when it is first needed."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._free = threading.Semaphore(MOST)
        self._lock = threading.Lock()
        self._idle: list[_Resident] = []
        self._all: set[_Resident] = set()
        self._closed = False

    def ask(self, request: CheckRequest) -> Verdict:
        """The verdict on a request, or SourceKilledChecker or SourceTookTooLong. Waits while all processes are busy."""
        body = msgspec.json.encode(request)
        with self._free:
            resident, fresh = self._take()
            try:
                return self._put_to(resident, body)
            except SourceKilledChecker:
                if fresh:
                    raise
            # It had answered before, so what it died of may be something else (the kernel short of memory, a signal).
            return self._put_to(self._take(fresh=True)[0], body)

    def close(self) -> None:
        """Ends all processes, busy ones too; later requests are refused."""
        with self._lock:
            self._closed = True
            residents = list(self._all)
        for resident in residents:
            self._drop(resident)

    @property
    def pids(self) -> list[int]:
        """The process ids of those that live."""
        with self._lock:
            return [resident.pid for resident in self._all]

    def _put_to(self, resident: "_Resident", body: bytes) -> Verdict:
        try:
            verdict = resident.ask(body, self._timeout_s)
        except BaseException:
            self._drop(resident)
            raise
        if verdict.leaving:
            self._drop(resident)
        else:
            with self._lock:
                self._idle.append(resident)
        return verdict

    def _take(self, *, fresh: bool = False) -> tuple["_Resident", bool]:
        while not fresh:
            with self._lock:
                if not self._idle:
                    break
                resident = self._idle.pop()
            if resident.is_alive():
                return resident, False
            self._drop(resident)
        resident = _Resident(self._timeout_s)
        with self._lock:
            if not self._closed:
                self._all.add(resident)
                return resident, True
        resident.kill()
        raise InternalServerError("The checker of source code is shut down.")

    def _drop(self, resident: "_Resident") -> None:
        with self._lock:
            self._all.discard(resident)
            if resident in self._idle:
                self._idle.remove(resident)
        resident.kill()


class _Resident:
    """One checker process and the socket to it."""

    def __init__(self, timeout_s: float) -> None:
        self._socket, theirs = socket.socketpair()
        seconds = str(math.ceil(timeout_s))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "modelyard.source_code.examine", seconds],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_NOTHING,
                cwd="/",
                close_fds=True,
                start_new_session=True,
            )
        self._await_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, body: bytes, timeout_s: float) -> Verdict:
        deadline = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            frames.send(self._socket, body)
            answer = self._receive(deadline)
            return msgspec.json.decode(answer, type=Verdict)
        except TimeoutError as error:
            raise SourceTookTooLong from error
        except (EOFError, OSError, ValueError) as error:
            raise SourceKilledChecker from error

    def kill(self) -> None:
        """Ends the process; may be called twice and from any thread."""
        self._process.kill()
        self._process.wait()
        # A thread that waits for an answer must wake up before the descriptor goes away under it.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self, deadline: float) -> bytes:
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        return frames.receive(self._socket, frames.VERDICT_LIMIT)

    def _await_ready(self) -> None:
        try:
            self._receive(time.monotonic() + START_TIMEOUT_S)
        except (EOFError, OSError, ValueError) as error:
            self.kill()
            message = f"The checker of source code does not start (exit status {self._process.returncode})."
            raise InternalServerError(message) from error
