"""Bytecode: compiled right after a build, since uv leaves none and every start of a guest would pay for its absence.

The environment is usable before; `Compiler` works through environments one at a time on a thread of its own. What the
base environment has compiled from the very same file (one inode: both are links into uv's cache) is linked, not
compiled again. The compiling process is the base Python in the sandbox: it reads the environment's files as data and
runs none of them, not even `.pth` files. Packages' own tests, half of all modules, are left out.
"""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from modelyard.environments.failures import EnvironmentFailure
from modelyard.environments.store import Store
from modelyard.environments.tool import Tool

log = logging.getLogger("modelyard.environments")

#: What every guest imports before it waits for work; compiled first.
FIRST = ("numpy", "pandas", "pyarrow", "dateutil", "pytz", "msgspec", "cloudpickle")
_COMPILE = """
import compileall, os, re, sys
root, first = sys.argv[1], sys.argv[2:]
paths = [os.path.join(root, name) for name in first if os.path.isdir(os.path.join(root, name))]
os.nice(5)
for path in [*paths, root]:
    compileall.compile_dir(path, maxlevels=30, quiet=2, workers=1, rx=re.compile("/tests?/"))
"""


class Compiler:
    """Compiles environments in the background, in the order in which they were built."""

    def __init__(self, tool: Callable[[], Tool], store: Store) -> None:
        self._tool = tool
        self._store = store
        self._waiting: queue.SimpleQueue[tuple[str, str | None, threading.Event]] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._open = 0
        self._thread: threading.Thread | None = None
        self._stop: dict[str, threading.Event] = {}

    def add(self, name: str, donor: str | None) -> None:
        """Has the environment of that id compiled; `donor` is another one whose bytecode may be linked."""
        with self._idle:
            if name in self._stop:
                return
            self._open += 1
            self._stop[name] = threading.Event()
            self._waiting.put((name, donor, self._stop[name]))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="bytecode", daemon=True)
                self._thread.start()

    def is_owed(self, name: str) -> bool:
        """Whether an environment has no bytecode and waits for none, as when an earlier process was killed over it."""
        with self._idle:
            return name not in self._stop and not self._mark(name).exists()

    @contextlib.contextmanager
    def kept_off(self, name: str) -> Iterator[None]:
        """Stops the compilation of an environment, also in other processes once they are done, and allows none."""
        with self._idle:
            if name in self._stop:
                self._stop[name].set()
        with self._store.held(f"{name}-bytecode"):
            yield

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until nothing is left to compile; False if that takes longer than `timeout_s`."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout_s)

    def _work(self) -> None:
        while True:
            name, donor, stop = self._waiting.get()
            try:
                self._compile(name, donor, stop)
            except (OSError, EnvironmentFailure) as error:
                # Stopped, or no place or time left: guests start slower, and nothing else is lost.
                log.info("environment %s has no bytecode: %s", name[:12], error)
            finally:
                with self._idle:
                    self._open -= 1
                    if self._stop.get(name) is stop:
                        del self._stop[name]
                    self._idle.notify_all()

    def _compile(self, name: str, donor: str | None, stop: threading.Event) -> None:
        with self._store.held(f"{name}-bytecode"):
            prefix = self._store.environment(name) / "prefix"
            if prefix.is_dir() and not stop.is_set():
                source = None if donor is None else self._store.environment(donor) / "prefix"
                compile_environment(self._tool(), prefix, source, cancelled=stop)
                self._store.write(self._mark(name), "")

    def _mark(self, name: str) -> Path:
        """The file that says that an environment has been compiled."""
        return self._store.environment(name) / "compiled"


def compile_environment(
    tool: Tool, prefix: Path, donor: Path | None = None, *, cancelled: threading.Event | None = None
) -> None:
    """Compiles all modules of an environment. Files that don't compile are left out, as at an installation by pip."""
    for packages in packages_folders(prefix):
        for donated in packages_folders(donor) if donor is not None else ():
            adopt(packages, donated)
        tool.python(["-I", "-S", "-c", _COMPILE, str(packages), *FIRST], packages, cancelled=cancelled)


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
        cache = target / "__pycache__"
        if shared and not cache.is_symlink():
            _make_like(cache, target)
            count += sum(_link(parent / "__pycache__" / name, cache / name) for name in shared)
    return count


def _caches(packages: Path) -> Iterator[tuple[Path, list[str]]]:
    for parent, folders, names in os.walk(packages):
        if Path(parent).name == "__pycache__":
            folders.clear()
            yield Path(parent).parent, [name for name in names if name.endswith(".pyc")]


def _make_like(folder: Path, parent: Path) -> None:
    """Makes a folder that belongs to whom its parent belongs."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o755)
        owner = parent.stat()
        if owner.st_uid != os.geteuid():
            os.chown(folder, owner.st_uid, owner.st_gid)


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
