"""Connectors, and what stands on them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import ApplicationConnectorId, DatabaseConnectorId, FileConnectorId, OrganizationId


class Store(StrEnum):
    """Where a file connector leads."""

    #: Amazon S3, or anything that speaks its protocol at an endpoint of its own.
    S3 = "S3"
    #: Google Cloud Storage.
    GCS = "GCS"
    #: Azure Blob Storage.
    AZURE = "AZURE"


class DatabaseService(StrEnum):
    """What a database connector speaks to."""

    #: PostgreSQL, or what speaks its protocol.
    POSTGRESQL = "POSTGRESQL"
    #: MySQL or MariaDB.
    MYSQL = "MYSQL"
    #: A SQLite file below the operator's folders.
    SQLITE = "SQLITE"
    #: A DuckDB file below the operator's folders.
    DUCKDB = "DUCKDB"
    #: Snowflake.
    SNOWFLAKE = "SNOWFLAKE"
    #: Google BigQuery.
    BIGQUERY = "BIGQUERY"


class ConnectorStatus(StrEnum):
    """What the last look at a connector found. Source: the SDK's DatabaseConnector.status and its kin."""

    #: Nobody has tried it yet.
    PENDING = "PENDING"
    #: The last try worked.
    ACTIVE = "ACTIVE"
    #: The last try failed.
    FAILED = "FAILED"


class FileConnector(Record):
    """A bucket, or a folder of one, with what opens it."""

    __tablename__ = "file_connectors"
    __table_args__ = (UniqueConstraint("organization_id", "bucket"),)

    file_connector_id: Mapped[FileConnectorId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    #: `s3://bucket` or `s3://bucket/folder`, without a slash at its end.
    bucket: Mapped[str]
    store: Mapped[Store] = mapped_column(Text)
    #: What is no secret: endpoint, region, account.
    options: Mapped[JsonObject]
    #: Encrypted by `secrets.Vault`; None: the bucket is read as anybody may.
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Made on the server's own command line: its own endpoint may be an address that is closed to others.
    is_operators: Mapped[bool]
    verified: Mapped[bool]
    write_permission: Mapped[bool]
    created_at: Mapped[datetime]


class DatabaseConnector(Record):
    """A database, with what opens it."""

    __tablename__ = "database_connectors"
    __table_args__ = (Index("ix_database_connectors_listed", "organization_id", "created_at"),)

    database_connector_id: Mapped[DatabaseConnectorId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    service: Mapped[DatabaseService] = mapped_column(Text)
    name: Mapped[str]
    status: Mapped[ConnectorStatus] = mapped_column(Text)
    #: What is no secret: host, port, database, user.
    auth: Mapped[JsonObject]
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    is_operators: Mapped[bool]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]


class ApplicationConnector(Record):
    """A git repository, with what opens it."""

    __tablename__ = "application_connectors"
    __table_args__ = (Index("ix_application_connectors_listed", "organization_id", "created_at"),)

    application_connector_id: Mapped[ApplicationConnectorId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    #: GIT; the client knows more of them.
    service: Mapped[str]
    name: Mapped[str]
    status: Mapped[ConnectorStatus] = mapped_column(Text)
    #: What is no secret: the repository's URL, the branch, the user.
    auth: Mapped[JsonObject]
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    is_operators: Mapped[bool]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]


class ConnectorUse(Record):
    """Something that reads or writes through a connector."""

    __tablename__ = "connector_uses"

    #: What uses it: "dataset" and its id.
    kind: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)
    connector_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    #: Under which a person knows the user.
    name: Mapped[str]
