"""Control groups: the kernel's own limits on memory, processes and CPU of a guest and all its children.

Both worlds are spoken: v2 (ordinary machines, where a service manager delegated a subtree to us) and v1 (controllers
as separate trees). Where neither is writable `find` gives None and the `watchdog` takes over.
"""

import contextlib
import os
import secrets
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelyard.sandbox.limits import Limits

#: Groups are named `modelyard-<pid>-<start time of that process>-<random>`: leftovers of the dead are recognised.
_PREFIX = "modelyard"
#: The group into which the platform's own processes move, where the unified tree wants that.
_PLATFORM = f"{_PREFIX}-platform"
_PERIOD_US = 100_000


class Group(Protocol):
    """One guest's group."""

    #: Whether the kernel holds it to a number of processes; not every tree has the controller for that.
    limits_processes: bool

    def add(self, pid: int) -> None: ...
    def limit(self, limits: Limits) -> None: ...
    def weigh(self, share: float) -> None: ...
    def was_out_of_memory(self) -> bool: ...
    def peak_memory_bytes(self) -> int: ...
    def cpu_s(self) -> float: ...
    def kill(self) -> None: ...
    def remove(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The folders in which groups can be made here, by controller."""

    version: int
    parents: dict[str, Path] = field(default_factory=dict)

    def limits_memory(self) -> bool:
        return "memory" in self.parents

    def limits_processes(self) -> bool:
        return "pids" in self.parents

    def make(self) -> Group:
        """A new empty group with no limits yet."""
        name = f"{_PREFIX}-{os.getpid()}-{_start_time(os.getpid())}-{secrets.token_hex(4)}"
        folders = {controller: parent / name for controller, parent in self.parents.items()}
        for folder in set(folders.values()):
            folder.mkdir()
        return GroupV2(next(iter(folders.values()))) if self.version == 2 else GroupV1(folders)


def find() -> Cgroups | None:
    """What is writable here: v2 if it has the memory controller, else v1; None if nothing is."""
    found = _find_v2() or _find_v1()
    if found is not None:
        for parent in set(found.parents.values()):
            _sweep(parent)
    return found


class GroupV2:
    """A group of the unified tree."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.limits_processes = (folder / "pids.max").exists()

    def add(self, pid: int) -> None:
        _write(self._folder / "cgroup.procs", pid)

    def limit(self, limits: Limits) -> None:
        _write(self._folder / "memory.max", limits.memory_bytes)
        _try_write(self._folder / "memory.swap.max", 0)
        _try_write(self._folder / "memory.oom.group", 1)
        _try_write(self._folder / "pids.max", limits.processes)
        _try_write(self._folder / "cpu.max", f"{int(limits.cores * _PERIOD_US)} {_PERIOD_US}")

    def weigh(self, share: float) -> None:
        _try_write(self._folder / "cpu.weight", int(100 * share))

    def was_out_of_memory(self) -> bool:
        return _counter(self._folder / "memory.events", "oom_kill") > 0

    def peak_memory_bytes(self) -> int:
        return _number(self._folder / "memory.peak") or _number(self._folder / "memory.current")

    def cpu_s(self) -> float:
        return _counter(self._folder / "cpu.stat", "usage_usec") / 1e6

    def kill(self) -> None:
        if not _try_write(self._folder / "cgroup.kill", 1):
            _kill_members(self._folder)

    def remove(self) -> None:
        _remove(self._folder)


class GroupV1:
    """A group in each of the separate trees."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        self.limits_processes = "pids" in folders

    def add(self, pid: int) -> None:
        for folder in self._folders.values():
            _write(folder / "cgroup.procs", pid)

    def limit(self, limits: Limits) -> None:
        if memory := self._folders.get("memory"):
            # Memory with swap may never be less than memory, so the order depends on whether the limit rises or falls.
            _try_write(memory / "memory.memsw.limit_in_bytes", limits.memory_bytes)
            _write(memory / "memory.limit_in_bytes", limits.memory_bytes)
            _try_write(memory / "memory.memsw.limit_in_bytes", limits.memory_bytes)
        if pids := self._folders.get("pids"):
            _write(pids / "pids.max", limits.processes)
        if cpu := self._folders.get("cpu"):
            _try_write(cpu / "cpu.cfs_period_us", _PERIOD_US)
            _try_write(cpu / "cpu.cfs_quota_us", int(limits.cores * _PERIOD_US))

    def weigh(self, share: float) -> None:
        if cpu := self._folders.get("cpu"):
            _try_write(cpu / "cpu.shares", int(1024 * share))

    def was_out_of_memory(self) -> bool:
        folder = self._folders.get("memory")
        return folder is not None and _counter(folder / "memory.oom_control", "oom_kill") > 0

    def peak_memory_bytes(self) -> int:
        folder = self._folders.get("memory")
        return _number(folder / "memory.max_usage_in_bytes") if folder else 0

    def cpu_s(self) -> float:
        folder = self._folders.get("cpuacct")
        return _number(folder / "cpuacct.usage") / 1e9 if folder else 0.0

    def kill(self) -> None:
        for folder in self._folders.values():
            _kill_members(folder)

    def remove(self) -> None:
        for folder in self._folders.values():
            _remove(folder)


def _find_v2() -> Cgroups | None:
    mount = _mounts().get("cgroup2")
    path = _own_paths().get("")
    if mount is None or path is None:
        return None
    folder = mount / path.lstrip("/")
    if folder.name == _PLATFORM:  # a platform process that is a child of one, or was started again by one
        folder = folder.parent
    if "memory" not in _words(folder / "cgroup.controllers") or not os.access(folder, os.W_OK):
        return None
    if "memory" not in _words(folder / "cgroup.subtree_control") and not _delegate(folder):
        return None
    controllers = _words(folder / "cgroup.subtree_control")
    parents: dict[str, Path] = {name: folder for name in ("memory", "pids", "cpu") if name in controllers}
    return Cgroups(2, parents) if _can_make_in(folder) else None


def _delegate(folder: Path) -> bool:
    """Hands controllers to children of our own group, which must hold no process itself: we move into a leaf first."""
    leaf = folder / _PLATFORM
    try:
        if folder != Path("/sys/fs/cgroup"):
            leaf.mkdir(exist_ok=True)
            for pid in (folder / "cgroup.procs").read_text().split():
                _try_write(leaf / "cgroup.procs", int(pid))
        wanted: list[str] = [
            name for name in ("memory", "pids", "cpu") if name in _words(folder / "cgroup.controllers")
        ]
        _write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in wanted))
    except OSError:
        return False
    return True


def _find_v1() -> Cgroups | None:
    mounts, paths = _mounts(), _own_paths()
    parents: dict[str, Path] = {}
    for controller in ("memory", "pids", "cpu", "cpuacct"):
        mount = mounts.get(controller)
        if mount is None:
            continue
        for parent in (mount / paths.get(controller, "/").lstrip("/"), mount):
            if _can_make_in(parent):
                parents[controller] = parent
                break
    return Cgroups(1, parents) if {"memory", "pids"} & set(parents) else None


def _mounts() -> dict[str, Path]:
    """Mount points by v1 controller, and by "cgroup2"."""
    found: dict[str, Path] = {}
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        point = Path(left.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault("cgroup2", point)
        elif kind == "cgroup":
            found |= dict.fromkeys(options.split(","), point)
    return found


def _own_paths() -> dict[str, str]:
    """Our own group by v1 controller, and by "" for the unified tree."""
    found: dict[str, str] = {}
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _can_make_in(parent: Path) -> bool:
    folder = parent / f"{_PREFIX}-probe-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        folder.rmdir()
    except OSError:
        return False
    return True


def _sweep(parent: Path) -> None:
    """Ends and removes the groups of platform processes that are no more."""
    for folder in parent.glob(f"{_PREFIX}-[0-9]*-*-*"):
        _, pid, start, _ = folder.name.split("-", 3)
        if _start_time(int(pid)) != start:
            _kill_members(folder)
            _remove(folder)


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot: with the pid it names a process for ever. Empty if gone."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    return stat.rpartition(")")[2].split()[19] if stat else ""


def _kill_members(folder: Path) -> None:
    for _ in range(50):
        pids = _read(folder / "cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.002)


def _remove(folder: Path) -> None:
    for attempt in range(100):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.001 * min(attempt + 1, 20))
        else:
            return


def _counter(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _number(path: Path) -> int:
    text = _read(path).strip()
    return int(text) if text.isdigit() else 0


def _words(path: Path) -> list[str]:
    return _read(path).split()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, value: object) -> None:
    path.write_text(str(value))


def _try_write(path: Path, value: object) -> bool:
    try:
        _write(path, value)
    except OSError:
        return False
    return True
