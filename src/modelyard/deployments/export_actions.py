"""Where the rows of a deployed feature group are written, beside answering look-ups."""

from typing import Annotated

from modelyard.actions import Call, action
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
from modelyard.feature_groups.exports.destinations import (
    Destination,
    ExportFormat,
    FeatureMapping,
    IdColumn,
    Kind,
    Mode,
    MoreIdColumns,
    TableName,
    into_database,
)
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
    object_name: TableName,
    write_mode: Mode,
    database_feature_mapping: FeatureMapping,
    id_column: IdColumn = None,
    additional_id_columns: MoreIdColumns = None,
) -> None:
    """Writes the rows of a deployed feature group into a table of a database: all rows of a version, or none.

    The version that answers is written at once, and each further one as soon as it does; listFeatureGroupExports shows
    how that went.
    """
    destination = into_database(
        database_connector_id, object_name, write_mode, database_feature_mapping, id_column, additional_id_columns
    )
    _set(call, deployment_id, destination)


@action("POST", errors=(ConflictError, DataNotFoundError))
def remove_deployment_feature_group_export_output(call: Call, *, deployment_id: DeploymentId) -> None:
    """Writes the rows of a deployed feature group nowhere any more; what was written stays."""
    _set(call, deployment_id, None)


def _set(call: Call, deployment_id: DeploymentId, destination: Destination | None) -> None:
    deployment = get_deployment(call.session, call.organization_id, deployment_id, for_update=True)
    set_destination(call.session, call.settings, deployment, destination)
