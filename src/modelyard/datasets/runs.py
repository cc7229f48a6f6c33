"""What an agent is asked to do for datasets: import a version.

A file that is no table is data: the version is FAILED with a sentence, the run COMPLETE. Killed anywhere, the run is
claimed again; until its last transaction nothing of it can be seen.
"""

import msgspec
from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.datasets.creating import IMPORT_RUN
from modelyard.datasets.events import DatasetEvents
from modelyard.datasets.fetching import NotFetched, fetch
from modelyard.datasets.importing import Imported, ImportFailed, import_files
from modelyard.datasets.metrics import MEASURE_RUN, give_up_measuring, measure
from modelyard.datasets.records import TRANSITIONS, DatasetVersion, VersionStatus
from modelyard.execution import RunContext, RunKind
from modelyard.ids import DatasetVersionId


def import_version(run: RunContext) -> None:
    """Makes a version's table of its bytes."""
    version = _begin(run)
    if version is None:
        return
    try:
        files, reading = fetch(run, version)
        imported = import_files(run, files, reading)
    except (ImportFailed, NotFetched) as error:
        _end_failed(run, version.dataset_version, str(error))
    else:
        _end_complete(run, version.dataset_version, imported, sum(file.size for file in files))


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
