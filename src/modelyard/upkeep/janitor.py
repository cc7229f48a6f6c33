"""The janitor: a thread beside each agent that lets go what nobody needs, once an hour, and tells what it did.

Several at once do no harm: each step is safe against all others. A round that fails is tried again in the next one.
"""

import logging
from collections.abc import Collection
from datetime import datetime

from modelyard.batch_predictions.runs import sweep
from modelyard.clock import Clock
from modelyard.container import Container
from modelyard.database import Database
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.execution.companion import Companion
from modelyard.observability.expiring import expire as expire_observed
from modelyard.sandbox import GuestNotStarted, SandboxUnavailable
from modelyard.settings import Settings
from modelyard.storage import BlobStore
from modelyard.upkeep.caches import evict_files
from modelyard.upkeep.collecting import collect
from modelyard.upkeep.expiring import expire

log = logging.getLogger(__name__)
_GIB = 1024**3


def janitor(
    database: Database, parts: Container, settings: Settings, clock: Clock, lasting: Collection[str]
) -> Companion:
    """What does a round of upkeep every `upkeep_s`, beside an agent."""
    failures = (OSError, EnvironmentFailure, SandboxUnavailable, GuestNotStarted)
    return Companion(
        "janitor", settings.upkeep_s, lambda: keep_up(database, parts, settings, clock(), lasting), failures
    )


def keep_up(database: Database, parts: Container, settings: Settings, now: datetime, lasting: Collection[str]) -> None:
    """One round."""
    with database.write() as session:
        expire(session, now, settings.results_keep_s)
    expire_observed(database, settings, now)
    with database.read() as session:
        sweep(session, settings)
    store = parts.get(BlobStore)
    done = collect(database, store, now, settings.blob_grace_s, lasting)
    if done.removed:
        log.info("%d blobs that nothing names are gone, %d bytes", done.removed, done.removed_bytes)
    if settings.tables_limit_gib:
        evict_files(settings.cache_dir / "tables", settings.tables_limit_gib * _GIB)
    if settings.environments_limit_gib and (settings.cache_dir / "environments").is_dir():
        evicted = parts.get(Environments).evict(settings.environments_limit_gib * _GIB)
        if evicted:
            log.info("%d environments were evicted (environments_limit_gib)", evicted)
