"""How connectors come to be: by an administrator's action, or on the server's own command line.

What was given is checked, its secrets are closed, and the row is written; nobody is asked whether it works (`verify`
does that). The client can't create connectors, so these are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.connectors import buckets, databases, repositories
from modelyard.connectors.buckets import SCHEMES, Key, split_location
from modelyard.connectors.records import (
    ApplicationConnector,
    ConnectorStatus,
    DatabaseConnector,
    DatabaseService,
    FileConnector,
    Store,
)
from modelyard.connectors.secrets import Vault
from modelyard.errors import AlreadyExistsError, InvalidParameterError
from modelyard.ids import ApplicationConnectorId, DatabaseConnectorId, FileConnectorId, OrganizationId, new_id
from modelyard.settings import Settings

_NAME_LIMIT = 200
_SECRET_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Adding:
    """Who adds a connector, and where."""

    session: Session
    settings: Settings
    organization_id: OrganizationId
    now: datetime
    #: E-mail address of the user who does.
    by: str | None = None
    #: On the server's own command line.
    is_operators: bool = False


def add_file_connector(
    adding: Adding, bucket: str, options: Mapping[str, Any], secrets: Mapping[str, str]
) -> FileConnector:
    """A connector to a bucket, or to a folder of one."""
    bucket = bucket.rstrip("/")
    store = SCHEMES[split_location(bucket)[0]]
    if any(char in bucket for char in "*?["):
        raise InvalidParameterError("bucket must be a bucket or a folder of one, without a pattern")
    if unknown := sorted(options.keys() - buckets.OPTIONS[store]):
        raise InvalidParameterError(f"options of a {store} connector have no {unknown[0]}")
    if unknown := sorted(secrets.keys() - buckets.SECRETS[store]):
        raise InvalidParameterError(f"secrets of a {store} connector have no {unknown[0]}")
    if store is Store.S3 and secrets and not {"access_key_id", "secret_access_key"} <= secrets.keys():
        raise InvalidParameterError("secrets of an S3 connector need both access_key_id and secret_access_key")
    if "connection_string" in secrets:
        buckets.account_of(secrets["connection_string"])
    _check_secrets(secrets)
    buckets.endpoint_of(Key(store, options, {}, adding.is_operators))
    taken = select(FileConnector.file_connector_id).where(
        FileConnector.organization_id == adding.organization_id, FileConnector.bucket == bucket
    )
    if adding.session.scalar(taken) is not None:
        raise AlreadyExistsError(f"There is a connector to {bucket} already; delete it first")
    connector_id = FileConnectorId(new_id())
    connector = FileConnector(
        file_connector_id=connector_id,
        organization_id=adding.organization_id,
        bucket=bucket,
        store=store,
        options=dict(options),
        secrets=Vault(adding.settings.home).close(secrets, connector_id),
        is_operators=adding.is_operators,
        verified=False,
        write_permission=False,
        created_at=adding.now,
    )
    adding.session.add(connector)
    return connector


def add_database_connector(
    adding: Adding, name: str, service: DatabaseService, auth: Mapping[str, Any], secrets: Mapping[str, str]
) -> DatabaseConnector:
    """A connector to a database."""
    check_name(name)
    databases.check_auth(service, auth, secrets)
    _check_secrets(secrets)
    connector_id = DatabaseConnectorId(new_id())
    connector = DatabaseConnector(
        database_connector_id=connector_id,
        organization_id=adding.organization_id,
        service=service,
        name=name,
        status=ConnectorStatus.PENDING,
        auth=dict(auth),
        secrets=Vault(adding.settings.home).close(secrets, connector_id),
        is_operators=adding.is_operators,
        created_at=adding.now,
        created_by=adding.by,
    )
    adding.session.add(connector)
    return connector


def add_application_connector(
    adding: Adding, name: str, auth: Mapping[str, Any], secrets: Mapping[str, str]
) -> ApplicationConnector:
    """A connector to a git repository."""
    check_name(name)
    repositories.check_repository(auth, secrets)
    _check_secrets(secrets)
    connector_id = ApplicationConnectorId(new_id())
    connector = ApplicationConnector(
        application_connector_id=connector_id,
        organization_id=adding.organization_id,
        service=repositories.GIT,
        name=name,
        status=ConnectorStatus.PENDING,
        auth={"branch": "main", **auth},
        secrets=Vault(adding.settings.home).close(secrets, connector_id),
        is_operators=adding.is_operators,
        created_at=adding.now,
        created_by=adding.by,
    )
    adding.session.add(connector)
    return connector


def check_name(name: str) -> None:
    """Raises InvalidParameterError for what is no name of a connector."""
    if not name.strip() or len(name) > _NAME_LIMIT:
        raise InvalidParameterError(f"name must have 1 to {_NAME_LIMIT} characters")


def _check_secrets(secrets: Mapping[str, str]) -> None:
    for name, value in secrets.items():
        if not value or len(value) > _SECRET_LIMIT:
            raise InvalidParameterError(f"The secret {name} must have 1 to {_SECRET_LIMIT:,} characters")
