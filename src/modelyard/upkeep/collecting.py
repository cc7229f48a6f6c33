"""Removes the blobs that nothing names. Safe while everything else goes on, on any number of machines.

A blob is written before the transaction that names it. So one is only removed if it was written before every run that
goes on now, and before every call that may still be under way; writing the same bytes again makes it new. What is named
is read as of one moment: a row that takes over another's blobs is seen with them, or the other is.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.database import Database, at_one_moment
from modelyard.execution import Run, RunState
from modelyard.storage import BlobStore
from modelyard.upkeep.references import find_referenced

#: By how much the clocks of two machines may differ.
CLOCKS_DIFFER = timedelta(seconds=30)


class Collected(NamedTuple):
    """What was found and removed."""

    kept: int
    removed: int
    removed_bytes: int
    #: Named by nothing, but too new to be sure.
    too_new: int


def collect(
    database: Database, store: BlobStore, now: datetime, grace_s: float, lasting: Collection[str] = ()
) -> Collected:
    """Removes every blob that nothing names and that is older than `grace_s` and than all work that is under way.

    `lasting` are kinds of runs that go on for ever and write no blobs.
    """
    with database.read() as session:
        at_one_moment(session)
        before = min(now - timedelta(seconds=grace_s), _oldest_work(session, lasting, now)) - CLOCKS_DIFFER
        named = find_referenced(session)
    kept = removed = removed_bytes = too_new = 0
    for digest in store.digests():
        if bytes.fromhex(digest) in named:
            kept += 1
            continue
        size = store.delete_if_older(digest, before)
        if size is None:
            too_new += 1
        else:
            removed, removed_bytes = removed + 1, removed_bytes + size
    return Collected(kept, removed, removed_bytes, too_new)


def _oldest_work(session: Session, lasting: Collection[str], now: datetime) -> datetime:
    running = select(func.min(Run.started_at)).where(Run.state == RunState.RUNNING, Run.kind.not_in(lasting))
    return session.scalar(running) or now
