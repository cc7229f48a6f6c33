"""Finds connectors for their own organisation; another's id looks exactly like an unknown one."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.connectors.records import ApplicationConnector, DatabaseConnector, FileConnector
from modelyard.errors import DataNotFoundError
from modelyard.ids import ApplicationConnectorId, DatabaseConnectorId, OrganizationId


def get_file_connector(session: Session, organization_id: OrganizationId, bucket: str) -> FileConnector:
    """The connector of that bucket; DataNotFoundError if that organisation has none."""
    query = select(FileConnector).where(
        FileConnector.organization_id == organization_id, FileConnector.bucket == bucket.rstrip("/")
    )
    connector = session.scalar(query)
    if connector is None:
        raise DataNotFoundError(f"File connector {bucket[:200]} was not found")
    return connector


def get_database_connector(
    session: Session, organization_id: OrganizationId, connector_id: DatabaseConnectorId
) -> DatabaseConnector:
    """The connector; DataNotFoundError if that organisation has none of that id."""
    connector = session.get(DatabaseConnector, connector_id)
    if connector is None or connector.organization_id != organization_id:
        raise DataNotFoundError(f"Database connector {connector_id} was not found")
    return connector


def get_application_connector(
    session: Session, organization_id: OrganizationId, connector_id: ApplicationConnectorId
) -> ApplicationConnector:
    """The connector; DataNotFoundError if that organisation has none of that id."""
    connector = session.get(ApplicationConnector, connector_id)
    if connector is None or connector.organization_id != organization_id:
        raise DataNotFoundError(f"Application connector {connector_id} was not found")
    return connector
