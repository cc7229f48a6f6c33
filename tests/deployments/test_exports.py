"""Deployed feature groups that write the rows of each version to one place."""

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.settings import Settings
from tests.batch_predictions.bench import ECHO, Bench
from tests.conftest import shared_cache
from tests.models.house import add_table_version
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    (made / "open").mkdir()
    yield made / "open"
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    """A house whose operator opened one folder."""
    roots = {"file_roots": [folder], "file_write_roots": [folder]}
    settings = Settings.load({}, home=folder.parent / "home", cache=shared_cache(), port=0, poll_s=0.1, **roots)
    with Yard(settings) as yard:
        yield Bench(yard)


def exports(bench: Bench, group_id: str) -> list[str]:
    """States of the group's exports, all ended."""
    deadline = time.monotonic() + 60
    while True:
        found = bench.yard.call("listFeatureGroupExports", "GET", featureGroupId=group_id)
        if all(each["status"] in ("COMPLETE", "FAILED") for each in found):
            return [each["status"] for each in found]
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_each_version_that_answers_is_written_out_once(bench: Bench, folder: Path) -> None:
    client = bench.yard.client()
    group_id = bench.group_id(bench.table(x=[1, 2]))
    bench.yard.call("setFeatureGroupIndexingConfig", featureGroupId=group_id, lookupKeys=["x"])
    deployed = client.create_deployment(feature_group_id=group_id, project_id=bench.project_id)
    deployed.wait_for_deployment()
    location = f"file://{folder}/rows.jsonl"
    deployed.set_feature_group_export_file_connector_output("JSON", location)
    wait_until(lambda: exports(bench, group_id) == ["COMPLETE"], 60)
    assert [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()] == [{"x": 1}, {"x": 2}]
    shown = deployed.refresh().feature_group_export_config
    assert (shown.output_location, shown.file_format) == (location, "JSON")
    newer = add_table_version(bench.yard, group_id, {"x": [3]})
    client.set_deployment_feature_group_version(deployed.deployment_id, newer)
    wait_until(lambda: exports(bench, group_id) == ["COMPLETE"] * 2, 60)
    assert (folder / "rows.jsonl").read_text() == '{"x":3}\n'
    deployed.stop()
    deployed.start()
    deployed.wait_for_deployment()
    assert exports(bench, group_id) == ["COMPLETE"] * 2, "the same version is not written twice"
    deployed.remove_feature_group_export_output()
    assert deployed.refresh().feature_group_export_config is None


def test_rows_go_into_a_database_and_what_can_not_be_is_refused(bench: Bench, folder: Path) -> None:
    client = bench.yard.client()
    group_id = bench.group_id(bench.table(id=[7, 8], x=[1, 2]))
    bench.yard.call("setFeatureGroupIndexingConfig", featureGroupId=group_id, lookupKeys=["id"])
    deployed = client.create_deployment(feature_group_id=group_id, project_id=bench.project_id)
    deployed.wait_for_deployment()
    auth = {"path": f"file://{folder}/rows.db"}
    made = bench.yard.call("createDatabaseConnector", name="rows", service="SQLITE", auth=auth)
    connector_id = made["databaseConnectorId"]
    deployed.set_feature_group_export_database_connector_output(
        connector_id, "rows", "UPSERT", {"id": "id", "y": "x"}, id_column="id"
    )
    wait_until(lambda: exports(bench, group_id) == ["COMPLETE"], 60)
    with sqlite3.connect(folder / "rows.db") as file:
        assert file.execute("SELECT id, y FROM rows ORDER BY id").fetchall() == [(7, 1), (8, 2)]
    file.close()
    assert deployed.refresh().feature_group_export_config.id_column == "id"
    with pytest.raises(CallFailed, match="used by deployment export"):
        bench.yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=connector_id)
    action = "setDeploymentFeatureGroupExportFileConnectorOutput"
    with pytest.raises(CallFailed, match="MissingParameterError"):
        bench.yard.call(action, deploymentId=deployed.deployment_id)
    with pytest.raises(CallFailed, match="outside of the folders"):
        bench.yard.call(action, deploymentId=deployed.deployment_id, outputLocation="file:///etc/x")
    of_model = bench.deploy(ECHO, bench.table(x=[1]))
    with pytest.raises(CallFailed, match="serves a model; only tables are exported"):
        bench.yard.call(action, deploymentId=of_model, outputLocation=f"file://{folder}/x")
    client.delete_deployment(deployed.deployment_id)
    bench.yard.call("deleteDatabaseConnector", "DELETE", databaseConnectorId=connector_id)
