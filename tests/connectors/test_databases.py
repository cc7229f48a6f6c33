"""Databases: what is in them arrives as it is, and nothing is changed in them."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from modelyard.settings import Settings
from tests.conftest import shared_cache
from tests.datasets.conftest import Files
from tests.yard import CallFailed, Yard

POSTGRESQL_TABLE = """
CREATE TABLE things (
    id bigint PRIMARY KEY, small smallint, weight double precision, name text, good boolean, born date,
    seen timestamp, sent timestamptz, price numeric(12, 2), code varchar(9), tag uuid, raw bytea, doc json, at time
)
"""
POSTGRESQL_ROWS = """
INSERT INTO things VALUES
(1, 2, 0.5, 'ä', true, '1969-12-31', '2024-02-29 01:02:03.000004', '2024-01-01 00:00:00+02', 1234567890.12, '007',
 '5ec5b37e-24d2-4b3b-8f8b-f5ff4d3c6a10', '\\xff00', '{"a": [1]}', '23:59'),
(9007199254740993, NULL, NULL, '', false, NULL, NULL, NULL, -0.01, NULL, NULL, NULL, NULL, NULL)
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    """One house for all, whose operator opened loopback's first address."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    networks = ["127.0.0.1/32"]
    with Yard(
        Settings.load({}, home=folder, cache=shared_cache(), port=0, poll_s=0.1, allowed_networks=networks)
    ) as house:
        yield house
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(yard: Yard, postgresql_tcp: sa.URL) -> tuple[str, sa.URL]:
    """A connector to a PostgreSQL database with a table `things`."""
    url = postgresql_tcp
    execute(url, POSTGRESQL_TABLE, POSTGRESQL_ROWS)
    return connect(yard, url, "POSTGRESQL"), url


def execute(url: sa.URL, *statements: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def connect(yard: Yard, url: sa.URL, service: str, **auth: Any) -> str:
    """A new connector's id."""
    given = {"host": url.host, "port": url.port, "database": url.database, "user": url.username, **auth}
    made = yard.call(
        "createDatabaseConnector",
        name="shop",
        service=service,
        auth=given,
        secrets={"password": url.password or "none"},
    )
    assert "secrets" not in made
    assert (url.password or "none") not in str(made)
    connector_id: str = made["databaseConnectorId"]
    return connector_id


def import_table(yard: Yard, connector_id: str, **question: Any) -> dict[str, Any]:
    """A dataset of a connector, once its import has ended well."""
    name = f"t_{uuid.uuid4().hex}"
    dataset: dict[str, Any] = yard.call(
        "createDatasetFromDatabaseConnector", tableName=name, databaseConnectorId=connector_id, **question
    )
    version = Files(yard).ended(dataset["latestDatasetVersion"]["datasetVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    return dataset


def test_a_connector_is_tried_looked_into_and_asked(yard: Yard, postgres: tuple[str, sa.URL]) -> None:
    connector_id, _ = postgres
    (listed,) = (
        one for one in yard.call("listDatabaseConnectors", "GET") if one["databaseConnectorId"] == connector_id
    )
    assert (listed["status"], listed["createdBy"]) == ("PENDING", "admin@localhost")
    yard.call("verifyDatabaseConnector", databaseConnectorId=connector_id)
    assert yard.call("getDatabaseConnectorAuth", "GET", databaseConnectorId=connector_id)["status"] == "ACTIVE"
    assert yard.call("listDatabaseConnectorObjects", "GET", databaseConnectorId=connector_id) == ["things"]
    schema = yard.call("getDatabaseConnectorObjectSchema", "GET", databaseConnectorId=connector_id, objectName="things")
    assert (schema["tableName"], schema["columns"][0]) == (
        "things", {"name": "id", "externalDataType": "BIGINT", "semanticKind": None},
    )  # fmt: skip
    query = "SELECT id, price, born, raw FROM things ORDER BY 1;"
    assert yard.call("queryDatabaseConnector", "GET", databaseConnectorId=connector_id, query=query) == [
        {"id": 1, "price": 1234567890.12, "born": "1969-12-31", "raw": "ff00"},
        {"id": 9007199254740993, "price": -0.01, "born": None, "raw": None},
    ]
    client = yard.client()
    assert client.query_database_connector(connector_id, "SELECT 1 AS one") == [{"one": 1}]
    assert client.get_database_connector_object_schema(connector_id, "things").columns[1].name == "small"


@pytest.mark.sandbox
def test_types_of_postgresql_arrive_as_they_are(yard: Yard, postgres: tuple[str, sa.URL]) -> None:
    connector_id, url = postgres
    dataset = import_table(yard, connector_id, objectName="things", queryArguments="ORDER BY id")
    assert (dataset["connectorType"], dataset["databaseConnectorId"]) == ("DATABASE", connector_id)
    assert dataset["databaseConnectorConfig"] == {"objectName": "things", "queryArguments": "ORDER BY id"}
    columns = yard.call("getDatasetSchema", "GET", datasetId=dataset["datasetId"])
    assert {column["name"]: column["dataType"] for column in columns} == {
        "id": "INTEGER", "small": "INTEGER", "weight": "FLOAT", "name": "STRING", "good": "BOOLEAN", "born": "DATE",
        "seen": "DATETIME", "sent": "DATETIME", "price": "FLOAT", "code": "STRING", "tag": "STRING", "raw": "BINARY",
        "doc": "STRING", "at": "STRING",
    }  # fmt: skip
    execute(url, "INSERT INTO things (id) VALUES (3)")
    version = yard.call("createDatasetVersionFromDatabaseConnector", datasetId=dataset["datasetId"])
    assert Files(yard).ended(version["datasetVersion"])["rowCount"] == 3
    asked = {"datasetId": dataset["datasetId"], "sqlQuery": "SELECT id FROM things WHERE id < 3"}
    version = yard.call("createDatasetVersionFromDatabaseConnector", **asked)
    assert Files(yard).ended(version["datasetVersion"])["rowCount"] == 1


CHANGES = [
    "WITH gone AS (DELETE FROM things RETURNING id) SELECT * FROM gone", "SELECT 1; DROP TABLE things",
    "DELETE FROM things",
    "DROP TABLE things", "SELECT * INTO copy FROM things", "UPDATE things SET id = 7", "COPY things TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/x'", "COMMIT", "SET transaction_read_only = off", "SELECT 1; COMMIT; DROP TABLE things",
    "CREATE TABLE copy AS SELECT 1", "SELECT * FROM things FOR UPDATE", "VACUUM", "EXPLAIN ANALYZE DELETE FROM things",
    "DO $$ BEGIN DELETE FROM things; END $$", "", ";", "CALL x()", "TRUNCATE things", "GRANT ALL ON things TO public",
]  # fmt: skip


@pytest.mark.parametrize("query", CHANGES)
def test_nothing_but_a_query_is_run(yard: Yard, postgres: tuple[str, sa.URL], query: str) -> None:
    connector_id, _ = postgres
    for verb, action, question in (
        ("GET", "queryDatabaseConnector", {"query": query}),
        ("POST", "createDatasetFromDatabaseConnector", {"tableName": "t", "sqlQuery": query}),
    ):
        with pytest.raises(CallFailed) as failed:
            yard.call(action, verb, databaseConnectorId=connector_id, **question)
        assert failed.value.error_type == "InvalidParameterError"


def test_functions_that_change_something_fail_in_the_database_itself(yard: Yard, postgres: tuple[str, sa.URL]) -> None:
    connector_id, url = postgres
    execute(
        url,
        "CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'DELETE FROM things; SELECT 1'",
        "CREATE SEQUENCE counted",
    )
    for query in (
        "SELECT gone()",
        "SELECT set_config('transaction_read_only', 'off', false), gone()",
        "SELECT nextval('counted')",
    ):
        with pytest.raises(CallFailed, match=r"read-only|read-write|before any query"):
            yard.call("queryDatabaseConnector", "GET", databaseConnectorId=connector_id, query=query)
    assert yard.call(
        "queryDatabaseConnector", "GET", databaseConnectorId=connector_id, query="SELECT count(*) AS n FROM things"
    ) == [{"n": 2}]


def test_too_many_rows_and_too_long_queries_are_errors(opened: Settings, postgresql_tcp: sa.URL) -> None:
    with Yard(msgspec.structs.replace(opened, connector_rows=5, connector_timeout_s=2), with_agent=False) as yard:
        connector_id = connect(yard, postgresql_tcp, "POSTGRESQL")
        ask: Callable[[str], Any] = lambda query: yard.call(  # noqa: E731
            "queryDatabaseConnector", "GET", databaseConnectorId=connector_id, query=query
        )
        assert len(ask("SELECT * FROM generate_series(1, 5)")) == 5
        with pytest.raises(CallFailed, match="more than the limit of 5 rows"):
            ask("SELECT * FROM generate_series(1, 6)")
        with pytest.raises(CallFailed, match="timeout"):
            ask("SELECT pg_sleep(20)")


def test_a_connector_that_is_used_is_kept_and_names_its_users(yard: Yard, postgres: tuple[str, sa.URL]) -> None:
    connector_id, _ = postgres
    dataset = yard.call(
        "createDatasetFromDatabaseConnector", tableName="used", databaseConnectorId=connector_id, objectName="things"
    )
    with pytest.raises(CallFailed, match="used by dataset used") as failed:
        yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=connector_id)
    assert failed.value.error_type == "ConflictError"
    yard.call("renameDatabaseConnector", "PATCH", databaseConnectorId=connector_id, name="warehouse")
    assert yard.call("getDatabaseConnectorAuth", "GET", databaseConnectorId=connector_id)["name"] == "warehouse"
    with yard.database.write() as session:
        from modelyard.connectors.uses import forget_uses

        forget_uses(session, "dataset", dataset["datasetId"])
    yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=connector_id)
    assert connector_id not in str(yard.call("listDatabaseConnectors", "GET"))


def test_a_wrong_password_is_said_without_the_password(yard: Yard, mariadb: sa.URL) -> None:
    connector_id = connect(yard, mariadb.set(password="not-the-password"), "MYSQL")
    with pytest.raises(CallFailed, match="Access denied") as failed:
        yard.call("verifyDatabaseConnector", databaseConnectorId=connector_id)
    assert "not-the-password" not in failed.value.error
    assert yard.call("getDatabaseConnectorAuth", "GET", databaseConnectorId=connector_id)["status"] == "FAILED"


@pytest.mark.sandbox
def test_types_of_mysql_arrive_as_they_are(yard: Yard, mariadb: sa.URL) -> None:
    execute(
        mariadb,
        "CREATE OR REPLACE TABLE things (id bigint, good boolean, weight double, name varchar(20), born date, "
        "seen datetime(6), sent timestamp, price decimal(12, 2), doc text, raw blob)",
        "INSERT INTO things VALUES (1, true, 0.5, 'ä', '1969-12-31', '2024-02-29 01:02:03.000004', "
        "'2024-01-01 00:00:00', 1234567890.12, 'x', x'ff00'), (2, NULL, NULL, '', NULL, NULL, NULL, -0.01, NULL, NULL)",
    )
    connector_id = connect(yard, mariadb, "MYSQL")
    yard.call("verifyDatabaseConnector", databaseConnectorId=connector_id)
    assert yard.call("listDatabaseConnectorObjects", "GET", databaseConnectorId=connector_id) == ["things"]
    dataset = import_table(yard, connector_id, objectName="things")
    columns = yard.call("getDatasetSchema", "GET", datasetId=dataset["datasetId"])
    assert [column["dataType"] for column in columns] == [
        "INTEGER", "INTEGER", "FLOAT", "STRING", "DATE", "DATETIME", "DATETIME", "FLOAT", "STRING", "BINARY",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "query", ["SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT 1 /*! INTO OUTFILE '/tmp/x' */", "INSERT INTO t VALUES (9)",
              "SELECT 1 /*M! INTO DUMPFILE '/tmp/x' */", "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE things"],
)  # fmt: skip
def test_mysql_writes_nothing_either(yard: Yard, mariadb: sa.URL, query: str) -> None:
    with pytest.raises(CallFailed) as failed:
        yard.call("queryDatabaseConnector", "GET", databaseConnectorId=connect(yard, mariadb, "MYSQL"), query=query)
    assert failed.value.error_type == "InvalidParameterError"


@pytest.mark.parametrize("host", ["127.0.0.2", "169.254.169.254", "2130706434", "/tmp", "127.0.0.1,127.0.0.2", "::1"])
@pytest.mark.parametrize("service", ["POSTGRESQL", "MYSQL"])
def test_a_database_on_a_closed_network_is_not_reached(yard: Yard, service: str, host: str) -> None:
    auth = {"host": host, "database": "d", "user": "u"}
    made = yard.call("createDatabaseConnector", name="n", service=service, auth=auth, secrets={"password": "p4ssword"})
    for verb, action in (("POST", "verifyDatabaseConnector"), ("GET", "listDatabaseConnectorObjects")):
        with pytest.raises(CallFailed) as failed:
            yard.call(action, verb, databaseConnectorId=made["databaseConnectorId"])
        assert failed.value.error_type == "InvalidParameterError"
