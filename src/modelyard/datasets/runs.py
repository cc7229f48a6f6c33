"""What an agent is asked to do for datasets: import a version.

A file that is no table is data: the version is FAILED with a sentence, the run COMPLETE. Killed anywhere, the run is
claimed again; until its last transaction nothing of it can be seen.
"""

import msgspec
from sqlalchemy.orm import Session

from modelyard.connectors.locations import open_location
from modelyard.database import JsonObject
from modelyard.datasets.creating import IMPORT_RUN
from modelyard.datasets.events import DatasetEvents
from modelyard.datasets.importing import Imported, ImportFailed, import_bytes
from modelyard.datasets.metrics import MEASURE_RUN, give_up_measuring, measure
from modelyard.datasets.reading import Reading
from modelyard.datasets.records import TRANSITIONS, DatasetVersion, Upload, VersionStatus
from modelyard.datasets.uploading import parts_of
from modelyard.errors import InvalidParameterError
from modelyard.execution import RunContext, RunKind
from modelyard.ids import DatasetVersionId, Digest
from modelyard.storage import BlobStore


def import_version(run: RunContext) -> None:
    """Makes a version's table of its bytes."""
    version = _begin(run)
    if version is None:
        return
    try:
        blobs, size = _bytes_of(run, version)
        imported = import_bytes(run, blobs, size, msgspec.convert(version.reading, Reading))
    except ImportFailed as error:
        _end_failed(run, version.dataset_version, str(error))
    else:
        _end_complete(run, version.dataset_version, imported, size)


def give_up_import(session: Session, payload: JsonObject, reason: str) -> None:
    """The import will not be tried again."""
    version = session.get(DatasetVersion, DatasetVersionId(payload["datasetVersion"]))
    if version is not None and VersionStatus.FAILED in TRANSITIONS[version.status]:
        version.status, version.error = VersionStatus.FAILED, f"The import was given up: {reason}"


KINDS = (
    RunKind(IMPORT_RUN, import_version, give_up_import),
    RunKind(MEASURE_RUN, measure, give_up_measuring),
)


def _begin(run: RunContext) -> DatasetVersion | None:
    """The version, IMPORTING now; None if it was deleted meanwhile."""
    with run.transaction() as session:
        version = session.get(DatasetVersion, DatasetVersionId(run.payload["datasetVersion"]))
        if version is not None:
            version.status = VersionStatus.IMPORTING
        return version


def _bytes_of(run: RunContext, version: DatasetVersion) -> tuple[list[Digest], int]:
    """The blobs of the version's bytes, in order, and their size; a location is copied first."""
    if version.location is not None:
        try:
            with open_location(run.settings, version.location) as source:
                blob = run.parts.get(BlobStore).put_stream(source)
        except InvalidParameterError as error:
            raise ImportFailed(error.message) from error
        return [blob.digest], blob.size
    with run.read() as session:
        upload = session.get_one(Upload, version.upload_id)
        parts = parts_of(session, upload)
    return [part.digest for part in parts], sum(part.size for part in parts)


def _end_complete(run: RunContext, dataset_version: DatasetVersionId, imported: Imported, size: int) -> None:
    with run.transaction() as session:
        version = session.get(DatasetVersion, dataset_version)
        if version is not None:
            version.status = VersionStatus.COMPLETE
            version.table = msgspec.to_builtins(imported.table)
            version.size, version.row_count = size, imported.table.rows
            version.inspected, version.error = imported.inspected, None
            version.completed_at = run.clock()
            session.flush()
            for hear in run.parts.get(DatasetEvents).version_completed:
                hear(session, version)
        run.complete(session)


def _end_failed(run: RunContext, dataset_version: DatasetVersionId, error: str) -> None:
    with run.transaction() as session:
        version = session.get(DatasetVersion, dataset_version)
        if version is not None:
            version.status, version.error, version.completed_at = VersionStatus.FAILED, error, run.clock()
        run.complete(session)
