"""The watchdog: what the kernel can't be told to limit is looked at, and guests past their limit are ended.

Always: the bytes in the working directory. Where no control group limits them also memory (proportional set size of
all processes, and what lies in the memory file systems) and the number of processes.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from modelyard.sandbox import failures, processes, scratch
from modelyard.sandbox.bubblewrap import MEMORY_FOLDERS
from modelyard.sandbox.process import Guest

_TICK_S = 0.1
_SCRATCH_S = 2.0


class Watchdog:
    """One thread for all guests of a sandbox; it starts with the first one."""

    def __init__(self, guests: Callable[[], Iterable[Guest]], walled: bool) -> None:
        self._guests, self._walled = guests, walled
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._scratch_due: dict[str, float] = {}

    def start(self) -> None:
        """Starts the thread if it does not run yet."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sandbox-watchdog", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S):
            guests = list(self._guests())
            self._scratch_due = {str(guest.scratch): self._scratch_due.get(str(guest.scratch), 0.0) for guest in guests}
            for guest in guests:
                if guest.alive:
                    self._look_at(guest)

    def _look_at(self, guest: Guest) -> None:
        if guest.watched_memory or guest.watched_processes:
            self._look_at_processes(guest)
        key = str(guest.scratch)
        begin = time.monotonic()
        if begin >= self._scratch_due[key]:
            self._look_at_scratch(guest)
            spent = time.monotonic() - begin
            self._scratch_due[key] = begin + max(_SCRATCH_S, 20 * spent)

    def _look_at_processes(self, guest: Guest) -> None:
        pids = processes.descendants(guest.pid)
        if guest.watched_memory:
            memory = sum(processes.memory_bytes(pid) for pid in pids) + self._memory_files(guest)
            guest.sampled(memory, sum(processes.cpu_s(pid) for pid in pids))
            if memory > guest.limits.memory_bytes:
                guest.end(failures.memory_error(guest.limits))
                return
        if guest.watched_processes and sum(processes.threads(pid) for pid in pids) > guest.limits.processes + 16:
            guest.end(failures.processes_error(guest.limits))

    def _memory_files(self, guest: Guest) -> int:
        """Bytes in /tmp and /dev/shm of the guest, which live in memory."""
        return sum(used_bytes_inside(guest.pid, folder) for folder in MEMORY_FOLDERS) if self._walled else 0

    def _look_at_scratch(self, guest: Guest) -> None:
        try:
            too_much = scratch.used_bytes(guest.scratch) > guest.limits.scratch_bytes
        except scratch.ScratchRefused:
            too_much = True
        except OSError:
            return  # removed meanwhile
        if too_much:
            guest.end(failures.scratch_error(guest.limits))


def used_bytes_inside(pid: int, folder: str) -> int:
    """Bytes in a memory file system of the guest whose first process is `pid`; 0 as long as its walls are not built.

    Until then that process sees the host's own folder, which may be a whole disk.
    """
    inside = f"/proc/{pid}/root{folder}"
    try:
        if Path(inside).stat().st_dev == Path(folder).stat().st_dev:
            return 0
        state = os.statvfs(inside)
    except OSError:
        return 0
    return (state.f_blocks - state.f_bfree) * state.f_frsize
