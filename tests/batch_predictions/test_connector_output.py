"""Results that are written to a bucket's kin or a database, by the same code as exports."""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import abacusai
import pytest

from modelyard.settings import Settings
from tests.batch_predictions.bench import ECHO, Bench
from tests.conftest import shared_cache
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    (made / "open").mkdir()
    yield made / "open"
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    """A house whose operator opened one folder."""
    roots = {"file_roots": [folder], "file_write_roots": [folder]}
    settings = Settings.load({}, home=folder.parent / "home", cache=shared_cache(), port=0, poll_s=0.1, **roots)
    with Yard(settings) as yard:
        yield Bench(yard)


def test_results_go_to_a_file_and_stay_here(bench: Bench, folder: Path) -> None:
    client = bench.yard.client()
    deployment_id = bench.deploy(ECHO, bench.table(x=[1, 2], name=["=a", "b"]))
    location = f"file://{folder}/out.csv"
    batch = client.create_batch_prediction(deployment_id, output_format="CSV", output_location=location)
    assert (batch.connector_type, batch.file_connector_output_location) == ("FILE_CONNECTOR", location)
    bench.start(batch.batch_prediction_id)
    version = bench.start(batch.batch_prediction_id)  # its result takes the place of the one before
    assert version["status"] == "COMPLETE", version["error"]
    assert (folder / "out.csv").read_text() == '"x","name","prediction"\n1,"\'=a",10\n2,"b",20\n'
    loaded = client.describe_batch_prediction_version(version["batchPredictionVersion"]).load_results_as_pandas()
    assert loaded["prediction"].tolist() == [10, 20]
    changed = batch.set_file_connector_output("JSON", f"file://{folder}/lines/")
    assert changed.file_output_format == "JSON"
    version = bench.start(batch.batch_prediction_id)
    assert version["status"] == "COMPLETE", version["error"]
    lines = (folder / "lines" / "part-00000.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"x": 1, "name": "=a", "prediction": 10}
    loaded = client.describe_batch_prediction_version(version["batchPredictionVersion"]).load_results_as_pandas()
    assert loaded["prediction"].tolist() == [10, 20]
    assert batch.set_output_to_console().connector_type is None


def test_results_go_into_a_database(bench: Bench, folder: Path) -> None:
    auth = {"path": f"file://{folder}/scores.db"}
    made = bench.yard.call("createDatabaseConnector", name="scores", service="SQLITE", auth=auth)
    connector_id = made["databaseConnectorId"]
    deployment_id = bench.deploy(ECHO, bench.table(x=[1, 2], id=[7, 8]))
    batch = bench.yard.client().describe_batch_prediction(bench.define(deployment_id))
    config = {
        "object_name": "scores",
        "mode": "UPSERT",
        "id_column": "id",
        "data_columns": {"id": "id", "s": "prediction"},
    }
    changed = batch.set_database_connector_output(connector_id, config)
    assert (changed.connector_type, changed.database_connector_id) == ("DATABASE_CONNECTOR", connector_id)
    bench.start(batch.batch_prediction_id)
    version = bench.start(batch.batch_prediction_id)
    assert version["status"] == "COMPLETE", version["error"]
    assert (version["databaseOutputTotalWrites"], version["databaseOutputFailedWrites"]) == (2, 0)
    with sqlite3.connect(folder / "scores.db") as file:
        assert file.execute("SELECT id, s FROM scores ORDER BY id").fetchall() == [(7, 10), (8, 20)]
    file.close()
    with pytest.raises(CallFailed, match="used by batch prediction"):
        bench.yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=connector_id)
    batch.set_database_connector_output(connector_id, config | {"data_columns": {"id": "nothing"}})
    version = bench.start(batch.batch_prediction_id)
    assert (version["status"], version["databaseOutputError"]) == ("FAILED", True)
    assert "names the feature 'nothing'" in version["error"]
    batch.set_database_connector_output()
    assert bench.start(batch.batch_prediction_id)["status"] == "COMPLETE"
    bench.yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=connector_id)


def test_a_row_that_the_database_refuses_is_told(bench: Bench, folder: Path) -> None:
    with sqlite3.connect(folder / "strict.db") as file:
        file.execute("CREATE TABLE strict (id INTEGER PRIMARY KEY, prediction INTEGER)")
    file.close()
    auth = {"path": f"file://{folder}/strict.db"}
    made = bench.yard.call("createDatabaseConnector", name="strict", service="SQLITE", auth=auth)
    config = {"object_name": "strict", "data_columns": {"id": "id", "prediction": "prediction"}}
    batch = bench.define(
        bench.deploy(ECHO, bench.table(x=[1, 2], id=[7, 7])),
        databaseConnectorId=made["databaseConnectorId"],
        databaseOutputConfig=config,
    )
    version = bench.start(batch)
    assert (version["status"], version["databaseOutputError"]) == ("FAILED", True)
    client = bench.yard.client()
    told = client.describe_batch_prediction_version(version["batchPredictionVersion"])
    [refused] = [json.loads(line) for line in told.get_batch_prediction_connector_errors().read().splitlines()]
    assert refused["row"] == 2
    fine = bench.start(bench.define(bench.deploy(ECHO, bench.table(x=[1]))))
    assert client.get_batch_prediction_connector_errors(fine["batchPredictionVersion"]).read() == b""


def test_an_empty_result_is_written_too(bench: Bench, folder: Path) -> None:
    batch = bench.define(bench.deploy(ECHO, bench.table(x=[])), outputLocation=f"file://{folder}/empty.json")
    version = bench.start(batch)
    assert version["status"] == "COMPLETE", version["error"]
    assert (folder / "empty.json").read_bytes() == b""


def test_what_results_can_not_go_to_is_refused(bench: Bench, folder: Path) -> None:
    client, deployment_id = bench.yard.client(), bench.deploy(ECHO, bench.table(x=[1]))
    location = f"file://{folder}/x.csv"
    for words, given in (
        ("outside of the folders", {"output_location": "file:///etc/x"}),
        ("web address", {"output_location": "https://a/x"}),
        ("one place", {"output_location": location, "table_name": "t"}),
        ("was not found", {"database_connector_id": "0" * 10}),
        ("databaseOutputConfig", {"database_output_config": {"a": "b"}}),
    ):  # fmt: skip
        with pytest.raises(abacusai.client.ApiException, match=words):
            client.create_batch_prediction(deployment_id, **given)
