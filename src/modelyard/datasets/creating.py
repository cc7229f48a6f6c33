"""How a dataset and its versions come to be: rows, the event that the rooms above hear, and the import's run.

Called by `actions.py`; everything happens in the caller's transaction, so a version is never there without its run.
"""

import re

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.clock import utc_now
from modelyard.datasets.events import DatasetEvents
from modelyard.datasets.reading import Reading
from modelyard.datasets.records import Dataset, DatasetVersion, SourceType, Upload, UploadStatus, VersionStatus
from modelyard.datasets.sources import Source, note
from modelyard.errors import AlreadyExistsError, InvalidParameterError
from modelyard.execution import Demand, enqueue
from modelyard.ids import (
    DatasetId,
    DatasetVersionId,
    ModelId,
    ModelVersionId,
    OnlineTableId,
    OrganizationId,
    UploadId,
    new_id,
)

#: Longest name of a table. Source: the SDK's createFeatureGroup, table_name.
TABLE_NAME_LIMIT = 120
#: Fewest versions that a dataset or feature group may be told to keep. Source: as above, version_limit.
LEAST_VERSIONS = 30
#: Name of the run that imports a version.
IMPORT_RUN = "datasets.import"
_GIB = 1024**3


def create_dataset(
    call: Call,
    table_name: str,
    reading: Reading,
    version_limit: int,
    *,
    source: Source | None = None,
    online_table_id: OnlineTableId | None = None,
) -> Dataset:
    """A new dataset without versions, and with it whatever the rooms above make of one."""
    check_table_name(table_name)
    check_version_limit(version_limit)
    _check_free(call.session, call.organization_id, table_name)
    dataset = Dataset(
        dataset_id=DatasetId(new_id()),
        organization_id=call.organization_id,
        feature_group_table_name=table_name,
        source_type=_source_type(source, online_table_id),
        online_table_id=online_table_id,
        data_source=source.name if source else None,
        database_connector_config=source.database if source else None,
        version_limit=version_limit,
        reading=msgspec.to_builtins(reading),
        created_at=call.clock(),
    )
    call.session.add(dataset)
    call.session.flush()
    if source is not None:
        note(call.session, dataset, source)
    for hear in call.parts.get(DatasetEvents).created:
        hear(call.session, dataset)
    return dataset


def add_upload(call: Call, dataset: Dataset, reading: Reading) -> Upload:
    """A new version of the dataset that waits for its upload, and that upload."""
    upload_id = UploadId(new_id())
    version = _add_version(call.session, dataset, reading, upload_id=upload_id)
    upload = Upload(
        upload_id=upload_id,
        organization_id=dataset.organization_id,
        dataset_id=dataset.dataset_id,
        dataset_version=version.dataset_version,
        status=UploadStatus.PENDING,
        created_at=version.created_at,
    )
    call.session.add(upload)
    return upload


def open_upload(
    call: Call, kind: str, *, model_id: ModelId, model_version: ModelVersionId | None = None,
    session: Session | None = None,
) -> Upload:  # fmt: skip
    """An upload for a room above, which `UploadEvents` tells of its end; in `session`, or else the call's own."""
    session = session or call.session
    upload = Upload(
        upload_id=UploadId(new_id()),
        organization_id=call.organization_id,
        kind=kind,
        model_id=model_id,
        model_version=model_version,
        status=UploadStatus.PENDING,
        created_at=call.clock(),
    )
    session.add(upload)
    session.flush()
    return upload


def add_sourced_version(session: Session, dataset: Dataset, reading: Reading, source: Source) -> DatasetVersion:
    """A new version of the dataset whose bytes an agent reads from where they are."""
    version = _add_version(session, dataset, reading, source=source)
    start_import(session, version, 0)
    return version


def add_snapshot(session: Session, dataset: Dataset) -> DatasetVersion:
    """A new version of a streaming dataset, of the rows as an agent finds them."""
    version = _add_version(session, dataset, msgspec.convert(dataset.reading, Reading))
    start_import(session, version, 0)
    return version


def start_import(session: Session, version: DatasetVersion, size: int) -> None:
    """Puts the import of a version on the table of runs; `size` is what it has to read, in bytes."""
    memory_gib = 2.0 if size < _GIB // 4 else 4.0
    enqueue(
        session,
        IMPORT_RUN,
        {"datasetVersion": version.dataset_version},
        target=version.dataset_version,
        organization_id=version.organization_id,
        demand=Demand(cores=1, memory_gib=memory_gib),
    )


def check_table_name(name: str) -> None:
    """Raises InvalidParameterError for what is no name of a table."""
    if not re.fullmatch(r"\w+", name, re.ASCII) or len(name) > TABLE_NAME_LIMIT:
        raise InvalidParameterError(
            f"Invalid tableName {name[:200]!r}: it must be 1 to {TABLE_NAME_LIMIT} letters, digits and underscores"
        )


def check_version_limit(version_limit: int) -> None:
    """Refuses a limit below the least."""
    if version_limit < LEAST_VERSIONS:
        raise InvalidParameterError(f"versionLimit is {version_limit}; it must be at least {LEAST_VERSIONS}")


def _source_type(source: Source | None, online_table_id: OnlineTableId | None) -> SourceType:
    if online_table_id is not None:
        return SourceType.STREAMING
    return SourceType.UPLOAD if source is None else SourceType.EXTERNAL_SERVICE


def _check_free(session: Session, organization_id: OrganizationId, table_name: str) -> None:
    taken = select(Dataset.dataset_id).where(
        Dataset.organization_id == organization_id, Dataset.feature_group_table_name == table_name
    )
    if session.scalar(taken) is not None:
        raise AlreadyExistsError(f"There is a table {table_name} already; choose another name")


def _add_version(
    session: Session,
    dataset: Dataset,
    reading: Reading,
    *,
    upload_id: UploadId | None = None,
    source: Source | None = None,
) -> DatasetVersion:
    version = DatasetVersion(
        dataset_version=DatasetVersionId(new_id()),
        dataset_id=dataset.dataset_id,
        organization_id=dataset.organization_id,
        status=VersionStatus.PENDING,
        upload_id=upload_id,
        location=source.location if source else None,
        database_connector_config=source.database if source else None,
        reading=msgspec.to_builtins(msgspec.structs.replace(reading, column_types=dataset.column_types or {})),
        created_at=utc_now(),
    )
    session.add(version)
    session.flush()
    return version
