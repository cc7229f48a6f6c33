"""Wakes the agents of this machine at once instead of at their next poll.

Each agent binds a datagram socket in a folder named after its database; who commits work sends an empty datagram to
each. Losing one costs at most a poll interval, so nothing here is ever waited for, and no error counts.
"""

import hashlib
import os
import socket
import tempfile
from pathlib import Path

from modelyard.ids import AgentId


def folder(database_url: str) -> Path:
    """Where the agents of one database listen on this machine; for this user alone."""
    name = hashlib.sha256(database_url.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"modelyard-{os.getuid()}" / name


class Bell:
    """An agent's end: `wait` returns when somebody rang or the time is over."""

    def __init__(self, database_url: str, agent_id: AgentId) -> None:
        place = folder(database_url)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        place.mkdir(exist_ok=True, mode=0o700)
        status = place.parent.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermissionError(f"{place.parent} must belong to this user alone")
        self._path = place / agent_id
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))

    def wait(self, timeout_s: float) -> None:
        """Sleeps until rung, at most `timeout_s` seconds; swallows every ring that has come meanwhile."""
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            self._socket.recv(1)
            self._socket.setblocking(False)
            while True:
                self._socket.recv(1)
        except OSError:
            return

    def ring(self) -> None:
        """Wakes this agent's own loop."""
        _ring(self._path)

    def close(self) -> None:
        """Takes the bell away."""
        self._path.unlink(missing_ok=True)
        self._socket.close()


def wake_agents(database_url: str) -> None:
    """Rings every agent of that database on this machine."""
    try:
        bells = list(folder(database_url).iterdir())
    except OSError:
        return
    for bell in bells:
        _ring(bell)


def _ring(bell: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(b"", str(bell))
        except ConnectionRefusedError:
            bell.unlink(missing_ok=True)  # its agent was killed
        except OSError:
            return
