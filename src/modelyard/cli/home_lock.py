"""One `modelyard serve` per home: a lock that the kernel drops however its holder ends."""

import fcntl
import os
from pathlib import Path

from modelyard.cli.failure import CommandFailed


class HomeLock:
    """Held while a server runs on a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / "run" / "serve.lock"
        try:
            for folder in (home, self._path.parent):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CommandFailed(f"{home} can't be used as the home: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 300, 0).decode(errors="replace").strip() or "just starting"
            os.close(self._fd)
            raise CommandFailed(
                f"another server already uses {home} ({holder}); stop that one first, give this one another --home, "
                "or add an agent to it with `modelyard agent`"
            ) from None

    def say(self, words: str) -> None:
        """Writes down who holds the lock, for the one who is refused."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, words.encode() + b"\n", 0)
