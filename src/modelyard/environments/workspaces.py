"""The folders in which one resolution or build works, made when first asked for and gone afterwards.

Wheels share one writable folder with their cache in it, because links don't cross mounts; builds from source each have
a folder and a cache of their own. The caller holds the build lock of the name that all these folders carry.
"""

import contextlib
import os
from pathlib import Path
from types import TracebackType

from modelyard.environments.store import Store, build_name
from modelyard.environments.tool import Tool, Workspace


class Workspaces:
    """The workspaces of one name, by whether packages are built from source in them."""

    def __init__(self, store: Store, tool: Tool, name: str) -> None:
        self._store = store
        self._owner = tool.owner
        self._name = build_name(name)
        self._made: dict[bool, Workspace] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Workspaces":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def get(self, from_source: bool) -> Workspace:
        """The workspace for wheels (False) or for builds from source (True)."""
        if from_source not in self._made:
            self._made[from_source] = self._from_source() if from_source else self._wheels()
        return self._made[from_source]

    def staging(self) -> Path:
        """An empty folder that only the platform writes."""
        return self._folder("staging")

    def _wheels(self) -> Workspace:
        lane = f"wheels-{self._owner}"
        folder = self._own(self._folder(lane))
        bound = self._own(self._store.work / lane)
        cache = bound / "cache"
        with contextlib.suppress(FileExistsError):
            cache.mkdir(mode=0o755)
            self._own(cache)
        return Workspace(bound, cache, folder, self._folder("notes"))

    def _from_source(self) -> Workspace:
        bound = self._own(self._folder(f"sources-{self._owner}"))
        made = bound / "made"
        made.mkdir()
        return Workspace(bound, bound / "cache", self._own(made), self._folder("notes"))

    def _folder(self, lane: str) -> Path:
        return self._stack.enter_context(self._store.workspace(lane, self._name))

    def _own(self, folder: Path) -> Path:
        if folder.stat().st_uid != self._owner:
            os.chown(folder, self._owner, self._owner)
        return folder
