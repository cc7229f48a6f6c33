"""Exports into databases: types, modes, refusals, and files of SQLite and DuckDB."""

import datetime as dt
import decimal
import json
import shutil
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from modelyard.environments import Environments
from modelyard.settings import Settings
from tests.conftest import shared_cache
from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

D = decimal.Decimal
ROWS = pa.table(
    {
        "id": pa.array([1, 2], pa.int64()),
        "weight": pa.array([1.5, None]),
        "name": pa.array(["tab\there, \\N and\nnew line 'é'", None]),
        "price": pa.array([D("1234567890.50"), None]),
        "good": pa.array([True, None]),
        "raw": pa.array([b"\0\xff\\", None]),
        "seen": pa.array([1709168523000004, None], pa.timestamp("us")),
        "sent": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None]),
        "born": pa.array([dt.date(2024, 2, 29), None]),
        "at": pa.array([dt.time(23, 59, 1), None]),
        "tags": pa.array([["a\n", '"b'], None]),
        "large": pa.array([2**64 - 1, None], pa.uint64()),
        'odd "name`': pa.array(["x", None]),
    }
)


class House:
    """A house with connectors to databases."""

    def __init__(self, yard: Yard, folder: Path) -> None:
        self.yard, self.folder, self.tables = yard, folder, Tables(yard)

    def connect(self, url: sa.URL, service: str) -> str:
        auth = {"host": url.host, "port": url.port, "database": url.database, "user": url.username}
        secrets = {"password": url.password or "none"}
        made = self.yard.call("createDatabaseConnector", name="out", service=service, auth=auth, secrets=secrets)
        return str(made["databaseConnectorId"])

    def connect_file(self, service: str, name: str) -> str:
        auth = {"path": f"file://{self.folder}/{name}"}
        made = self.yard.call("createDatabaseConnector", name="out", service=service, auth=auth)
        return str(made["databaseConnectorId"])

    def export(self, connector_id: str, rows: pa.Table, target: str, mode: str = "INSERT", **more: Any) -> Any:
        """The export once it has ended."""
        group_id = self.tables.put_rows(f"t_{uuid.uuid4().hex}", rows)
        version = self.tables.versions(group_id)[-1].feature_group_version
        mapping = more.pop("mapping", {})
        export = self.yard.client().export_feature_group_version_to_database_connector(
            version, connector_id, target, mode, mapping, **more
        )
        return export.wait_for_results(60)


def complete(export: Any) -> Any:
    assert export.status == "COMPLETE", export.error
    return export


def refused(export: Any) -> list[dict[str, Any]]:
    assert (export.status, export.database_output_error) == ("FAILED", True)
    assert export.failed_writes == export.total_writes
    return [json.loads(line) for line in export.get_connector_errors().read().splitlines()]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    (folder / "open").mkdir()
    settings = Settings.load(
        {}, home=folder / "home", cache=shared_cache(), port=0, poll_s=0.1, allowed_networks=["127.0.0.1/32"],
        file_roots=[folder / "open"], file_write_roots=[folder / "open"],
    )  # fmt: skip
    with Yard(settings) as yard:
        yield House(yard, folder / "open")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["POSTGRESQL", "MYSQL"])
def database(request: pytest.FixtureRequest) -> tuple[str, sa.URL]:
    """A database server of each kind that there is here."""
    name = "postgresql_tcp" if request.param == "POSTGRESQL" else "mariadb"
    return request.param, request.getfixturevalue(name)


def ask(url: sa.URL, query: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        result = connection.exec_driver_sql(query)
        return [tuple(row) for row in result] if result.returns_rows else []


def test_a_table_that_is_not_there_is_made_with_fitting_types(house: House, database: tuple[str, sa.URL]) -> None:
    service, url = database
    target = f"made_{uuid.uuid4().hex[:8]}"
    export = complete(house.export(house.connect(url, service), ROWS, target))
    assert (export.total_writes, export.failed_writes, export.write_mode) == (2, 0, "INSERT")
    found = ask(url, f"SELECT * FROM {target} ORDER BY id")
    expected = [list(row.values()) for row in ROWS.to_pylist()]
    tags, sent, at = (ROWS.schema.names.index(name) for name in ("tags", "sent", "at"))
    first = list(found[0])
    if service == "MYSQL":
        assert json.loads(first[tags]) == expected[0][tags]
        first[tags], first[sent] = expected[0][tags], first[sent].replace(tzinfo=dt.UTC)
        first[at], first[4] = (dt.datetime.min.replace(tzinfo=dt.UTC) + first[at]).time(), bool(first[4])
    first[sent] = first[sent].astimezone(dt.UTC)
    assert first == expected[0]
    assert list(found[1]) == expected[1]


def test_the_three_modes_do_what_they_say(house: House, database: tuple[str, sa.URL]) -> None:
    service, url = database
    connector_id, target = house.connect(url, service), f"m_{uuid.uuid4().hex[:8]}"
    ask(url, f"CREATE TABLE {target} (k int NOT NULL, part varchar(9) NOT NULL, v int, kept int DEFAULT 7)")
    ask(url, f"INSERT INTO {target} VALUES (1, 'a', 10, 1), (2, 'a', 20, 2)")
    mapping = {"k": "key", "part": "p", "v": "value"}
    rows = pa.table({"key": [2, 3], "p": ["a", "a"], "value": [21, 31], "more": [0, 0]})
    ids = {"id_column": "k", "additional_id_columns": ["part"]}
    complete(house.export(connector_id, rows, target, "UPSERT", mapping=mapping, **ids))
    query = f"SELECT k, v, kept FROM {target} ORDER BY 1, 2"
    assert ask(url, query) == [(1, 10, 1), (2, 21, 2), (3, 31, 7)]
    complete(house.export(connector_id, rows, target, "INSERT", mapping=mapping))
    assert len(ask(url, query)) == 5
    complete(house.export(connector_id, rows, target, "REPLACE", mapping=mapping))
    assert ask(url, query) == [(2, 21, 7), (3, 31, 7)]


def test_refused_rows_are_told_and_leave_all_as_it_was(house: House, database: tuple[str, sa.URL]) -> None:
    service, url = database
    connector_id, target = house.connect(url, service), f"r_{uuid.uuid4().hex[:8]}"
    ask(url, f"CREATE TABLE {target} (id int PRIMARY KEY, v varchar(3) NOT NULL)")
    ask(url, f"INSERT INTO {target} VALUES (-1, 'old')")
    good = {"id": list(range(3000)), "v": ["ok"] * 3000}
    too_long = pa.table(good | {"v": ["ok"] * 2345 + ["long"] + ["ok"] * 654})
    for mode in ("INSERT", "REPLACE"):
        (error,) = refused(house.export(connector_id, too_long, target, mode))
        assert (error["row"], error["column"]) == (2346, "v"), error
        assert ask(url, f"SELECT id FROM {target}") == [(-1,)]
    (error,) = refused(house.export(connector_id, pa.table({"id": [1, 1], "v": ["a", "b"]}), target))
    assert error["row"] == 2
    (error,) = refused(house.export(connector_id, pa.table({"id": [1, None], "v": ["a", "b"]}), target))
    assert (error["row"], error["column"]) == (2, "id")
    twice = house.export(connector_id, pa.table({"id": [1, 1], "v": ["a", "b"]}), target, "UPSERT", id_column="id")
    assert "more than one row has id = 1" in refused(twice)[0]["error"]
    missing = house.export(connector_id, pa.table({"id": [1], "w": ["a"]}), target)
    assert "has no column 'w'; it has id, v" in missing.error
    assert ask(url, f"SELECT id FROM {target}") == [(-1,)]


def test_names_are_quoted_whatever_is_in_them(house: House, database: tuple[str, sa.URL]) -> None:
    service, url = database
    target = f"x\"; DROP TABLE y; -- `' {uuid.uuid4().hex[:6]}"
    complete(house.export(house.connect(url, service), pa.table({'a"b`c': [1], "%s": [2]}), target))
    quote = '"' if service == "POSTGRESQL" else "`"
    name = quote + target.replace(quote, quote * 2) + quote
    assert ask(url, f"SELECT * FROM {name}".replace("%", "%%")) == [(1, 2)]


@pytest.mark.parametrize("service", ["SQLITE", "DUCKDB"])
def test_files_of_sqlite_and_duckdb_are_written_by_a_guest(house: House, service: str) -> None:
    name = f"{uuid.uuid4().hex}.db"
    connector_id = house.connect_file(service, name)

    def look(query: str) -> list[tuple[Any, ...]]:
        module, path = service.lower().replace("sqlite", "sqlite3"), str(house.folder / name)
        code = f"import {module}; c = {module}.connect({path!r}); print(c.execute({query!r}).fetchall()); c.close()"
        base = house.yard._parts[1].get(Environments).base()  # DuckDB is in guests' environments only
        out = subprocess.run([base.interpreter.python, "-c", code], check=True, capture_output=True, text=True).stdout
        found: list[tuple[Any, ...]] = eval(out, {"datetime": dt})
        return found

    complete(house.export(connector_id, ROWS, "things"))
    first = look("SELECT id, weight, name, raw, born FROM things ORDER BY id")[0]
    assert (first[0], first[1], first[2], first[3]) == (1, 1.5, ROWS["name"][0].as_py(), ROWS["raw"][0].as_py())
    assert str(first[4]) == "2024-02-29"
    rows = pa.table({"id": [2, 3], "name": ["two", "three"]})
    complete(house.export(connector_id, rows, "things", "UPSERT", id_column="id"))
    assert look("SELECT id, name FROM things ORDER BY id")[1:] == [(2, "two"), (3, "three")]
    complete(house.export(connector_id, rows, "things", "REPLACE"))
    assert look("SELECT id, weight FROM things ORDER BY id") == [(2, None), (3, None)]
    look("CREATE TABLE strict (id INTEGER PRIMARY KEY)")
    (error,) = refused(house.export(connector_id, pa.table({"id": [1, 1]}), "strict"))
    assert service == "DUCKDB" or error["row"] == 2
    assert look("SELECT count(*) FROM strict") == [(0,)]
    assert [path.name for path in house.folder.iterdir() if name in path.name] == [name]


def test_a_sqlite_file_that_is_being_written_is_left_alone(house: House) -> None:
    name = f"{uuid.uuid4().hex}.db"
    with sqlite3.connect(house.folder / name) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE t (id)")
        other.commit()
        export = house.export(house.connect_file("SQLITE", name), pa.table({"id": [1]}), "t")
    other.close()
    assert "is being written by another program" in export.error


def test_what_can_not_be_written_is_said_at_once(house: House, postgresql_tcp: sa.URL) -> None:
    connector_id, rows = house.connect(postgresql_tcp, "POSTGRESQL"), pa.table({"id": [1]})
    for words, more in (
        ("idColumn", {"mode": "UPSERT"}), ("must be one of", {"mode": "MERGE"}),
        ("'nothing', which is not in the table", {"mapping": {"x": "nothing"}}),
        ("none of the columns", {"mode": "UPSERT", "id_column": "x"}),
    ):  # fmt: skip
        with pytest.raises(Exception, match=words):
            house.export(connector_id, rows, "t", **more)
    bigquery = house.yard.call(
        "createDatabaseConnector",
        name="b",
        service="BIGQUERY",
        auth={"project": "p"},
        secrets={"service_account_key": "{}"},
    )
    with pytest.raises(Exception, match="bucket"):
        house.export(bigquery["databaseConnectorId"], rows, "t")
    with pytest.raises(CallFailed, match="was not found"):
        house.yard.call("getFeatureGroupExportConnectorErrors", "GET", featureGroupExportId="0123456789")
