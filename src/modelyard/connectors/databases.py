"""Foreign databases by SQLAlchemy: a connection to the address that was judged, in a transaction that only reads.

`find_database` looks up what is needed in the caller's transaction; what it gives connects without one. The drivers
of MySQL, Snowflake and BigQuery are extras, imported when a connector needs them. Files of SQLite and DuckDB are not
opened here: engines that read them would run in this process, so `datasets` has a guest open them.
"""

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelyard.connectors.egress import Egress, Endpoint
from modelyard.connectors.finding import get_database_connector
from modelyard.connectors.records import DatabaseService
from modelyard.connectors.secrets import Vault
from modelyard.errors import ConflictError, FailedDependencyError, InvalidParameterError
from modelyard.ids import DatabaseConnectorId, OrganizationId
from modelyard.settings import Settings

#: What a connector must and may say in the clear.
REQUIRED = {
    DatabaseService.POSTGRESQL: frozenset({"host", "database", "user"}),
    DatabaseService.MYSQL: frozenset({"host", "database", "user"}),
    DatabaseService.SQLITE: frozenset({"path"}),
    DatabaseService.DUCKDB: frozenset({"path"}),
    DatabaseService.SNOWFLAKE: frozenset({"account", "user", "database"}),
    DatabaseService.BIGQUERY: frozenset({"project"}),
}
OPTIONAL = {
    DatabaseService.POSTGRESQL: frozenset({"port", "sslmode"}),
    DatabaseService.MYSQL: frozenset({"port", "tls"}),
    DatabaseService.SNOWFLAKE: frozenset({"schema", "warehouse", "role"}),
    DatabaseService.BIGQUERY: frozenset({"dataset"}),
}
#: What it may keep as a secret.
SECRETS = {
    DatabaseService.POSTGRESQL: frozenset({"password"}),
    DatabaseService.MYSQL: frozenset({"password"}),
    DatabaseService.SNOWFLAKE: frozenset({"password"}),
    DatabaseService.BIGQUERY: frozenset({"service_account_key"}),
}
FILES = (DatabaseService.SQLITE, DatabaseService.DUCKDB)
_PORTS = {DatabaseService.POSTGRESQL: 5432, DatabaseService.MYSQL: 3306}
_SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Database:
    """A database with what opens it. Holds secrets, so it is neither kept nor shown."""

    connector_id: DatabaseConnectorId
    name: str
    service: DatabaseService
    auth: Mapping[str, Any]
    secrets: Mapping[str, str]
    settings: Settings
    is_operators: bool

    def __repr__(self) -> str:
        return f"Database({self.name!r})"

    @property
    def egress(self) -> Egress:
        trusted = [self.endpoint] if self.is_operators and "host" in self.auth else []
        return Egress.of(self.settings, *trusted)

    @property
    def endpoint(self) -> Endpoint:
        """Host and port of a service that has them."""
        return Endpoint(str(self.auth["host"]), int(self.auth.get("port") or _PORTS[self.service]))

    @contextmanager
    def connect(self, *, timeout_s: float | None = None, to_write: bool = False) -> Iterator[sa.Connection]:
        """A connection in a transaction that only reads, unless told otherwise; statements end after `timeout_s`.

        FailedDependencyError says what the database, or the way to it, did not give.
        """
        engine = self._engine(timeout_s, to_write)
        try:
            with engine.connect() as connection:
                yield connection
                if to_write:
                    connection.commit()
        except (SQLAlchemyError, psycopg.Error, OSError, ValueError) as error:
            raise FailedDependencyError(
                f"The database {self.name} refused: {reason_of(error, self.secrets)}"
            ) from error
        finally:
            engine.dispose()

    def _engine(self, timeout_s: float | None, to_write: bool) -> sa.Engine:
        if self.service is DatabaseService.POSTGRESQL:
            return _postgresql(self, timeout_s, to_write)
        if self.service is DatabaseService.MYSQL:
            return _mysql(self, timeout_s, to_write)
        if self.service is DatabaseService.SNOWFLAKE:
            return _snowflake(self)
        if self.service is DatabaseService.BIGQUERY:
            return _bigquery(self)
        raise ConflictError(f"The connector {self.name} is a file, which only imports open: create a dataset from it")


def find_database(
    session: Session, settings: Settings, organization_id: OrganizationId, connector_id: DatabaseConnectorId
) -> Database:
    """What opens that connector of the organisation."""
    connector = get_database_connector(session, organization_id, connector_id)
    opened = Vault(settings.home).open(connector.secrets, connector_id)
    service = DatabaseService(connector.service)
    return Database(connector_id, connector.name, service, connector.auth, opened, settings, connector.is_operators)


def check_auth(service: DatabaseService, auth: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Raises InvalidParameterError for what a connector of the service can't have, or lacks."""
    required, optional = REQUIRED[service], OPTIONAL.get(service, frozenset())
    if missing := sorted(required - auth.keys()):
        raise InvalidParameterError(f"auth of a {service} connector lacks {', '.join(missing)}")
    if unknown := sorted(auth.keys() - required - optional):
        raise InvalidParameterError(f"auth of a {service} connector has no {unknown[0]}; secrets go into secrets")
    if unknown := sorted(secrets.keys() - SECRETS.get(service, frozenset())):
        raise InvalidParameterError(f"secrets of a {service} connector have no {unknown[0]}")
    for name, value in auth.items():
        if not isinstance(value, str | int) or len(str(value)) > 1000 or "\0" in str(value):
            raise InvalidParameterError(f"auth.{name} must be a text or a number")
    if not str(auth.get("port", 1)).isdigit() or not 0 < int(auth.get("port", 1)) < 65536:
        raise InvalidParameterError("auth.port must be 1 to 65535")
    if auth.get("sslmode", "prefer") not in _SSL_MODES:
        raise InvalidParameterError(f"auth.sslmode must be one of {', '.join(_SSL_MODES)}")
    if service is DatabaseService.SNOWFLAKE and not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", str(auth["account"])):
        raise InvalidParameterError("auth.account must be the account's identifier")


def reason_of(error: Exception, secrets: Mapping[str, str]) -> str:
    """What the driver says, in one line, without a secret in it."""
    inner = getattr(error, "orig", None) or error
    lines = str(inner).strip().splitlines() or [type(inner).__name__]
    text = " ".join(line.strip() for line in lines[:3])[:500]
    for secret in secrets.values():
        text = text.replace(secret, "***") if len(secret) > 3 else text
    return text


def _postgresql(database: Database, timeout_s: float | None, to_write: bool) -> sa.Engine:
    host, port = database.endpoint
    address = database.egress.resolve(host, port)
    wait_s = int(database.settings.connector_timeout_s)
    options = f"-c statement_timeout={int((timeout_s or 0) * 1000)}"
    if not to_write:
        options += " -c default_transaction_read_only=on"

    def connect() -> Any:
        return psycopg.connect(
            host=host, hostaddr=address, port=port, dbname=str(database.auth["database"]),
            user=str(database.auth["user"]), password=database.secrets.get("password", ""),
            sslmode=str(database.auth.get("sslmode", "prefer")), connect_timeout=wait_s,
            options=options, passfile="/dev/null", gssencmode="disable", application_name="modelyard",
        )  # fmt: skip

    return sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=sa.NullPool)


def _mysql(database: Database, timeout_s: float | None, to_write: bool) -> sa.Engine:
    pymysql = _driver("pymysql", "mysql")
    host, port = database.endpoint
    use_tls = str(database.auth.get("tls", "")).lower() in ("1", "true", "yes")

    def connect() -> Any:
        # local_infile stays off, so that a server can't ask for files of ours.
        made = pymysql.connect(
            host=host, port=port, user=str(database.auth["user"]), password=database.secrets.get("password", ""),
            database=str(database.auth["database"]), charset="utf8mb4", local_infile=False, defer_connect=True,
            read_timeout=timeout_s, ssl={"check_hostname": True} if use_tls else None,
            ssl_verify_cert=use_tls or None, ssl_disabled=not use_tls,
        )  # fmt: skip
        plain = database.egress.connect(host, port)
        plain.settimeout(timeout_s)
        try:
            made.connect(plain)
        except BaseException:
            plain.close()
            raise
        with made.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            if not to_write:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
        return made

    return sa.create_engine("mysql+pymysql://", creator=connect, poolclass=sa.NullPool)


def _snowflake(database: Database) -> sa.Engine:
    _driver("snowflake.sqlalchemy", "snowflake")
    account = str(database.auth["account"])
    database.egress.resolve(f"{account}.snowflakecomputing.com", 443)
    query = {name: str(database.auth[name]) for name in ("warehouse", "role") if name in database.auth}
    path = "/".join(str(database.auth[name]) for name in ("database", "schema") if name in database.auth)
    url = sa.URL.create(
        "snowflake", str(database.auth["user"]), database.secrets.get("password"), account, database=path, query=query
    )
    return sa.create_engine(url, poolclass=sa.NullPool)


def _bigquery(database: Database) -> sa.Engine:
    _driver("sqlalchemy_bigquery", "bigquery")
    database.egress.resolve("bigquery.googleapis.com", 443)
    url = sa.URL.create("bigquery", host=str(database.auth["project"]), database=database.auth.get("dataset"))
    key = json.loads(database.secrets["service_account_key"])
    # The library would ask for its token wherever the key says.
    key |= {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"}
    return sa.create_engine(url, credentials_info=key, poolclass=sa.NullPool)


def _driver(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConflictError(
            f"This server has no driver for that database; its operator adds it: pip install modelyard[{extra}]"
        ) from None
