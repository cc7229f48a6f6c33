"""Files of SQLite and DuckDB below the operator's folders, read by a guest."""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.environments import Environments
from modelyard.settings import Settings
from tests.conftest import shared_cache
from tests.datasets.conftest import Files
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    """A house whose operator opened one folder, with a SQLite file in it."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    (folder / "open").mkdir()
    with sqlite3.connect(folder / "open" / "a.sqlite") as file:
        file.execute("CREATE TABLE things (id INTEGER, weight REAL, name TEXT, raw BLOB, mixed, empty TEXT)")
        file.execute("INSERT INTO things VALUES (1, 0.5, 'ä', x'ff', 1, NULL), (2, 1, '', NULL, 'x', NULL)")
    file.close()
    roots = {"file_roots": [folder / "open"]}
    with Yard(Settings.load({}, home=folder / "home", cache=shared_cache(), port=0, poll_s=0.1, **roots)) as house:
        yield house
    shutil.rmtree(folder, ignore_errors=True)


def connect(yard: Yard, service: str, path: str) -> str:
    made = yard.call("createDatabaseConnector", name="n", service=service, auth={"path": path})
    connector_id: str = made["databaseConnectorId"]
    return connector_id


def location(yard: Yard, name: str) -> str:
    return f"file://{yard.settings.file_roots[0]}/{name}"


def test_a_sqlite_file_is_imported_with_its_types(yard: Yard) -> None:
    connector_id = connect(yard, "SQLITE", location(yard, "a.sqlite"))
    yard.call("verifyDatabaseConnector", databaseConnectorId=connector_id)
    dataset = yard.call(
        "createDatasetFromDatabaseConnector", tableName="things", databaseConnectorId=connector_id, objectName="things"
    )
    version = Files(yard).ended(dataset["latestDatasetVersion"]["datasetVersion"])
    assert (version["status"], version["rowCount"]) == ("COMPLETE", 2), version["error"]
    columns = yard.call("getDatasetSchema", "GET", datasetId=dataset["datasetId"])
    assert [column["dataType"] for column in columns] == ["INTEGER", "FLOAT", "STRING", "BINARY", "STRING", "STRING"]


def test_what_a_guest_finds_wrong_is_said(yard: Yard) -> None:
    (yard.settings.file_roots[0] / "no.duckdb").write_bytes(b"no database" * 1000)
    for service, name, sql in (
        ("SQLITE", "a.sqlite", "SELECT * FROM missing"), ("SQLITE", "no.duckdb", "SELECT * FROM x"),
        ("DUCKDB", "no.duckdb", "SELECT 1 AS one"), ("SQLITE", "a.sqlite", "SELECT load_extension('x')"),
    ):  # fmt: skip
        connector_id = connect(yard, service, location(yard, name))
        table = f"t_{connector_id}"
        dataset = yard.call(
            "createDatasetFromDatabaseConnector", tableName=table, databaseConnectorId=connector_id, sqlQuery=sql
        )
        version = Files(yard).ended(dataset["latestDatasetVersion"]["datasetVersion"])
        assert version["status"] == "FAILED"
        assert "can't be read" in version["error"]


def test_a_duckdb_file_is_imported(yard: Yard) -> None:
    path = yard.settings.file_roots[0] / "b.duckdb"
    base = yard._parts[1].get(Environments).base()  # DuckDB is in guests' environments only
    made = "CREATE TABLE things AS SELECT 1::DECIMAL(9,2) AS price, DATE '2024-02-29' AS day, 'x' AS name"
    code = f"import duckdb; duckdb.connect({str(path)!r}).execute({made!r})"
    subprocess.run([base.interpreter.python, "-c", code], check=True)
    connector_id = connect(yard, "DUCKDB", location(yard, "b.duckdb"))
    dataset = yard.call(
        "createDatasetFromDatabaseConnector", tableName="ducks", databaseConnectorId=connector_id, objectName="things"
    )
    version = Files(yard).ended(dataset["latestDatasetVersion"]["datasetVersion"])
    assert version["status"] == "COMPLETE", version["error"]


def test_files_elsewhere_and_questions_at_once_are_refused(yard: Yard) -> None:
    outside = connect(yard, "SQLITE", f"file://{yard.settings.home}/modelyard.db")
    with pytest.raises(CallFailed, match="outside of the folders"):
        yard.call("verifyDatabaseConnector", databaseConnectorId=outside)
    with pytest.raises(CallFailed, match="only imports open"):
        yard.call("queryDatabaseConnector", "GET", databaseConnectorId=outside, query="SELECT 1")
    dataset = yard.call(
        "createDatasetFromDatabaseConnector", tableName="stolen", databaseConnectorId=outside, objectName="api_keys"
    )
    version = Files(yard).ended(dataset["latestDatasetVersion"]["datasetVersion"])
    assert version["status"] == "FAILED"
    assert "outside of the folders" in version["error"]


def test_what_a_dataset_asks_can_be_changed_for_its_next_version(yard: Yard) -> None:
    with sqlite3.connect(yard.settings.file_roots[0] / "b.sqlite") as file:
        file.execute("CREATE TABLE others AS SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y' UNION ALL SELECT 3, 'z'")
    file.close()
    first, second = (connect(yard, "SQLITE", location(yard, name)) for name in ("a.sqlite", "b.sqlite"))
    client, files = yard.client(), Files(yard)
    dataset = client.create_dataset_from_database_connector("changing", first, object_name="things")
    files.ended(dataset.latest_dataset_version.dataset_version)
    client.set_dataset_database_connector_config(
        dataset.dataset_id, second, object_name="others", columns="a", query_arguments="a < 3"
    )
    described = client.describe_dataset(dataset.dataset_id)
    assert described.database_connector_id == second
    assert described.database_connector_config["objectName"] == "others"
    assert described.latest_dataset_version.row_count == 2
    assert [column.name for column in described.schema][:2] == ["id", "weight"]
    version = client.create_dataset_version_from_database_connector(dataset.dataset_id)
    ended = files.ended(version.dataset_version)
    assert (ended["status"], ended["rowCount"]) == ("COMPLETE", 2), ended["error"]
    assert list(files.schema(ended)) == ["a"]
    with pytest.raises(CallFailed, match="changing"):
        yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=second)
    yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=first)


def test_what_no_dataset_can_ask_is_refused_and_changes_nothing(yard: Yard) -> None:
    connector_id = connect(yard, "SQLITE", location(yard, "a.sqlite"))
    dataset = yard.call(
        "createDatasetFromDatabaseConnector", tableName="kept", databaseConnectorId=connector_id, objectName="things"
    )
    action, given = "setDatasetDatabaseConnectorConfig", {"datasetId": dataset["datasetId"]}
    for asked, said in (
        ({"databaseConnectorId": connector_id, "sqlQuery": "DELETE FROM things"}, "InvalidParameterError.*one query"),
        ({"databaseConnectorId": "0" * 10, "objectName": "things"}, "DataNotFoundError"),
        ({"databaseConnectorId": connector_id}, "InvalidParameterError"),
    ):
        with pytest.raises(CallFailed, match=said):
            yard.call(action, "GET", **given, **asked)
    uploaded = Files(yard).begin()
    with pytest.raises(CallFailed, match="not read from a database"):
        yard.call(action, "GET", datasetId=uploaded["datasetId"], databaseConnectorId=connector_id, objectName="things")
    described = yard.call("describeDataset", "GET", **given)
    assert described["databaseConnectorConfig"] == {"objectName": "things"}
