"""Datasets from files that the server can read itself."""

from pathlib import Path

import msgspec
import pytest

from modelyard.settings import Settings
from tests.datasets.conftest import Files
from tests.yard import CallFailed, Yard


def test_a_file_below_an_opened_folder_becomes_a_dataset(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    location = f"file://{tmp_path}/a.csv"
    with Yard(msgspec.structs.replace(settings, file_roots=(tmp_path,))) as yard:
        files = Files(yard)
        dataset = yard.call("createDatasetFromFileConnector", tableName="located", location=location)
        assert (dataset["sourceType"], dataset["connectorType"], dataset["dataSource"]) == (
            "EXTERNAL_SERVICE", "FILE", location,
        )  # fmt: skip
        assert files.ended(dataset["latestDatasetVersion"]["datasetVersion"])["rowCount"] == 1
        (tmp_path / "a.csv").write_text("a,b\n1,x\n2,y\n")
        version = yard.call("createDatasetVersionFromFileConnector", datasetId=dataset["datasetId"])
        assert files.ended(version["datasetVersion"])["rowCount"] == 2
        scheduled = yard.call(
            "createDatasetFromFileConnector", tableName="daily", location=location, refreshSchedule="0 6 * * *"
        )
        [schedule] = scheduled["refreshSchedules"]
        assert (schedule["cron"], schedule["refreshType"]) == ("0 6 * * *", "DATASET")
        with pytest.raises(CallFailed, match="cron"):
            yard.call(
                "createDatasetFromFileConnector", tableName="never", location=location, refreshSchedule="every day"
            )
        with pytest.raises(CallFailed, match="outside of the folders"):
            yard.call("createDatasetFromFileConnector", tableName="passwd", location="file:///etc/passwd")
        with pytest.raises(CallFailed, match="no file connector"):
            yard.call("createDatasetFromFileConnector", tableName="s3", location="s3://bucket/key")
