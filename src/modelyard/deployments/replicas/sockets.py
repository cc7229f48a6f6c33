"""Where replicas listen: a Unix socket and a lock file each, in a folder that only this user may enter."""

import fcntl
import hashlib
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.deployments.calls.connection import lock_path
from modelyard.ids import ReplicaId
from modelyard.settings import Settings

#: The kernel takes 107 bytes; some room is left.
PATH_LIMIT = 100
_PAUSE_S = 0.02


def folder(settings: Settings, name: str = "replicas") -> Path:
    """The folder of sockets, made if missing: below the home, or the temporary folder where that path is too long."""
    place = settings.home / "run" / name
    if len(os.fsencode(place)) + 20 > PATH_LIMIT:
        of_home = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:8]
        place = Path(tempfile.gettempdir()) / f"modelyard-{os.getuid()}" / f"{name}-{of_home}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    for each in (place, place.parent):
        status = each.lstat()
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(f"{each} must be a folder of this user")
    place.chmod(0o700)
    return place


class ReplicaSocket:
    """The listening socket of one replica, until its guest has it, and the files beside it."""

    def __init__(self, settings: Settings, replica_id: ReplicaId) -> None:
        self.path = folder(settings) / f"{replica_id}.sock"
        self._lock_path = Path(lock_path(str(self.path)))
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.listener.bind(str(self.path))
            self.path.chmod(0o600)
            self.listener.listen(128)
        except OSError:
            self.close()
            raise

    def hand_over(self) -> None:
        """The guest has the listening socket now: with its end, callers are refused at once."""
        self.listener.close()

    def wait_until_unused(self, limit_s: float, hurry: Callable[[], bool]) -> bool:
        """Waits until no gateway uses the replica, and lets none begin; False after `limit_s`, or when in a `hurry`."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > deadline or hurry():
                    return False
                time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Removes the files."""
        self.listener.close()
        self.path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)


def remove_stale(path: str) -> None:
    """Removes what a killed agent left of a replica."""
    for each in (path, lock_path(path)):
        Path(each).unlink(missing_ok=True)
