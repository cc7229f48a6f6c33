"""Where the rows of a deployed feature group are written, beside answering look-ups."""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.connectors.writing import WriteMode
from modelyard.deployments.exporting import set_destination
from modelyard.deployments.lifecycle import get_deployment
from modelyard.errors import (
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
    NotReadyError,
)
from modelyard.feature_groups.exports.destinations import Destination, ExportFormat, Kind
from modelyard.ids import DatabaseConnectorId, DeploymentId

_ERRORS = (
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
    NotReadyError,
)


@action("POST", errors=_ERRORS)
def set_deployment_feature_group_export_file_connector_output(
    call: Call,
    *,
    deployment_id: DeploymentId,
    file_format: Annotated[ExportFormat | None, "CSV, TSV, JSON (one object a line), AVRO or PARQUET."] = None,
    output_location: Annotated[str | None, "A file, which each version replaces, or with a slash a folder."] = None,
) -> None:
    """Writes the rows of a deployed feature group to a bucket, or to a folder that the operator opened.

    The version that answers is written at once, and each further one as soon as it does; listFeatureGroupExports shows
    how that went.
    """
    get_deployment(call.session, call.organization_id, deployment_id)
    if not output_location:
        raise MissingParameterError("Missing required parameter: outputLocation")
    kept = file_format or ExportFormat.CSV
    _set(call, deployment_id, Destination(kind=Kind.FILE, location=output_location, file_format=kept, overwrite=True))


@action("POST", errors=_ERRORS)
def set_deployment_feature_group_export_database_connector_output(
    call: Call,
    *,
    deployment_id: DeploymentId,
    database_connector_id: DatabaseConnectorId,
    object_name: Annotated[str, "The table, `name` or `schema.name`. One that is not there is made."],
    write_mode: Annotated[WriteMode, "INSERT adds the rows, UPSERT goes by their ids, REPLACE takes others away."],
    database_feature_mapping: Annotated[dict[str, str], "Column -> feature; empty: all, under their own names."],
    id_column: Annotated[str | None, "The column by which an UPSERT finds rows."] = None,
    additional_id_columns: Annotated[list[str] | None, "More of them, which count together."] = None,
) -> None:
    """Writes the rows of a deployed feature group into a table of a database: all rows of a version, or none.

    The version that answers is written at once, and each further one as soon as it does; listFeatureGroupExports shows
    how that went.
    """
    destination = Destination(
        kind=Kind.DATABASE,
        database_connector_id=database_connector_id,
        object_name=object_name,
        write_mode=write_mode,
        mapping=database_feature_mapping,
        id_column=id_column,
        additional_id_columns=tuple(additional_id_columns or ()),
    )
    _set(call, deployment_id, destination)


@action("POST", errors=(ConflictError, DataNotFoundError))
def remove_deployment_feature_group_export_output(call: Call, *, deployment_id: DeploymentId) -> None:
    """Writes the rows of a deployed feature group nowhere any more; what was written stays."""
    _set(call, deployment_id, None)


def _set(call: Call, deployment_id: DeploymentId, destination: Destination | None) -> None:
    deployment = get_deployment(call.session, call.organization_id, deployment_id, for_update=True)
    set_destination(call.session, call.settings, deployment, destination)
