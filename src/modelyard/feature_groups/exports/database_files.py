"""Rows into a SQLite or DuckDB file below the operator's folders: a guest writes a copy, which takes the file's place.

The engines run in a guest alone. The new file appears by one rename, so whoever reads the old one keeps it, and nobody
sees a file between the two. What somebody else wrote meanwhile would be lost by that, so a file that has changed is not
replaced.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, Any

from modelyard.connectors.databases import Database
from modelyard.connectors.folders import Folder
from modelyard.connectors.writing import Order, RowRefused
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.errors import ConflictError
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.feature_groups.exports.streaming import StreamFailed
from modelyard.feature_groups.sizes import limits_of
from modelyard.feature_groups.twins import opened_parts
from modelyard.sandbox import Guest, GuestNotStarted, Outcome, Sandbox, SandboxUnavailable
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.storage import BlobStore, Table

_AGAIN_S = 2.0
#: One file at a time is compared and replaced, so that two exports into the same one don't take each other for nobody.
_placing = threading.Lock()
_CHUNK = 1024**2


def write_file(run: RunContext, database: Database, order: Order, table: Table, pairs: list[tuple[str, str]]) -> None:
    """Writes all rows into the connector's file, or none."""
    folder = Folder(str(database.auth["path"]), run.settings.file_write_roots, "file_write_roots")
    message = {
        "service": database.service, "object_name": order.object_name, "mode": order.mode, "columns": pairs,
        "keys": list(order.keys), "receipt": order.receipt,
        "memory_gib": limits_of(run.settings, None, None).memory_gib,
    }  # fmt: skip
    with _copied(run, folder) as (copy, before):

        def take_its_place(guest: Guest, result: dict[str, Any]) -> None:
            if result.get("done") is True:
                return
            with _placing, guest.open(str(result.get("path"))) as stream:
                if _state(folder) != before:
                    raise Retry("somebody else wrote the database file meanwhile", _AGAIN_S)
                folder.write("file", iter(lambda: stream.read(_CHUNK), b""))

        outcome = _run(run, table, message, copy, take_its_place)
    if outcome.error is None:
        return
    run.check_cancelled()
    if outcome.error.was_killed:
        raise Retry(outcome.error.sentence)
    refused = (outcome.error.value or "").partition("\n")
    if outcome.error.type == "RowRefused":
        row, _, words = refused[2].partition("\n")
        raise RowRefused(words, int(row) if row.isdigit() else None)
    known = outcome.error.type == "ValueError"
    raise StreamFailed(outcome.error.value if known else f"The table could not be written: {outcome.error.sentence}")


def _run(run: RunContext, table: Table, message: dict[str, Any], copy: IO[bytes], collect: Any) -> Outcome[None]:
    size = os.fstat(copy.fileno()).st_size
    limits = limits_of(run.settings, None, None)
    needed = 2 + 3 * (size + 8 * table.size) / 1024**3
    limits = dataclasses.replace(limits, scratch_gib=max(limits.scratch_gib, needed))
    try:
        base = run.parts.get(Environments).base()
        with base.hold(), opened_parts(run.parts.get(BlobStore), table) as descriptors:
            return run.parts.get(Sandbox).run(
                base.interpreter, limits, "write_database", message, fds=[*descriptors, copy.fileno()],
                on_output=run.log, cancelled=run.cancelled, collect=collect, name="export",
            )  # fmt: skip
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except (GuestNotStarted, ScratchRefused) as error:
        raise Retry(f"a guest could not be started: {error}") from error
    except EnvironmentFailure as error:
        raise (Retry(str(error)) if error.temporary else Permanent(str(error))) from error


@contextlib.contextmanager
def _copied(run: RunContext, folder: Folder) -> Iterator[tuple[IO[bytes], tuple[int, ...] | None]]:
    """A copy without a name, empty where there is no file yet, and what the file looked like then."""
    before = _state(folder)
    place = run.settings.home / "joining"
    place.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile(dir=place) as copy:
        if before is not None:
            _check_alone(folder)
            with folder.path().open("rb") as source:
                shutil.copyfileobj(source, copy, _CHUNK)
        copy.flush()
        yield copy, before


def _state(folder: Folder) -> tuple[int, ...] | None:
    """What changes when somebody writes the file; None where there is none."""
    if not folder.names():
        return None
    state = folder.path().stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _check_alone(folder: Folder) -> None:
    """Refuses a file whose newest changes stand beside it: a new file under its name would be read with them."""
    path = folder.path()
    for ending in ("-wal", "-journal", ".wal"):
        beside = path.with_name(path.name + ending)
        with contextlib.suppress(FileNotFoundError):
            if beside.stat().st_size:
                raise ConflictError(
                    f"{path.name} is being written by another program ({beside.name} is not empty); have it checkpoint "
                    "or end first"
                )
