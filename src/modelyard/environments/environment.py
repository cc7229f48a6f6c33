"""The part of the house that gives environments: ask with requirements or a lock, get a folder that guests can use.

`ensure` is called by the runs of models, feature groups and datasets, in the agent. It goes from requirements to a
lock (`resolving`), from the lock's id to a finished folder (`building`), each under a lock that other threads and
processes wait for, so that the same thing is never made twice at a time.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import NamedTuple

import msgspec

from modelyard.clock import Clock, utc_now
from modelyard.environments import building, pins, resolving
from modelyard.environments.bytecode import Compiler
from modelyard.environments.failures import BuildFailed, EnvironmentGone, EnvironmentInUse
from modelyard.environments.lock import Lock, parse_lock, runtime
from modelyard.environments.store import Store, build_name
from modelyard.environments.tool import Tool, base_folders
from modelyard.environments.workspaces import Workspaces
from modelyard.ids import Digest
from modelyard.sandbox import Interpreter, Sandbox
from modelyard.settings import Settings

Progress = Callable[[str], None]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is written beside an environment."""

    id: str
    python: str
    platform: str
    packages: dict[str, str]
    size: int
    created_at: str


class Kept(NamedTuple):
    """A finished environment as it lies on this machine's disk."""

    about: About
    lock: str
    #: Seconds since 1970; 0 if it was never used.
    used_at: float


def read_environments(settings: Settings) -> list[Kept]:
    """All finished environments of this machine, without the means to build one: for looking at them."""
    store = Store(settings.cache_dir / "environments")
    found = []
    for name in store.names() if store.root.is_dir() else ():
        folder = store.environment(name)
        with contextlib.suppress(FileNotFoundError):  # one that is purged meanwhile
            about = msgspec.json.decode((folder / "about.json").read_bytes(), type=About)
            found.append(Kept(about, (folder / "lock.txt").read_text(encoding="utf-8"), store.used_at(name)))
    return found


@dataclass(frozen=True, slots=True)
class Environment:
    """A finished environment. It may be purged by an operator at any time while nobody holds it."""

    id: Digest
    prefix: Path
    interpreter: Interpreter
    lock: str
    _store: Store

    @contextlib.contextmanager
    def hold(self) -> Iterator["Environment"]:
        """Keeps the environment from being purged; EnvironmentGone if that has happened already."""
        with self._store.held(self.id, shared=True):
            if not self.prefix.is_dir():
                raise EnvironmentGone("The environment has been purged.")
            self._store.touch(self.id)
            yield self


class Environments:
    """All environments below the cache folder."""

    def __init__(
        self,
        settings: Settings,
        sandbox: Sandbox,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Clock = utc_now,
        base: str | None = None,
    ) -> None:
        self._settings = settings
        self._sandbox = sandbox
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._base = pins.base_text() if base is None else base
        self._store = Store(settings.cache_dir / "environments")
        self._tool: Tool | None = None
        self._prepared = threading.Lock()
        self._compiler = Compiler(self._get_tool, self._store)

    def ensure(
        self,
        requirements: Sequence[str],
        *,
        lock: str | None = None,
        on_progress: Progress | None = None,
        cancelled: Event | None = None,
    ) -> Environment:
        """The environment with the base packages and these requirements, or with exactly what `lock` says.

        Made if missing; a known one takes milliseconds. `on_progress` gets a line a step. Raises ResolutionFailed or
        BuildFailed; both say by `temporary` whether trying again later makes sense.
        """
        self._get_tool()
        say = on_progress or _silent
        wanted = parse_lock(lock) if lock is not None else self._resolve(pins.normalise(requirements), say, cancelled)
        found = self._find(wanted) or self._build(wanted, say, cancelled)
        if self._compiler.is_owed(found.id):
            self._compiler.add(found.id, self._donor(found))
        return found

    def base(self, on_progress: Progress | None = None) -> Environment:
        """The environment of the base packages alone."""
        return self.ensure((), on_progress=on_progress)

    def list(self) -> list[About]:
        """What is known of all finished environments."""
        self._get_tool()
        return [self._about(name) for name in self._store.names()]

    def purge(self, environment_id: str) -> bool:
        """Removes an environment and the resolutions that led to it; EnvironmentInUse while a guest holds it.

        False if there is none of that id. The same requirements are then resolved anew, to today's versions.
        """
        self._get_tool()
        if environment_id not in self._store.names():
            return False
        with self._store.held(build_name(environment_id)), self._store.held(environment_id, wait=False) as free:
            if not free:
                raise EnvironmentInUse("The environment is in use; stop the deployments and runs that use it first.")
            for kept in self._store.resolutions.glob("*.txt"):
                if parse_lock(kept.read_text(encoding="utf-8")).id == environment_id:
                    kept.unlink(missing_ok=True)
            with self._compiler.kept_off(environment_id):
                self._sandbox.cool(self._interpreter(environment_id))
                self._store.discard(environment_id)
        return True

    def evict(self, limit_bytes: float) -> int:
        """Takes environments away, those that were used longest ago first, until the others fit; gives how many.

        The base environment and those in use stay. What was resolved stays known, so who needs one again gets the same.
        """
        base = self.base().id
        known = sorted(self.list(), key=lambda about: self._store.used_at(about.id))
        too_much = sum(about.size for about in known) - limit_bytes
        evicted = 0
        for about in known:
            if too_much <= 0:
                break
            if about.id != base and self._discard(about.id):
                too_much, evicted = too_much - about.size, evicted + 1
        return evicted

    def _discard(self, environment_id: str) -> bool:
        with self._store.held(build_name(environment_id)), self._store.held(environment_id, wait=False) as free:
            if free:
                with self._compiler.kept_off(environment_id):
                    self._sandbox.cool(self._interpreter(environment_id))
                    self._store.discard(environment_id)
            return free

    def wait_for_bytecode(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was built is compiled too; for measurements and tests."""
        return self._compiler.wait(timeout_s)

    def _resolve(self, requirements: Sequence[str], say: Progress, cancelled: Event | None) -> Lock:
        wheels_only = self._settings.wheels_only
        digest = resolving.resolution_digest(requirements, self._base, wheels_only=wheels_only)
        kept = self._store.resolutions / f"{digest}.txt"
        if not kept.exists():
            with self._store.held(build_name(digest)):
                if not kept.exists():
                    say(f"resolving {len(requirements)} requirements" if requirements else "resolving base packages")
                    with Workspaces(self._store, self._get_tool(), digest) as workspaces:
                        found = resolving.resolve(
                            self._get_tool(), workspaces.get, requirements, self._base, wheels_only=wheels_only,
                            cancelled=cancelled,
                        )  # fmt: skip
                    self._store.write(kept, str(found))
        return parse_lock(kept.read_text(encoding="utf-8"))

    def _find(self, lock: Lock) -> Environment | None:
        folder = self._store.environment(lock.id)
        prefix = folder / "prefix"
        # A Python that was moved or removed leaves a dangling link: such an environment is of no use.
        if not (prefix / "bin" / "python").exists():
            return None
        return Environment(lock.id, prefix, self._interpreter(lock.id), str(lock), self._store)

    def _interpreter(self, name: str) -> Interpreter:
        prefix = self._store.environment(name) / "prefix"
        return Interpreter(prefix / "bin" / "python", (prefix, *base_folders()))

    def _build(self, lock: Lock, say: Progress, cancelled: Event | None) -> Environment:
        with self._store.held(build_name(lock.id)):
            found = self._find(lock)
            if found is not None:
                return found
            say(f"installing {len(lock.packages)} packages")
            with Workspaces(self._store, self._get_tool(), lock.id) as workspaces:
                prefix = building.build(
                    self._get_tool(), workspaces.get, lock, wheels_only=self._settings.wheels_only,
                    on_progress=say, cancelled=cancelled,
                )  # fmt: skip
                self._publish(lock, prefix, workspaces)
        found = self._find(lock)
        if found is None:
            raise BuildFailed("The environment could not be built: it has no working Python.")
        return found

    def _publish(self, lock: Lock, prefix: Path, workspaces: Workspaces) -> None:
        """Assembles the environment in a folder of our own and moves it to its place."""
        if prefix.is_symlink() or not (prefix / "bin").is_dir():
            raise BuildFailed("The environment could not be built: there is nothing where it should be.")
        staged = workspaces.staging()
        prefix.rename(staged / "prefix")
        implementation, version, platform = runtime()
        about = About(
            id=lock.id, python=f"{implementation} {version}", platform=platform, size=_size(staged),
            packages={package.name: package.version for package in lock.packages},
            created_at=self._clock().isoformat(),
        )  # fmt: skip
        self._store.write(staged / "lock.txt", str(lock))
        self._store.write(staged / "about.json", msgspec.json.encode(about).decode())
        if self._store.environment(lock.id).exists():
            self._store.discard(lock.id)
        self._store.publish(staged, lock.id)

    def _donor(self, built: Environment) -> Digest | None:
        """The base environment, if it is there and another one."""
        digest = resolving.resolution_digest((), self._base, wheels_only=self._settings.wheels_only)
        kept = self._store.resolutions / f"{digest}.txt"
        if not kept.exists():
            return None
        base = self._find(parse_lock(kept.read_text(encoding="utf-8")))
        return base.id if base is not None and base.id != built.id else None

    def _about(self, name: str) -> About:
        return msgspec.json.decode((self._store.environment(name) / "about.json").read_bytes(), type=About)

    def _get_tool(self) -> Tool:
        with self._prepared:
            if self._tool is None:
                self._store.prepare()
                self._tool = Tool(self._sandbox, self._settings.build_timeout_s, self._environ)
            return self._tool


def _silent(line: str) -> None:
    del line


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, as if none were shared."""
    return sum((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)
