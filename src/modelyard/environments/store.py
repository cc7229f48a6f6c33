"""The folder of environments: what lies where, who holds which lock, and how garbage of a killed process goes away.

    <id>/prefix          the environment; <id>/lock.txt and about.json say what it is. Appears in one rename.
    .resolutions/        lock texts by the digest of what was asked
    .locks/              one file a name, held with flock: exclusive to build or purge, shared while in use
    .work/               unfinished builds, each under the build lock of its name; the wheels' cache beside them

flock is the kernel's: it ends with its process, whatever kills it, so no lock is ever stale.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from modelyard.sandbox.scratch import remove


class Store:
    """Folders and locks below one cache folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.locks = root / ".locks"
        self.resolutions = root / ".resolutions"
        self.work = root / ".work"

    def prepare(self) -> None:
        """Makes the folders and clears what killed processes left behind."""
        for folder in (self.root, self.locks, self.resolutions, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._leftovers():
            with self.held(_name_of(leftover), wait=False) as free:
                if free:
                    remove(leftover)

    def environment(self, name: str) -> Path:
        """Where the environment of that id lies or would lie."""
        return self.root / name

    def touch(self, name: str) -> None:
        """Notes that the environment of that name is used now."""
        now = time.time_ns()  # finer than the file system's own clock
        os.utime(self.locks / name, ns=(now, now))

    def used_at(self, name: str) -> float:
        """When it was used last, in seconds since 1970; 0 if never."""
        try:
            return (self.locks / name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def names(self) -> list[str]:
        """The ids of all environments that are built."""
        found = [entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False)]
        return sorted(name for name in found if not name.startswith("."))

    @contextlib.contextmanager
    def held(self, name: str, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
        """Holds the lock of a name; gives False, holding nothing, if it would have to wait and may not."""
        descriptor = os.open(self.locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            try:
                fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def workspace(self, lane: str, name: str) -> Iterator[Path]:
        """An empty folder for one build, gone afterwards. The caller holds the build lock of `name`."""
        folder = self.work / lane / f"{name}.{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            remove(folder)

    def write(self, target: Path, text: str) -> None:
        """Writes a small file whole or not at all."""
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)

    def publish(self, folder: Path, name: str) -> None:
        """Moves a finished environment to its place, in one step."""
        folder.rename(self.environment(name))
        sync_folder(self.root)

    def discard(self, name: str) -> None:
        """Takes an environment away: first out of sight in one step, then from the disk."""
        grave = self.work / "discarded" / f"{build_name(name)}.{secrets.token_hex(4)}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        self.environment(name).rename(grave)
        remove(grave)

    def _leftovers(self) -> list[Path]:
        lanes = [lane for lane in self.work.iterdir() if lane.is_dir()]
        return [entry for lane in lanes for entry in lane.iterdir() if entry.name != "cache"]


def build_name(name: str) -> str:
    """The name of the lock that one holds to build what `name` stands for."""
    return f"{name}-build"


def sync_folder(folder: Path) -> None:
    """Makes renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name_of(leftover: Path) -> str:
    return leftover.name.partition(".")[0]
