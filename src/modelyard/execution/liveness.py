"""Tells at once that an agent of this machine was killed, instead of waiting for its leases to run out.

Each agent holds a lock on a file of its own for as long as its process lives; the kernel drops the lock however the
process ends. Agents of other machines are judged by their leases alone.
"""

import fcntl
import os
from pathlib import Path

from modelyard.ids import AgentId


def machine_name() -> str:
    """Names this machine since its last boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = "unknown"
    return f"{os.uname().nodename}/{boot}"


class LifeLock:
    """Held by a living agent."""

    def __init__(self, folder: Path, agent_id: AgentId) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / agent_id
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def release(self) -> None:
        """Says that this agent has gone."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def __enter__(self) -> "LifeLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_dead(folder: Path, agent_id: AgentId) -> bool:
    """Whether that agent of this machine and home has gone: its file is missing or no longer locked."""
    try:
        fd = os.open(folder / agent_id, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
