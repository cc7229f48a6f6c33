"""A deployed feature group whose rows are written out: each version, as soon as it answers, goes to one place.

`export_actions` says where; `progress` calls `export_served` in the transaction in which calls go over to a version.
The export is one like those that callers ask for: listFeatureGroupExports shows it, and retries are its own.
"""

from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.deployments.records import Deployment
from modelyard.errors import ConflictError
from modelyard.feature_groups.downloads import table_of
from modelyard.feature_groups.exports.destinations import (
    Destination,
    Kind,
    check_columns,
    check_destination,
    destination_of,
    note_destination,
    open_place,
)
from modelyard.feature_groups.exports.exporting import start_export
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.settings import Settings

#: Under which deployments stand in the lists of what they write to.
KIND = "deployment export"


def set_destination(
    session: Session, settings: Settings, deployment: Deployment, destination: Destination | None
) -> None:
    """Has the rows of each version that answers written there from now on, those of the present one at once."""
    if destination is not None:
        check_destination(session, settings, deployment.organization_id, destination)
    if deployment.feature_group_id is None or deployment.online_table_id is not None:
        what = "a model" if deployment.feature_group_id is None else "rows online, which have no versions to write out"
        raise ConflictError(f"Deployment {deployment.deployment_id} serves {what}; only tables are exported")
    found = None
    if destination is not None:
        if destination.kind is Kind.FILE:
            found = open_place(session, settings, deployment.organization_id, destination)
        version = session.get_one(FeatureGroupVersion, deployment.feature_group_version)
        check_columns(destination, table_of(version, f"Feature group version {version.feature_group_version}"))
    note_destination(session, destination, found, KIND, deployment.deployment_id, deployment.name)
    deployment.export_destination = destination.as_json if destination is not None else None
    deployment.exported_version = None
    if deployment.deployed_at is not None:
        export_served(session, deployment)


def forget_destination(session: Session, deployment: Deployment) -> None:
    """The deployment is about to be deleted: it writes nowhere any more."""
    note_destination(session, None, None, KIND, deployment.deployment_id, deployment.name)


def export_served(session: Session, deployment: Deployment) -> None:
    """Writes out the version that answers, if its rows are to go anywhere."""
    if deployment.export_destination is None or deployment.exported_version == deployment.feature_group_version:
        return
    version = session.get_one(FeatureGroupVersion, deployment.feature_group_version)
    start_export(session, version, destination_of(deployment.export_destination))
    deployment.exported_version = version.feature_group_version


def export_shape(deployment: Deployment) -> JsonObject | None:
    """As callers see it. Source: the SDK's FeatureGroupExportConfig."""
    if deployment.export_destination is None:
        return None
    destination = destination_of(deployment.export_destination)
    is_database = destination.kind is Kind.DATABASE
    return {
        "outputLocation": destination.location,
        "fileFormat": None if is_database else destination.file_format,
        "databaseConnectorId": destination.database_connector_id,
        "objectName": destination.object_name,
        "writeMode": destination.write_mode if is_database else None,
        "databaseFeatureMapping": destination.mapping if is_database else None,
        "idColumn": destination.id_column,
        "additionalIdColumns": list(destination.additional_id_columns) if is_database else None,
    }
