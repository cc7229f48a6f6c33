"""A folder for half-written files, one for each process: what a killed process left is removed by the next one.

A lock on the folder is the sign that its process lives; the kernel lets go of it however the process ended.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OwnFolder:
    """Made below `root`, and used as long as this object lives."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(root):
            _sweep(root)
            self.path = root / secrets.token_hex(8)
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path, _DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it was never opened
            os.close(self._lock)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Nobody sweeps a folder that is made but not locked yet."""
    handle = os.open(root, _DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sweep(root: Path) -> None:
    for entry in root.iterdir():
        try:
            lock = os.open(entry, _DIRECTORY)
        except OSError:
            entry.unlink(missing_ok=True)  # files lie in the folders of their processes only
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its process lives
        else:
            shutil.rmtree(entry, ignore_errors=True)
        finally:
            os.close(lock)
