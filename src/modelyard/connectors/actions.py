"""Connectors: list, try, rename, delete, look inside; and, for administrators, add."""

from typing import Annotated, Any

from sqlalchemy import select

from modelyard.accounts.records import User
from modelyard.actions import Auth, Call, action
from modelyard.clock import iso
from modelyard.connectors import adding
from modelyard.connectors.adding import Adding
from modelyard.connectors.buckets import OPTIONS, SCHEMES, SECRETS, account_of, split_location
from modelyard.connectors.databases import find_database
from modelyard.connectors.finding import get_application_connector, get_database_connector, get_file_connector
from modelyard.connectors.locations import find_place
from modelyard.connectors.looking import failure_of, look_at_bucket, look_at_database, look_at_repository
from modelyard.connectors.questions import list_objects, object_columns, run_query
from modelyard.connectors.records import (
    ApplicationConnector,
    ConnectorStatus,
    DatabaseConnector,
    DatabaseService,
    FileConnector,
    Store,
)
from modelyard.connectors.repositories import GIT, find_repository
from modelyard.connectors.secrets import Vault
from modelyard.connectors.uses import check_unused
from modelyard.connectors.wire import (
    ApplicationConnectorShape,
    DatabaseConnectorColumnShape,
    DatabaseConnectorSchemaShape,
    DatabaseConnectorShape,
    FileConnectorInstructionsShape,
    FileConnectorShape,
    FileConnectorVerificationShape,
    UnifiedConnectorShape,
)
from modelyard.database import Database
from modelyard.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    DataNotFoundError,
    FailedDependencyError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
)
from modelyard.ids import ApplicationConnectorId, DatabaseConnectorId

_ASKED = (DataNotFoundError, InvalidParameterError, ConflictError, FailedDependencyError)
_ADDED = (AlreadyExistsError, InvalidParameterError, InvalidEnumParameterError)

Bucket = Annotated[str, "The bucket, s3://bucket, gs://bucket or az://container, or a folder of one."]
Options = Annotated[dict[str, Any] | None, "What is no secret: endpoint, region, account."]
Secrets = Annotated[dict[str, str] | None, "What opens it. Kept encrypted and never shown again."]


@action("GET")
def list_file_connectors(call: Call) -> list[FileConnectorShape]:
    """The organisation's file connectors, by bucket."""
    query = select(FileConnector).where(FileConnector.organization_id == call.organization_id)
    return [_file_shape(one) for one in call.session.scalars(query.order_by(FileConnector.bucket))]


@action("GET", errors=(InvalidParameterError,))
def get_file_connector_instructions(
    call: Call, *, bucket: Bucket, write_permission: bool = False
) -> FileConnectorInstructionsShape:
    """How that bucket is opened to this server, and what the last look at it found, if there is a connector."""
    store = SCHEMES[split_location(bucket)[0]]
    query = select(FileConnector).where(
        FileConnector.organization_id == call.organization_id, FileConnector.bucket == bucket.rstrip("/")
    )
    found = call.session.scalar(query)
    return FileConnectorInstructionsShape(
        verified=bool(found and found.verified),
        write_permission=bool(found and found.write_permission),
        auth_options=[_instructions(store, bucket, write_permission)],
    )


@action("POST", errors=(DataNotFoundError, InvalidParameterError), own_transaction=True)
def verify_file_connector(call: Call, *, bucket: Bucket) -> FileConnectorVerificationShape:
    """Tries the bucket: lists one object, and puts and deletes a small one."""
    connector = get_file_connector(call.session, call.organization_id, bucket)
    found = find_place(call.session, call.settings, call.organization_id, f"{connector.bucket}/")
    call.session.rollback()
    seen: list[FileConnectorVerificationShape] = []
    failure = failure_of(lambda: seen.append(look_at_bucket(found)))
    result = seen[0] if seen else FileConnectorVerificationShape(verified=False, write_permission=False)
    with call.parts.get(Database).write() as session:
        written = get_file_connector(session, call.organization_id, bucket)
        written.verified, written.write_permission = result.verified, result.write_permission
    if failure is not None:
        raise failure
    return result


@action("POST", errors=(DataNotFoundError, InvalidParameterError), auth=Auth.ADMIN, own_transaction=True)
def set_azure_blob_connection_string(
    call: Call, *, bucket: Bucket, connection_string: Annotated[str, "From the storage account's access keys."]
) -> FileConnectorVerificationShape:
    """Sets what opens an Azure bucket, making its connector where there is none, and tries it."""
    if split_location(bucket)[0] != "az":
        raise InvalidParameterError("bucket must be one of Azure: az://container")
    account_of(connection_string)
    call.session.rollback()
    with call.parts.get(Database).write() as session:
        query = select(FileConnector).where(
            FileConnector.organization_id == call.organization_id, FileConnector.bucket == bucket.rstrip("/")
        )
        secrets, there = {"connection_string": connection_string}, session.scalar(query)
        if there is None:
            start = Adding(session, call.settings, call.organization_id, call.clock())
            adding.add_file_connector(start, bucket, {}, secrets)
        else:
            there.secrets = Vault(call.settings.home).close(secrets, there.file_connector_id)
    try:
        return verify_file_connector(call, bucket=bucket)
    except InvalidParameterError:
        return FileConnectorVerificationShape(verified=False, write_permission=False)


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_file_connector(call: Call, *, bucket: Bucket) -> None:
    """Deletes a file connector with its secrets. One that datasets are read through is kept, and they are named."""
    connector = get_file_connector(call.session, call.organization_id, bucket)
    check_unused(call.session, connector.file_connector_id, f"File connector {connector.bucket}")
    call.session.delete(connector)


@action("POST", errors=_ADDED, auth=Auth.ADMIN)
def create_file_connector(
    call: Call, *, bucket: Bucket, options: Options = None, secrets: Secrets = None
) -> FileConnectorShape:
    """Adds a connector to a bucket; without secrets it is read as anybody may. `verifyFileConnector` tries it."""
    return _file_shape(adding.add_file_connector(_adding(call), bucket, options or {}, secrets or {}))


@action("GET")
def list_database_connectors(call: Call) -> list[DatabaseConnectorShape]:
    """The organisation's database connectors, oldest first."""
    query = select(DatabaseConnector).where(DatabaseConnector.organization_id == call.organization_id)
    query = query.order_by(DatabaseConnector.created_at, DatabaseConnector.database_connector_id)
    return [_database_shape(one) for one in call.session.scalars(query)]


@action("GET", errors=(DataNotFoundError,))
def get_database_connector_auth(call: Call, *, database_connector_id: DatabaseConnectorId) -> DatabaseConnectorShape:
    """One database connector, with what is no secret of how it is opened."""
    return _database_shape(get_database_connector(call.session, call.organization_id, database_connector_id))


@action("GET", errors=_ASKED)
def list_database_connector_objects(
    call: Call,
    *,
    database_connector_id: DatabaseConnectorId,
    fetch_raw_data: bool = False,  # noqa: ARG001 - nothing is filtered that could be left in
) -> list[str]:
    """The tables and views of the database."""
    database = find_database(call.session, call.settings, call.organization_id, database_connector_id)
    call.session.rollback()
    return list_objects(database)


@action("GET", errors=(*_ASKED, MissingParameterError))
def get_database_connector_object_schema(
    call: Call,
    *,
    database_connector_id: DatabaseConnectorId,
    object_name: Annotated[str | None, "The table or view, as listDatabaseConnectorObjects names it."] = None,
    fetch_raw_data: bool = False,  # noqa: ARG001 - as above
) -> DatabaseConnectorSchemaShape:
    """The columns of a table or view, with the database's own words for their types."""
    database = find_database(call.session, call.settings, call.organization_id, database_connector_id)
    if not object_name:
        raise MissingParameterError("Missing required parameter: objectName")
    call.session.rollback()
    columns = [
        DatabaseConnectorColumnShape(name=name, external_data_type=kind)
        for name, kind in object_columns(database, object_name)
    ]
    return DatabaseConnectorSchemaShape(table_name=object_name, columns=columns)


@action("GET", errors=_ASKED, proxy=True)
def query_database_connector(
    call: Call, *, database_connector_id: DatabaseConnectorId, query: Annotated[str, "One query that only reads."]
) -> list[dict[str, Any]]:
    """The rows of a query, as the database runs it in a transaction that only reads, within limits of time and rows."""
    database = find_database(call.session, call.settings, call.organization_id, database_connector_id)
    call.session.rollback()
    return run_query(database, query)


@action("POST", errors=_ASKED, own_transaction=True)
def verify_database_connector(call: Call, *, database_connector_id: DatabaseConnectorId) -> None:
    """Tries to connect and to ask something; the error says what went wrong."""
    database = find_database(call.session, call.settings, call.organization_id, database_connector_id)
    call.session.rollback()
    failure = failure_of(lambda: look_at_database(database))
    with call.parts.get(Database).write() as session:
        connector = get_database_connector(session, call.organization_id, database_connector_id)
        connector.status = _status(failure)
    if failure is not None:
        raise failure


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def rename_database_connector(call: Call, *, database_connector_id: DatabaseConnectorId, name: str) -> None:
    """Renames a database connector."""
    adding.check_name(name)
    get_database_connector(call.session, call.organization_id, database_connector_id).name = name


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_database_connector(call: Call, *, database_connector_id: DatabaseConnectorId) -> None:
    """Deletes a database connector with its secrets. One that datasets are read through is kept, and they are named."""
    connector = get_database_connector(call.session, call.organization_id, database_connector_id)
    check_unused(call.session, database_connector_id, f"Database connector {connector.name}")
    call.session.delete(connector)


@action("POST", errors=_ADDED, auth=Auth.ADMIN)
def create_database_connector(
    call: Call, *, name: str, service: DatabaseService, auth: dict[str, Any], secrets: Secrets = None
) -> DatabaseConnectorShape:
    """Adds a connector to a database; `auth` holds what is no secret. `verifyDatabaseConnector` tries it."""
    return _database_shape(adding.add_database_connector(_adding(call), name, service, auth, secrets or {}))


@action("GET")
def list_application_connectors(call: Call) -> list[ApplicationConnectorShape]:
    """The organisation's application connectors, oldest first."""
    query = select(ApplicationConnector).where(ApplicationConnector.organization_id == call.organization_id)
    query = query.order_by(ApplicationConnector.created_at, ApplicationConnector.application_connector_id)
    return [_application_shape(one) for one in call.session.scalars(query)]


@action("GET", errors=_ASKED)
def list_application_connector_objects(call: Call, *, application_connector_id: ApplicationConnectorId) -> list[str]:
    """The branches of the repository."""
    repository = find_repository(call.session, call.settings, call.organization_id, application_connector_id)
    call.session.rollback()
    return repository.branches()


@action("POST", errors=_ASKED, own_transaction=True)
def verify_application_connector(call: Call, *, application_connector_id: ApplicationConnectorId) -> None:
    """Asks the repository for its branches; the error says what went wrong."""
    repository = find_repository(call.session, call.settings, call.organization_id, application_connector_id)
    call.session.rollback()
    failure = failure_of(lambda: look_at_repository(repository))
    with call.parts.get(Database).write() as session:
        connector = get_application_connector(session, call.organization_id, application_connector_id)
        connector.status = _status(failure)
    if failure is not None:
        raise failure


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def rename_application_connector(call: Call, *, application_connector_id: ApplicationConnectorId, name: str) -> None:
    """Renames an application connector."""
    adding.check_name(name)
    get_application_connector(call.session, call.organization_id, application_connector_id).name = name


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_application_connector(call: Call, *, application_connector_id: ApplicationConnectorId) -> None:
    """Deletes an application connector with its secrets, unless something is read through it."""
    connector = get_application_connector(call.session, call.organization_id, application_connector_id)
    check_unused(call.session, application_connector_id, f"Application connector {connector.name}")
    call.session.delete(connector)


@action("POST", errors=_ADDED, auth=Auth.ADMIN)
def create_application_connector(
    call: Call, *, name: str, auth: dict[str, Any], service: str = GIT, secrets: Secrets = None
) -> ApplicationConnectorShape:
    """Adds a connector to a git repository; `auth` holds url and branch. `verifyApplicationConnector` tries it."""
    if service != GIT:
        raise InvalidEnumParameterError(f"Invalid value for service: {service[:100]!r}; it must be {GIT}")
    return _application_shape(adding.add_application_connector(_adding(call), name, auth, secrets or {}))


@action("GET", errors=(DataNotFoundError, MissingParameterError, InvalidParameterError))
def get_connector_auth(
    call: Call,
    *,
    service: str | None = None,
    application_connector_id: ApplicationConnectorId | None = None,
    scopes: list[str] | None = None,
    generic_oauth_service: str | None = None,
) -> UnifiedConnectorShape:
    """An application connector, with what is no secret of how it is opened."""
    if scopes or generic_oauth_service:
        raise InvalidParameterError("There are no OAuth connectors here: leave scopes and genericOauthService out")
    if application_connector_id is None:
        if service is None:
            raise MissingParameterError("Missing required parameter: applicationConnectorId")
        raise DataNotFoundError(f"No user-level connector of the service {service[:100]} was found")
    connector = get_application_connector(call.session, call.organization_id, application_connector_id)
    return UnifiedConnectorShape(
        application_connector_id=connector.application_connector_id,
        service=connector.service,
        name=connector.name,
        created_at=iso(connector.created_at),
        status=connector.status,
        auth=connector.auth,
    )


def _adding(call: Call) -> Adding:
    email = call.session.get_one(User, call.principal.user_id).email
    return Adding(call.session, call.settings, call.organization_id, call.clock(), email)


def _status(failure: ApiError | None) -> ConnectorStatus:
    return ConnectorStatus.ACTIVE if failure is None else ConnectorStatus.FAILED


def _instructions(store: Store, bucket: str, writes: bool) -> dict[str, Any]:
    needed = {
        Store.S3: "s3:ListBucket and s3:GetObject" + (", s3:PutObject and s3:DeleteObject" if writes else ""),
        Store.GCS: "roles/storage.objectViewer" + (" and roles/storage.objectUser" if writes else ""),
        Store.AZURE: "Storage Blob Data Reader" + (" and Storage Blob Data Contributor" if writes else ""),
    }[store]
    return {
        "authMethod": "SECRETS",
        "service": store.value,
        "permissions": needed,
        "options": sorted(OPTIONS[store]),
        "secrets": sorted(SECRETS[store]),
        "instructions": (
            f"Give a technical user {needed} on {bucket[:200]}, and add the connector with createFileConnector or, on "
            "the server, with `modelyard connectors add file`. A public bucket needs no secrets."
        ),
    }


def _file_shape(connector: FileConnector) -> FileConnectorShape:
    return FileConnectorShape(
        bucket=connector.bucket,
        verified=connector.verified,
        write_permission=connector.write_permission,
        created_at=iso(connector.created_at),
    )


def _database_shape(connector: DatabaseConnector) -> DatabaseConnectorShape:
    return DatabaseConnectorShape(
        database_connector_id=connector.database_connector_id,
        service=connector.service,
        name=connector.name,
        status=connector.status,
        auth=connector.auth,
        created_at=iso(connector.created_at),
        created_by=connector.created_by,
    )


def _application_shape(connector: ApplicationConnector) -> ApplicationConnectorShape:
    return ApplicationConnectorShape(
        application_connector_id=connector.application_connector_id,
        service=connector.service,
        name=connector.name,
        created_at=iso(connector.created_at),
        status=connector.status,
        auth=connector.auth,
        created_by=connector.created_by,
    )
