"""Whether connectors work: each is really tried, and what was found is written down. Called by actions and commands."""

import secrets
from collections.abc import Callable

from modelyard.connectors.buckets import Bucket
from modelyard.connectors.databases import FILES, Database
from modelyard.connectors.folders import Folder
from modelyard.connectors.locations import Found
from modelyard.connectors.repositories import Repository
from modelyard.connectors.wire import FileConnectorVerificationShape
from modelyard.errors import ApiError, InvalidParameterError


def look_at_bucket(found: Found) -> FileConnectorVerificationShape:
    """Whether the bucket can be read (one object is listed) and written (a small object is put and deleted)."""
    with found.open() as bucket:
        assert isinstance(bucket, Bucket)
        bucket.look()
        try:
            bucket.delete(bucket.write(f".modelyard-{secrets.token_hex(8)}", [b"May this server write here?\n"]))
        except InvalidParameterError:
            return FileConnectorVerificationShape(verified=True, write_permission=False)
    return FileConnectorVerificationShape(verified=True, write_permission=True)


def look_at_database(database: Database) -> None:
    """Raises what is wrong with the connector."""
    if database.service in FILES:
        Folder(str(database.auth["path"]), database.settings.file_roots).path()
        return
    with database.connect(timeout_s=database.settings.connector_timeout_s) as connection:
        connection.exec_driver_sql("SELECT 1").scalar_one()


def look_at_repository(repository: Repository) -> None:
    """Raises what is wrong with the connector."""
    branch, found = str(repository.auth["branch"]), repository.branches()
    if branch not in found:
        raise InvalidParameterError(f"The repository {repository.name} has no branch {branch}")


def failure_of(look: Callable[[], None]) -> ApiError | None:
    """What a look raises, kept, so that it can be written down before it is told."""
    try:
        look()
    except ApiError as error:
        return error
    return None
