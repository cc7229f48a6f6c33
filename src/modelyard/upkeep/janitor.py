"""The janitor: a thread beside each agent that lets go what nobody needs, once an hour, and tells what it did.

Several at once do no harm: each step is safe against all others. A round that fails is tried again in the next one.
"""

import logging
import threading
from collections.abc import Collection

from sqlalchemy.exc import SQLAlchemyError

from modelyard.clock import Clock
from modelyard.container import Container
from modelyard.database import Database
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.observability.expiring import expire as expire_observed
from modelyard.sandbox import GuestNotStarted, SandboxUnavailable
from modelyard.settings import Settings
from modelyard.storage import BlobStore
from modelyard.upkeep.caches import evict_files
from modelyard.upkeep.collecting import collect
from modelyard.upkeep.expiring import expire

log = logging.getLogger(__name__)
_GIB = 1024**3


class Janitor:
    """A companion of the agent."""

    def __init__(
        self, database: Database, parts: Container, settings: Settings, clock: Clock, lasting: Collection[str]
    ) -> None:
        self._database, self._parts, self._settings, self._clock = database, parts, settings, clock
        self._lasting = lasting
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="janitor", daemon=True)

    def start(self) -> None:
        """Begins; the first round comes after a pause."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._stopping.set()
        self._thread.join(5)

    def round(self) -> None:
        """One round."""
        settings, now = self._settings, self._clock()
        with self._database.write() as session:
            expire(session, now, settings.results_keep_s)
            expire_observed(session, settings, now)
        store = self._parts.get(BlobStore)
        done = collect(self._database, store, now, settings.blob_grace_s, self._lasting)
        if done.removed:
            log.info("%d blobs that nothing names are gone, %d bytes", done.removed, done.removed_bytes)
        if settings.tables_limit_gib:
            evict_files(settings.cache_dir / "tables", settings.tables_limit_gib * _GIB)
        if settings.environments_limit_gib and (settings.cache_dir / "environments").is_dir():
            evicted = self._parts.get(Environments).evict(settings.environments_limit_gib * _GIB)
            if evicted:
                log.info("%d environments were evicted (environments_limit_gib)", evicted)

    def _loop(self) -> None:
        while not self._stopping.wait(self._settings.upkeep_s):
            try:
                self.round()
            except (SQLAlchemyError, OSError, EnvironmentFailure, SandboxUnavailable, GuestNotStarted) as error:
                log.warning("a round of upkeep failed, trying again in the next one: %s", error)
