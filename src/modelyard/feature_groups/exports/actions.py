"""Exports: write a version's rows out, look how far that is, download, have a group export itself."""

from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from sqlalchemy import select

from modelyard.actions import Call, RawBytes, action, while_status
from modelyard.clock import iso
from modelyard.errors import (
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
    NotReadyError,
    PermissionDeniedError,
)
from modelyard.feature_groups.downloads import table_of
from modelyard.feature_groups.exports import destinations
from modelyard.feature_groups.exports.destinations import (
    Destination,
    ExportFormat,
    FeatureMapping,
    IdColumn,
    Kind,
    Mode,
    MoreIdColumns,
    TableName,
    check_columns,
    check_destination,
    destination_of,
    into_database,
    read_config,
)
from modelyard.feature_groups.exports.exporting import get_export, start_export
from modelyard.feature_groups.exports.links import sign_link
from modelyard.feature_groups.modifying import get_modifiable
from modelyard.feature_groups.records import ExportStatus, FeatureGroup, FeatureGroupExport
from modelyard.feature_groups.tables import get_feature_group, get_version
from modelyard.feature_groups.wire import DownloadUrlShape, ExportShape
from modelyard.ids import DatabaseConnectorId, FeatureGroupExportId, FeatureGroupId, FeatureGroupVersionId

_ERRORS = (DataNotFoundError, InvalidParameterError, InvalidEnumParameterError, ConflictError, NotReadyError)
_DATABASE_ERRORS = (*_ERRORS, MissingParameterError)

Format = Annotated[ExportFormat, "CSV, TSV, JSON (one object a line), AVRO or PARQUET."]


@action("POST", errors=_ERRORS)
def export_feature_group_version_to_file_connector(
    call: Call,
    *,
    feature_group_version: FeatureGroupVersionId,
    location: Annotated[str, "A file, or with a slash at its end a folder, which gets parts of some 512 MB."],
    export_file_format: Format,
    overwrite: Annotated[bool, "Whether a file that is there may be replaced; else the export fails."] = False,
) -> ExportShape:
    """Writes a version's rows to a bucket, or to a folder that the operator opened. The answer is PENDING.

    A file is there whole or not at all.
    """
    destination = Destination(kind=Kind.FILE, location=location, file_format=export_file_format, overwrite=overwrite)
    return _start(call, feature_group_version, destination)


@action("POST", errors=_DATABASE_ERRORS)
def export_feature_group_version_to_database_connector(
    call: Call,
    *,
    feature_group_version: FeatureGroupVersionId,
    database_connector_id: DatabaseConnectorId,
    object_name: TableName,
    write_mode: Mode,
    database_feature_mapping: FeatureMapping,
    id_column: IdColumn = None,
    additional_id_columns: MoreIdColumns = None,
) -> ExportShape:
    """Writes a version's rows into a table of a database: all of them or none. The answer is PENDING."""
    destination = into_database(
        database_connector_id, object_name, write_mode, database_feature_mapping, id_column, additional_id_columns
    )
    return _start(call, feature_group_version, destination)


@action("POST", errors=_ERRORS)
def export_feature_group_version_to_console(
    call: Call, *, feature_group_version: FeatureGroupVersionId, export_file_format: Format
) -> ExportShape:
    """Writes a version's rows to a file here, which getFeatureGroupVersionExportDownloadUrl gives a link to."""
    return _start(call, feature_group_version, Destination(kind=Kind.CONSOLE, file_format=export_file_format))


@action("GET", errors=(DataNotFoundError,), under_way=while_status("PENDING", "EXPORTING"))
def describe_feature_group_export(call: Call, *, feature_group_export_id: FeatureGroupExportId) -> ExportShape:
    """One export."""
    return _shape(get_export(call.session, call.organization_id, feature_group_export_id))


@action("GET", errors=(DataNotFoundError,))
def list_feature_group_exports(call: Call, *, feature_group_id: FeatureGroupId) -> list[ExportShape]:
    """The exports of a feature group's versions, newest first."""
    get_feature_group(call.session, call.organization_id, feature_group_id)
    query = select(FeatureGroupExport).where(FeatureGroupExport.feature_group_id == feature_group_id)
    newest = (FeatureGroupExport.created_at.desc(), FeatureGroupExport.feature_group_export_id)
    return [_shape(each) for each in call.session.scalars(query.order_by(*newest).limit(call.settings.page_size * 10))]


@action("GET", errors=(DataNotFoundError, ConflictError, NotReadyError))
def get_feature_group_version_export_download_url(
    call: Call, *, feature_group_export_id: FeatureGroupExportId
) -> DownloadUrlShape:
    """A link to the file of an export to the console. Whoever has it needs no key until it expires."""
    export = get_export(call.session, call.organization_id, feature_group_export_id)
    destination = destination_of(export.destination)
    if destination.kind is not Kind.CONSOLE:
        raise ConflictError(
            f"Export {feature_group_export_id} went elsewhere ({_where(destination)}); nothing is kept here"
        )
    if export.status == ExportStatus.FAILED:
        raise ConflictError(f"Export {feature_group_export_id} has no file, since it failed: {export.error}")
    if export.status != ExportStatus.COMPLETE:
        raise NotReadyError(f"Export {feature_group_export_id} is {export.status}; wait for its end")
    if export.file_digest is None:
        raise ConflictError(
            f"The file of export {feature_group_export_id} was kept for its time; export the version again"
        )
    group = call.session.get_one(FeatureGroup, export.feature_group_id)
    link, expires_at = sign_link(call.settings, call.clock(), export.feature_group_export_id)
    name = quote(f"{group.table_name}.{destination.file_format.ending}")
    return DownloadUrlShape(download_url=f"{call.base_url}/exports/{link}/{name}", expires_at=iso(expires_at) or "")


@action("GET", errors=(DataNotFoundError,))
def get_feature_group_export_connector_errors(call: Call, *, feature_group_export_id: FeatureGroupExportId) -> RawBytes:
    """The row that the database refused, as a line of JSON: `row` (from 1), `column`, `error`. Empty if none was."""
    export = get_export(call.session, call.organization_id, feature_group_export_id)
    lines = [msgspec.json.encode(each) + b"\n" for each in export.refused_rows]
    return RawBytes(iter(lines))


@action("POST", errors=(*_DATABASE_ERRORS, PermissionDeniedError))
def set_feature_group_export_connector_config(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    feature_group_export_config: Annotated[
        dict[str, Any] | None,
        "The SDK's FileConnectorExportConfig or DatabaseConnectorExportConfig; {}: none any more.",
    ] = None,
) -> None:
    """Says where a feature group's rows are exported to. setExportOnMaterialization has each new version go there."""
    group = get_modifiable(call, feature_group_id)
    destination = None
    if feature_group_export_config:
        destination = read_config("featureGroupExportConfig", feature_group_export_config)
        check_destination(call.session, call.settings, call.organization_id, destination)
    found = None
    if destination is not None and destination.kind is Kind.FILE:
        found = destinations.open_place(call.session, call.settings, call.organization_id, destination)
    destinations.note_destination(
        call.session, destination, found, "feature group export", group.feature_group_id, group.table_name
    )
    group.export_destination = destination.as_json if destination else None
    group.export_on_materialization = group.export_on_materialization and destination is not None
    group.updated_at = call.clock()


@action("POST", errors=(DataNotFoundError, ConflictError, PermissionDeniedError))
def set_export_on_materialization(call: Call, *, feature_group_id: FeatureGroupId, enable: bool) -> None:
    """Has each new version of a feature group export itself, or no longer."""
    group = get_modifiable(call, feature_group_id)
    if enable and group.export_destination is None:
        raise ConflictError(
            f"Feature group {group.table_name} has nowhere to export to; say where with "
            "setFeatureGroupExportConnectorConfig"
        )
    group.export_on_materialization, group.updated_at = enable, call.clock()


def _start(call: Call, feature_group_version: FeatureGroupVersionId, destination: Destination) -> ExportShape:
    version = get_version(call.session, call.organization_id, feature_group_version)
    check_destination(call.session, call.settings, call.organization_id, destination)
    check_columns(destination, table_of(version, f"Feature group version {feature_group_version}"))
    return _shape(start_export(call.session, version, destination))


def _where(destination: Destination) -> str:
    return destination.location or destination.object_name or ""


def _shape(export: FeatureGroupExport) -> ExportShape:
    destination = destination_of(export.destination)
    is_file, is_database = destination.kind is Kind.FILE, destination.kind is Kind.DATABASE
    return ExportShape(
        feature_group_export_id=export.feature_group_export_id,
        failed_writes=export.failed_writes,
        total_writes=export.total_writes,
        feature_group_version=export.feature_group_version,
        connector_type="FILE_CONNECTOR" if is_file else "DATABASE_CONNECTOR" if is_database else None,
        output_location=destination.location,
        file_format=None if is_database else destination.file_format,
        database_connector_id=destination.database_connector_id,
        object_name=destination.object_name,
        write_mode=destination.write_mode if is_database else None,
        database_feature_mapping=destination.mapping if is_database else None,
        id_column=destination.id_column,
        status=export.status,
        created_at=iso(export.created_at),
        export_completed_at=iso(export.completed_at) if export.status == ExportStatus.COMPLETE else None,
        additional_id_columns=list(destination.additional_id_columns) if is_database else None,
        error=export.error,
        database_output_error=is_database and bool(export.failed_writes),
        project_config=None,
    )
