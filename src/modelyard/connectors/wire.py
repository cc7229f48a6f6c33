"""The shapes of connectors that callers see. Source: the SDK's classes of the same names. No secret is ever in one."""

from typing import Any

import msgspec


class DatabaseConnectorShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A database connector, without its secrets."""

    database_connector_id: str
    service: str
    name: str
    status: str
    auth: dict[str, Any]
    created_at: str | None
    created_by: str | None
    config_only: bool = False
    base_connector: str | None = None


class DatabaseConnectorColumnShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A column of a table in a foreign database."""

    name: str
    external_data_type: str
    semantic_kind: str | None = None


class DatabaseConnectorSchemaShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A table of a foreign database."""

    table_name: str
    columns: list[DatabaseConnectorColumnShape]


class FileConnectorShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A bucket and what the last look at it found."""

    bucket: str
    verified: bool
    write_permission: bool
    auth_expires_at: str | None = None
    created_at: str | None


class FileConnectorInstructionsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a bucket is opened to this server."""

    verified: bool
    write_permission: bool
    auth_options: list[dict[str, Any]]


class FileConnectorVerificationShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a look at a bucket found."""

    verified: bool
    write_permission: bool


class ApplicationConnectorShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An application connector, without its secrets."""

    application_connector_id: str
    service: str
    service_name: str | None = None
    name: str
    created_at: str | None
    status: str
    auth: dict[str, Any]
    base_connector: str | None = None
    created_by: str | None
    config_only: bool = False


class UnifiedConnectorShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A connector of either kind, without its secrets."""

    application_connector_id: str | None = None
    database_connector_id: str | None = None
    service: str
    name: str
    created_at: str | None
    status: str
    auth: dict[str, Any]
    is_user_level: bool = False
