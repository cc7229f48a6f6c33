"""Datasets: create, upload, look, delete."""

from typing import Annotated, Any

import msgspec
from sqlalchemy import select, tuple_

from modelyard.actions import Call, UploadedFile, action, while_status
from modelyard.connectors.questions import Question
from modelyard.connectors.uses import forget_uses
from modelyard.database import Database
from modelyard.datasets import sources, uploading
from modelyard.datasets.creating import add_sourced_version, add_upload, create_dataset, start_import
from modelyard.datasets.events import DatasetEvents, UploadEvents
from modelyard.datasets.finding import get_dataset, get_upload, get_version, newest_complete
from modelyard.datasets.reading import FileFormat, ParsingConfig, Reading, read_options
from modelyard.datasets.records import (
    Dataset,
    DatasetVersion,
    SourceType,
    Upload,
    UploadPart,
    UploadStatus,
    VersionStatus,
)
from modelyard.datasets.shapes import dataset_shape, dataset_shapes, schema_of, upload_shape, version_shape
from modelyard.datasets.sources import Source
from modelyard.datasets.wire import (
    DatasetColumnShape,
    DatasetShape,
    DatasetVersionShape,
    UploadPartShape,
    UploadShape,
)
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
)
from modelyard.ids import DatabaseConnectorId, DatasetId, DatasetVersionId, UploadId
from modelyard.online_rows.tables import drop_table
from modelyard.refresh.actions import create_refresh_policy
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import forget_target
from modelyard.storage import BlobStore

_CREATE_ERRORS = (AlreadyExistsError, InvalidParameterError, InvalidEnumParameterError)

TableName = Annotated[str, "Name of the table, which no other table of the organisation has."]
Format = Annotated[FileFormat | None, "Format of the file; left out, it is recognised by what the file begins with."]
Delimiter = Annotated[str | None, "The character between values; left out, it is taken from the header."]
Parsing = Annotated[
    ParsingConfig | None,
    "The escape character and delimiter of text files, and the sheet of a spreadsheet (excelSheet).",
]


@action("POST", errors=_CREATE_ERRORS)
def create_dataset_from_upload(
    call: Call,
    *,
    table_name: TableName,
    file_format: Format = None,
    csv_delimiter: Delimiter = None,
    is_documentset: bool = False,
    extract_bounding_boxes: bool = False,
    parsing_config: Parsing = None,
    merge_file_schemas: Annotated[bool, "The files of an archive may have different columns."] = False,
    document_processing_config: dict[str, Any] | None = None,
    version_limit: int = 30,
) -> UploadShape:
    """Creates a dataset and gives an upload, to which the file is sent in parts."""
    _check_tabular(is_documentset, extract_bounding_boxes, document_processing_config)
    reading = read_options(file_format, csv_delimiter, parsing_config, merge_file_schemas=merge_file_schemas)
    dataset = create_dataset(call, table_name, reading, version_limit)
    return upload_shape(call.session, add_upload(call, dataset, reading))


@action("POST", errors=(DataNotFoundError, InvalidParameterError, InvalidEnumParameterError))
def create_dataset_version_from_upload(
    call: Call, *, dataset_id: DatasetId, file_format: Format = None, parsing_config: Parsing = None
) -> UploadShape:
    """Gives an upload that becomes the dataset's next version, read as the one before where nothing else is said."""
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    if dataset.source_type == SourceType.STREAMING:
        raise InvalidParameterError(f"Dataset {dataset_id} is written row by row; use snapshotStreamingData")
    return upload_shape(
        call.session, add_upload(call, dataset, _next_reading(dataset, file_format, None, parsing_config))
    )


@action("POST", errors=(DataNotFoundError, ConflictError, InvalidParameterError), own_transaction=True, proxy=True)
def upload_part(call: Call, *, upload_id: UploadId, part_number: int, part_data: UploadedFile) -> UploadPartShape:
    """Adds a part to an upload. Parts are numbered from 1 and may come in any order, several at a time.

    A part may be sent again until the upload is complete; the last one counts.
    """
    upload = get_upload(call.session, call.organization_id, upload_id)
    uploading.check_part(call.settings, upload, part_number, part_data)
    call.session.rollback()
    # The bytes are stored before the transaction that names them, so that parts don't wait for each other's disk.
    blob, md5 = uploading.store_part(call.parts.get(BlobStore), part_data)
    with call.parts.get(Database).write() as session:
        uploading.check_open(get_upload(session, call.organization_id, upload_id))
        session.merge(
            UploadPart(upload_id=upload_id, part_number=part_number, digest=blob.digest, md5=md5, size=blob.size)
        )
    return UploadPartShape(etag=blob.digest, md5=md5)


@action("POST", errors=(DataNotFoundError, ConflictError, InvalidParameterError))
def mark_upload_complete(call: Call, *, upload_id: UploadId) -> UploadShape:
    """Ends an upload whose parts, 1 to the last without a gap, have all arrived, and begins what it is for."""
    upload = get_upload(call.session, call.organization_id, upload_id)
    uploading.check_open(upload)
    size = uploading.check_whole(call.settings, upload, uploading.parts_of(call.session, upload))
    upload.status, upload.completed_at = UploadStatus.COMPLETE, call.clock()
    if upload.dataset_version is None:
        call.parts.get(UploadEvents).completed[upload.kind](call, upload)
    else:
        version = get_version(call.session, call.organization_id, upload.dataset_version)
        version.size = size
        start_import(call.session, version, size)
    return upload_shape(call.session, upload)


@action("GET", errors=(DataNotFoundError,), under_way=while_status("JOINING"))
def describe_upload(call: Call, *, upload_id: UploadId) -> UploadShape:
    """One upload with the parts that have arrived."""
    return upload_shape(call.session, get_upload(call.session, call.organization_id, upload_id))


@action("GET")
def list_uploads(call: Call) -> list[UploadShape]:
    """The organisation's uploads that are not complete yet, oldest first."""
    query = select(Upload).where(Upload.organization_id == call.organization_id, Upload.status == UploadStatus.PENDING)
    query = query.order_by(Upload.created_at, Upload.upload_id).limit(call.settings.page_size)
    return [upload_shape(call.session, upload) for upload in call.session.scalars(query)]


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def cancel_upload(call: Call, *, upload_id: UploadId) -> None:
    """Ends an upload that is not complete; its dataset version, or what else it was for, is FAILED then."""
    upload = get_upload(call.session, call.organization_id, upload_id)
    uploading.check_open(upload)
    upload.status, upload.completed_at = UploadStatus.CANCELLED, call.clock()
    if upload.dataset_version is None:
        call.parts.get(UploadEvents).cancelled[upload.kind](call, upload)
        return
    version = get_version(call.session, call.organization_id, upload.dataset_version)
    version.status, version.error = VersionStatus.FAILED, "The upload was cancelled"


@action("POST", errors=_CREATE_ERRORS)
def create_dataset_from_file_connector(
    call: Call,
    *,
    table_name: TableName,
    location: Annotated[
        str, "Where the files lie: s3://bucket/folder/*.csv, https://host/name.parquet, file:///name.csv."
    ],
    file_format: Format = None,
    refresh_schedule: Annotated[str | None, "A cron in UTC by which the file is read again."] = None,
    csv_delimiter: Delimiter = None,
    filename_column: str | None = None,
    start_prefix: str | None = None,
    until_prefix: str | None = None,
    sql_query: str | None = None,
    location_date_format: str | None = None,
    date_format_lookback_days: int | None = None,
    incremental: bool = False,
    is_documentset: bool = False,
    extract_bounding_boxes: bool = False,
    document_processing_config: dict[str, Any] | None = None,
    merge_file_schemas: bool = False,
    reference_only_documentset: bool = False,
    parsing_config: Parsing = None,
    version_limit: int = 30,
) -> DatasetShape:
    """Creates a dataset from a file that the server can read, and begins its import."""
    _check_tabular(is_documentset, extract_bounding_boxes, document_processing_config)
    _refuse_given(
        filenameColumn=filename_column,
        startPrefix=start_prefix,
        untilPrefix=until_prefix,
        sqlQuery=sql_query,
        locationDateFormat=location_date_format,
        dateFormatLookbackDays=date_format_lookback_days,
        incremental=incremental,
        referenceOnlyDocumentset=reference_only_documentset,
    )
    reading = read_options(file_format, csv_delimiter, parsing_config, merge_file_schemas=merge_file_schemas)
    source = sources.location_source(call, location)
    return _from_source(call, table_name, reading, version_limit, source, refresh_schedule)


@action("POST", errors=(DataNotFoundError, InvalidParameterError, InvalidEnumParameterError))
def create_dataset_version_from_file_connector(
    call: Call,
    *,
    dataset_id: DatasetId,
    location: str | None = None,
    file_format: Format = None,
    csv_delimiter: Delimiter = None,
    merge_file_schemas: bool | None = None,
    parsing_config: Parsing = None,
    sql_query: str | None = None,
) -> DatasetVersionShape:
    """Reads a dataset's file again, or another one, as its next version."""
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    _refuse_given(sqlQuery=sql_query)
    where = location or dataset.data_source
    if dataset.source_type != SourceType.EXTERNAL_SERVICE or where is None:
        way = (
            "snapshotStreamingData" if dataset.source_type == SourceType.STREAMING else "createDatasetVersionFromUpload"
        )
        raise InvalidParameterError(f"Dataset {dataset_id} is not read from a location; use {way}")
    if dataset.database_connector_config is not None:
        raise InvalidParameterError(
            f"Dataset {dataset_id} is of a database; use createDatasetVersionFromDatabaseConnector"
        )
    source = sources.location_source(call, where)
    reading = _next_reading(dataset, file_format, csv_delimiter, parsing_config)
    if merge_file_schemas is not None:
        reading = msgspec.structs.replace(reading, merge_schemas=merge_file_schemas)
    sources.note(call.session, dataset, source)
    return version_shape(add_sourced_version(call.session, dataset, reading, source))


@action("POST", errors=(*_CREATE_ERRORS, DataNotFoundError))
def create_dataset_from_database_connector(
    call: Call,
    *,
    table_name: TableName,
    database_connector_id: DatabaseConnectorId,
    object_name: Annotated[str | None, "The table or view to read."] = None,
    columns: Annotated[str | None, "Its columns, with commas between them; left out, all."] = None,
    query_arguments: Annotated[str | None, "What filters it: a condition, or WHERE, ORDER BY and LIMIT."] = None,
    refresh_schedule: Annotated[str | None, "A cron in UTC by which it is read again."] = None,
    sql_query: Annotated[str | None, "A query, in place of objectName, columns and queryArguments."] = None,
    incremental: bool = False,
    attachment_parsing_config: dict[str, Any] | None = None,
    incremental_database_connector_config: dict[str, Any] | None = None,
    document_processing_config: dict[str, Any] | None = None,
    version_limit: int = 30,
    semantic_view: bool = False,
    semantic_view_import_mode: str | None = None,
) -> DatasetShape:
    """Creates a dataset from a table or a query of a database, and begins its import. Types are kept."""
    _refuse_given(
        incremental=incremental,
        attachmentParsingConfig=attachment_parsing_config,
        incrementalDatabaseConnectorConfig=incremental_database_connector_config,
        documentProcessingConfig=document_processing_config,
        semanticView=semantic_view,
        semanticViewImportMode=semantic_view_import_mode,
    )
    question = Question(object_name=object_name, columns=columns, query_arguments=query_arguments, sql_query=sql_query)
    source = sources.database_source(call, database_connector_id, question)
    return _from_source(call, table_name, Reading(), version_limit, source, refresh_schedule)


@action("POST", errors=(DataNotFoundError, InvalidParameterError))
def create_dataset_version_from_database_connector(
    call: Call,
    *,
    dataset_id: DatasetId,
    object_name: str | None = None,
    columns: str | None = None,
    query_arguments: str | None = None,
    sql_query: str | None = None,
) -> DatasetVersionShape:
    """Reads a dataset's table or query again, or another one of the same database, as its next version."""
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    if dataset.database_connector_config is None:
        raise InvalidParameterError(f"Dataset {dataset_id} is not of a database connector")
    asked = Question(object_name=object_name, columns=columns, query_arguments=query_arguments, sql_query=sql_query)
    source = sources.next_database_source(call, dataset, asked)
    return version_shape(add_sourced_version(call.session, dataset, _next_reading(dataset, None, None, None), source))


@action("GET", errors=(DataNotFoundError, InvalidParameterError), writes=True)
def set_dataset_database_connector_config(
    call: Call,
    *,
    dataset_id: DatasetId,
    database_connector_id: DatabaseConnectorId,
    object_name: str | None = None,
    columns: str | None = None,
    query_arguments: str | None = None,
    sql_query: str | None = None,
) -> None:
    """Says what a dataset of a database connector is read from, and through which, from its next version on."""
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    asked = Question(object_name=object_name, columns=columns, query_arguments=query_arguments, sql_query=sql_query)
    sources.set_database_source(call, dataset, database_connector_id, asked)


@action("GET", errors=(DataNotFoundError,))
def describe_dataset(call: Call, *, dataset_id: DatasetId) -> DatasetShape:
    """One dataset with its newest version and the columns of its newest table."""
    return dataset_shape(call.session, get_dataset(call.session, call.organization_id, dataset_id))


@action(
    "GET",
    errors=(DataNotFoundError,),
    under_way=while_status("PENDING", "UPLOADING", "IMPORTING", "CONVERTING", "INSPECTING"),
)
def describe_dataset_version(call: Call, *, dataset_version: DatasetVersionId) -> DatasetVersionShape:
    """One version of a dataset."""
    return version_shape(get_version(call.session, call.organization_id, dataset_version))


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_datasets(
    call: Call,
    *,
    limit: int | None = None,
    start_after_id: DatasetId | None = None,
    exclude_streaming: bool = False,
) -> list[DatasetShape]:
    """The organisation's datasets, oldest first, `limit` of them after `startAfterId`."""
    query = select(Dataset).where(Dataset.organization_id == call.organization_id)
    if exclude_streaming:
        query = query.where(Dataset.source_type != SourceType.STREAMING)
    if start_after_id is not None:
        after = get_dataset(call.session, call.organization_id, start_after_id)
        query = query.where(tuple_(Dataset.created_at, Dataset.dataset_id) > (after.created_at, after.dataset_id))
    query = query.order_by(Dataset.created_at, Dataset.dataset_id).limit(_page(call, limit))
    return dataset_shapes(call.session, call.session.scalars(query).all())


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_dataset_versions(
    call: Call, *, dataset_id: DatasetId, limit: int | None = None, start_after_version: DatasetVersionId | None = None
) -> list[DatasetVersionShape]:
    """A dataset's versions, newest first, `limit` of them after `startAfterVersion`."""
    get_dataset(call.session, call.organization_id, dataset_id)
    position = tuple_(DatasetVersion.created_at, DatasetVersion.dataset_version)
    query = select(DatasetVersion).where(DatasetVersion.dataset_id == dataset_id)
    if start_after_version is not None:
        after = get_version(call.session, call.organization_id, start_after_version)
        query = query.where(position < (after.created_at, after.dataset_version))
    newest_first = (DatasetVersion.created_at.desc(), DatasetVersion.dataset_version.desc())
    return [
        version_shape(each) for each in call.session.scalars(query.order_by(*newest_first).limit(_page(call, limit)))
    ]


@action("GET", errors=(DataNotFoundError,))
def get_dataset_schema(call: Call, *, dataset_id: DatasetId) -> list[DatasetColumnShape]:
    """The columns of a dataset's newest table; none before its first import has ended."""
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    return schema_of(newest_complete(call.session, dataset.dataset_id))


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_dataset(call: Call, *, dataset_id: DatasetId) -> None:
    """Deletes a dataset with its versions. A dataset that others stand on is kept, and they are named."""
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    for hear in call.parts.get(DatasetEvents).deleting:
        hear(call.session, dataset)
    forget_target(call.session, RefreshType.DATASET, dataset_id)
    forget_uses(call.session, "dataset", dataset_id)
    if dataset.online_table_id is not None:
        drop_table(call.session, dataset.online_table_id)
    call.session.delete(dataset)


def _from_source(
    call: Call, table_name: str, reading: Reading, version_limit: int, source: Source, refresh_schedule: str | None
) -> DatasetShape:
    dataset = create_dataset(call, table_name, reading, version_limit, source=source)
    add_sourced_version(call.session, dataset, reading, source)
    if refresh_schedule:
        ids, kind = [dataset.dataset_id], RefreshType.DATASET
        create_refresh_policy(call, name=table_name, cron=refresh_schedule, refresh_type=kind, dataset_ids=ids)
    return dataset_shape(call.session, dataset)


def _next_reading(
    dataset: Dataset, file_format: FileFormat | None, csv_delimiter: str | None, parsing_config: ParsingConfig | None
) -> Reading:
    """How the next version is read: as the dataset's last, but for what the caller says; the dataset keeps it."""
    before = msgspec.convert(dataset.reading, Reading)
    delimiter = csv_delimiter
    if delimiter is None and parsing_config is None and file_format in (None, before.format):
        delimiter = before.delimiter
    reading = read_options(
        file_format or before.format,
        delimiter,
        parsing_config or before.parsing_config,
        merge_file_schemas=before.merge_schemas,
    )
    dataset.reading = msgspec.to_builtins(reading)
    return reading


def _check_tabular(is_documentset: bool, extract_bounding_boxes: bool, config: dict[str, Any] | None) -> None:
    if is_documentset or extract_bounding_boxes or config:
        raise InvalidParameterError(
            "Only tables can be imported here, no documents: leave isDocumentset, extractBoundingBoxes and "
            "documentProcessingConfig out"
        )


def _refuse_given(**values: object) -> None:
    given = [name for name, value in values.items() if value]
    if given:
        raise InvalidParameterError(f"These can't be used here, leave them out: {', '.join(given)}")


def _page(call: Call, limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit must be at least 1, not {limit}")
    return min(limit or call.settings.page_size, 1000)
