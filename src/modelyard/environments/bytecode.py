"""Bytecode: compiled right after a build, since uv leaves none and every start of a guest would pay for its absence.

The environment is usable before; `Compiler` works through environments one at a time on a thread of its own. What the
base environment has compiled from the very same file (one inode: both are links into uv's cache) is linked, not
compiled again. The compiling process is the base Python in the sandbox: it reads the environment's files as data and
runs none of them, not even `.pth` files. A start without bytecode takes about three times as long.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from modelyard.environments.tool import Tool

#: What every guest imports before it waits for work; compiled first.
FIRST = ("numpy", "pandas", "pyarrow", "dateutil", "pytz", "msgspec", "cloudpickle")
_COMPILE = """
import compileall, os, sys
root, first = sys.argv[1], sys.argv[2:]
paths = [os.path.join(root, name) for name in first if os.path.isdir(os.path.join(root, name))]
os.nice(5)
for path in [*paths, root]:
    compileall.compile_dir(path, maxlevels=30, quiet=2, workers=1)
"""


class Compiler:
    """Compiles environments in the background, in the order in which they were built."""

    def __init__(self, tool: Callable[[], Tool]) -> None:
        self._tool = tool
        self._waiting: queue.SimpleQueue[tuple[Path, Path | None]] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._open = 0
        self._thread: threading.Thread | None = None

    def add(self, prefix: Path, donor: Path | None) -> None:
        """Has `prefix` compiled; `donor` is a compiled environment whose bytecode may be linked."""
        with self._idle:
            self._open += 1
            self._waiting.put((prefix, donor))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="bytecode", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until nothing is left to compile; False if that takes longer than `timeout_s`."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout_s)

    def _work(self) -> None:
        while True:
            prefix, donor = self._waiting.get()
            try:
                compile_environment(self._tool(), prefix, donor)
            finally:
                with self._idle:
                    self._open -= 1
                    self._idle.notify_all()


def compile_environment(tool: Tool, prefix: Path, donor: Path | None = None) -> None:
    """Compiles all modules of an environment. Files that don't compile are left out, as at an installation by pip."""
    for packages in packages_folders(prefix):
        for donated in packages_folders(donor) if donor is not None else ():
            adopt(packages, donated)
        tool.python(["-I", "-S", "-c", _COMPILE, str(packages), *FIRST], packages)


def packages_folders(prefix: Path) -> list[Path]:
    """The `site-packages` folders of an environment."""
    return [folder for folder in sorted(prefix.glob("lib/python*/site-packages")) if _is_own(folder, prefix)]


def adopt(packages: Path, donated: Path) -> int:
    """Links the donor's bytecode of each module that both share as one file; gives how many."""
    count = 0
    for parent, names in _caches(donated):
        target = packages / parent.relative_to(donated)
        if not _is_own(target, packages):
            continue
        shared = [name for name in names if _same(parent, target, f"{name.partition('.')[0]}.py")]
        if shared and not (target / "__pycache__").is_symlink():
            (target / "__pycache__").mkdir(exist_ok=True)
            count += sum(_link(parent / "__pycache__" / name, target / "__pycache__" / name) for name in shared)
    return count


def _caches(packages: Path) -> Iterator[tuple[Path, list[str]]]:
    for parent, folders, names in os.walk(packages):
        if Path(parent).name == "__pycache__":
            folders.clear()
            yield Path(parent).parent, [name for name in names if name.endswith(".pyc")]


def _same(one: Path, other: Path, name: str) -> bool:
    try:
        left, right = os.lstat(one / name), os.lstat(other / name)
    except FileNotFoundError:
        return False
    return (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino)


def _link(source: Path, target: Path) -> int:
    with contextlib.suppress(FileExistsError):
        os.link(source, target, follow_symlinks=False)
    return 1


def _is_own(folder: Path, root: Path) -> bool:
    """Whether a folder is really where its path says, with no symbolic link on the way down from `root`."""
    return folder.is_dir() and folder.resolve() == root.resolve() / folder.relative_to(root)
