"""What was learnt from guests, in small files below the home: it is there again after a start of the platform.

A file may be lost at any time, so none is waited for until it is on the disk, and one that can't be read is as good as
none. What they hold came out of guests once; who reads it checks it as if a guest had told it now (`imports.py`,
`kinds.py`).
"""

import contextlib
import hashlib
import logging
import os
import secrets
import threading
from pathlib import Path
from typing import TypeVar

import msgspec

#: The longest file that is read or written.
_LENGTH = 64 * 1024

log = logging.getLogger("modelyard.sandbox")
Content = TypeVar("Content")


class Learnt:
    """Files by keys, so many at most: those go that were written or read least lately. Thread-safe."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._most = folder, count
        self._lock = threading.Lock()
        self._count: int | None = None

    def read(self, key: str, kind: type[Content]) -> Content | None:
        """What was written under that key; None if nothing was, or nothing of that kind."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                text = file.read(_LENGTH + 1)
            found = msgspec.json.decode(text, type=kind) if len(text) <= _LENGTH else None
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.info("what was learnt can't be read: %s", error)
            return None
        return found

    def write(self, key: str, content: object) -> None:
        """Has it read under that key from now on. Where it can't be written, it is as if it had been lost."""
        text = msgspec.json.encode(content)
        if len(text) > _LENGTH:
            return
        path = self._path(key)
        made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with self._lock:
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                is_new = not path.exists()
                made.write_bytes(text)
                made.replace(path)
                if is_new:
                    self._make_room()
            except OSError as error:
                log.info("what was learnt can't be kept: %s", error)
                with contextlib.suppress(OSError):
                    made.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _make_room(self) -> None:
        """Removes some more than there have to be, so that it is not looked for at every file."""
        self._count = len(os.listdir(self._folder)) if self._count is None else self._count + 1  # noqa: PTH208 - names do
        if self._count <= self._most + self._most // 16:
            return
        by_age = sorted((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(self._folder))
        for _, path in by_age[: -self._most]:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - as scandir gave it
        self._count = min(len(by_age), self._most)
