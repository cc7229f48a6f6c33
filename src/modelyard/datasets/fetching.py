"""Where the bytes of a version that was not uploaded come from: files at a location, or rows of a database.

Called by the import's run. Bytes go straight to blobs, a chunk at a time, however many there are, and unread.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from modelyard.connectors.databases import FILES
from modelyard.connectors.locations import Found, find_place
from modelyard.connectors.questions import Question, find_database, read_rows, sql_of
from modelyard.datasets.reading import FileFormat, Reading
from modelyard.datasets.records import Dataset, DatasetVersion, Upload
from modelyard.datasets.streaming import take_rows
from modelyard.datasets.uploading import parts_of
from modelyard.errors import ApiError, InvalidParameterError
from modelyard.execution import RunContext
from modelyard.ids import DatabaseConnectorId, Digest
from modelyard.storage import BlobStore


class NotFetched(Exception):
    """The bytes are not to be had; the message is for whoever asked for them."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One file of a version: its blobs, one after the other."""

    name: str
    blobs: tuple[Digest, ...]
    size: int
    #: Service and query, where the file is a database and its table what the query gives.
    database: tuple[str, str] | None = None


def fetch(run: RunContext, version: DatasetVersion) -> tuple[list[Arrived], Reading]:
    """The version's files, ours now, and how to read them. NotFetched says why there are none."""
    reading = msgspec.convert(version.reading, Reading)
    try:
        if version.database_connector_config is not None:
            rows = _rows(run, version)
            return [rows], msgspec.structs.replace(reading, format=None if rows.database else FileFormat.AVRO)
        if version.location is not None:
            return _files(run, version, version.location), reading
        if version.upload_id is None:
            return _rows_online(run, version)
    except ApiError as error:
        raise NotFetched(error.message) from error
    return [_uploaded(run, version)], reading


def _rows_online(run: RunContext, version: DatasetVersion) -> tuple[list[Arrived], Reading]:
    with run.read() as session:
        table_id = session.get_one(Dataset, version.dataset_id).online_table_id
    if table_id is None:
        raise NotFetched("There is nothing that this version could be made from")
    taken = take_rows(run, table_id)
    with run.transaction() as session:
        session.get_one(DatasetVersion, version.dataset_version).online_change = taken.last_change
    return [Arrived("rows", (taken.blob.digest,), taken.blob.size)], taken.reading


def _uploaded(run: RunContext, version: DatasetVersion) -> Arrived:
    with run.read() as session:
        parts = parts_of(session, session.get_one(Upload, version.upload_id))
    return Arrived("upload", tuple(part.digest for part in parts), sum(part.size for part in parts))


def _files(run: RunContext, version: DatasetVersion, location: str) -> list[Arrived]:
    with run.read() as session:
        found = find_place(session, run.settings, version.organization_id, location)
    return list(_copied(run, found))


def _copied(run: RunContext, found: Found) -> Iterator[Arrived]:
    limit = run.settings.location_limit
    with found.open() as place:
        left = limit
        for file in place.files():
            if file.size is not None and file.size > left:
                raise _too_much(found.location, limit)
            chunks = _counted(run, place.read(file), left, found.location)
            blob = run.parts.get(BlobStore).put_chunks(chunks)
            left -= blob.size
            yield Arrived(file.name, (blob.digest,), blob.size)


def _rows(run: RunContext, version: DatasetVersion) -> Arrived:
    config = dict(version.database_connector_config or {})
    connector_id = DatabaseConnectorId(config.pop("databaseConnectorId"))
    with run.read() as session:
        database = find_database(session, run.settings, version.organization_id, connector_id)
    question = msgspec.convert(config, Question)
    if database.service in FILES:
        [file] = _copied(run, Found(str(database.auth["path"]), run.settings))
        return replace(file, database=(database.service, sql_of(database.service, question)))
    rows = read_rows(database, question)
    limit = run.settings.location_limit
    blob = run.parts.get(BlobStore).put_chunks(_counted(run, rows, limit, database.name))
    return Arrived(database.name, (blob.digest,), blob.size)


def _counted(run: RunContext, chunks: Iterator[bytes], limit: int, what: str) -> Iterator[bytes]:
    left = limit
    for chunk in chunks:
        run.check_cancelled()
        left -= len(chunk)
        if left < 0:
            raise _too_much(what, limit)
        yield chunk


def _too_much(what: str, limit: int) -> InvalidParameterError:
    return InvalidParameterError(
        f"{what[:200]} holds more than the {limit:,} bytes that one import may read (location_limit)"
    )
