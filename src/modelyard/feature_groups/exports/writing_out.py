"""The one way in which a table is written out: for exports, for batch predictions, for schedules.

A guest turns the rows into bytes (`streaming.py`); this hands them on to a blob, a location or a database as they come.
Whoever calls is a run, which may be killed anywhere and called again: a file is whole or not there, a database has all
rows once.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.connectors.databases import FILES, Database, find_database
from modelyard.connectors.files import Place, taken
from modelyard.connectors.writing import Order, Outgoing, RowRefused, form_of, may_pass, write_rows
from modelyard.database import JsonObject
from modelyard.errors import ApiError, FailedDependencyError
from modelyard.execution import Retry, RunContext
from modelyard.feature_groups.exports.database_files import write_file
from modelyard.feature_groups.exports.destinations import Destination, Kind, check_columns, open_place
from modelyard.feature_groups.exports.streaming import StreamFailed, streamed
from modelyard.ids import OrganizationId
from modelyard.storage import Blob, BlobStore, Table

_PART = re.compile(r"part-(\d{5})\.[a-z]+")
_DATABASE_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A table, and where it goes."""

    table: Table
    destination: Destination
    organization_id: OrganizationId
    #: Names this job for ever, through all its attempts.
    receipt: str
    #: Whether files that are there may be those of an earlier attempt.
    has_begun: bool = False


class NotWritten(Exception):
    """The rows are not there; the message is for the user. `refused`: rows that a database refused, and why."""

    def __init__(self, reason: str, refused: Sequence[JsonObject] = ()) -> None:
        super().__init__(reason)
        self.refused = list(refused)


def write_out(run: RunContext, job: Job, begin: Callable[[], None] = lambda: None) -> Blob | None:
    """Writes the rows; gives the blob if they are kept here. NotWritten says why they are not there.

    `begin` is called before the first byte leaves, when it is clear that nothing is in the way.
    """
    try:
        check_columns(job.destination, job.table)
        if job.destination.kind is Kind.CONSOLE:
            return _keep(run, job)
        if job.destination.kind is Kind.FILE:
            _write_files(run, job, begin)
        else:
            _write_database(run, job)
    except StreamFailed as error:
        raise NotWritten(str(error)) from error
    except RowRefused as error:
        refused: JsonObject = {"row": error.row, "column": error.column, "error": error.reason}
        raise NotWritten(f"{error}. Nothing was written.", [refused]) from error
    except FailedDependencyError as error:
        run.check_cancelled()
        if may_pass(error):
            raise Retry(error.message, _DATABASE_AGAIN_S) from error
        raise NotWritten(error.message) from error
    except ApiError as error:
        run.check_cancelled()
        raise NotWritten(error.message) from error
    return None


def _keep(run: RunContext, job: Job) -> Blob:
    with streamed(run, job.table, _message(run, job)) as stream:
        return run.parts.get(BlobStore).put_chunks(next(stream.files()))


def _write_files(run: RunContext, job: Job, begin: Callable[[], None]) -> None:
    with run.read() as session:
        found = open_place(session, run.settings, job.organization_id, job.destination)
    may_overwrite = job.destination.overwrite or job.has_begun
    with found.open(to_write=True) as place:
        is_folder = found.location.endswith("/")
        there = [name for name in place.names() if not is_folder or _PART.fullmatch(name)]
        if there and not may_overwrite:
            raise taken(f"{found.location}{there[0] if is_folder else ''}")
        if not is_folder:
            begin()
            with streamed(run, job.table, _message(run, job)) as stream:
                place.write("table", next(stream.files()))
            return
        begin()
        _write_parts(run, job, place, there)


def _write_parts(run: RunContext, job: Job, place: Place, there: list[str]) -> None:
    """A folder of parts; what an earlier export left beyond them is taken away, or it would belong to the table."""
    message, written = _message(run, job) | {"part_bytes": run.settings.export_part_bytes}, set[str]()
    with streamed(run, job.table, message) as stream:
        for number, chunks in enumerate(stream.files()):
            name = f"part-{number:05}.{job.destination.file_format.ending}"
            place.write(name, chunks)
            written.add(name)
    for name in there:
        if name not in written:
            place.remove(name)


def _write_database(run: RunContext, job: Job) -> None:
    connector_id = job.destination.database_connector_id
    assert connector_id is not None
    with run.read() as session:
        database = find_database(session, run.settings, job.organization_id, connector_id)
    order = _order(job)
    if database.service in FILES:
        write_file(run, database, order, job.table, _pairs(job))
        return
    _write_rows(run, database, order, job)


def _write_rows(run: RunContext, database: Database, order: Order, job: Job) -> None:
    message = {"format": form_of(database.service), "columns": _pairs(job), "formula_safe": False}
    with streamed(run, job.table, message) as stream:
        write_rows(database, order, next(stream.files()))


def _order(job: Job) -> Order:
    kinds = {column.name: column.type for column in job.table.columns}
    columns = tuple(Outgoing(outside, kinds[inside]) for inside, outside in _pairs(job))
    destination = job.destination
    return Order(destination.object_name or "", destination.write_mode, columns, destination.keys, job.receipt)


def _pairs(job: Job) -> list[tuple[str, str]]:
    """Name in the table, name outside."""
    if job.destination.mapping:
        return [(feature, column) for column, feature in job.destination.mapping.items()]
    return [(column.name, column.name) for column in job.table.columns]


def _message(run: RunContext, job: Job) -> dict[str, Any]:
    format_ = job.destination.file_format.value
    return {"format": format_, "columns": None, "formula_safe": run.settings.formula_safe, "part_bytes": 0}
