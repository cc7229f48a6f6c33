"""A dataset that is read from a file, read again by its policy."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.settings import Settings
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox


def wait(yard: Yard, action: str, **id_parameter: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        found: dict[str, Any] = yard.call(action, "GET", **id_parameter)
        if found["status"] in ("COMPLETE", "FAILED"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_a_policy_reads_a_datasets_file_again(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    file.write_text("a\n1\n")
    with Yard(msgspec.structs.replace(settings, file_roots=(tmp_path,))) as yard:
        made = yard.call("createDatasetFromFileConnector", tableName="sales", location=f"file://{file}")
        first = wait(yard, "describeDatasetVersion", datasetVersion=made["latestDatasetVersion"]["datasetVersion"])
        assert (first["status"], first["rowCount"]) == ("COMPLETE", 1), first
        policy = yard.call("createRefreshPolicy", cron="@daily", refreshType="DATASET", datasetIds=[made["datasetId"]])
        file.write_text("a\n1\n2\n")
        fired = yard.call("runRefreshPolicy", refreshPolicyId=policy["refreshPolicyId"])
        refreshed = wait(yard, "describeRefreshPipelineRun", refreshPipelineRunId=fired["refreshPipelineRunId"])
        assert refreshed["status"] == "COMPLETE", refreshed
        newest, older = yard.call("listDatasetVersions", "GET", datasetId=made["datasetId"])
        assert (newest["rowCount"], older["datasetVersion"]) == (2, first["datasetVersion"])
        shown = yard.call("describeDataset", "GET", datasetId=made["datasetId"])["refreshSchedules"]
        assert [each["refreshPolicyId"] for each in shown] == [policy["refreshPolicyId"]]


def test_what_was_uploaded_has_no_place_to_be_read_from_again(shared_yard: Yard) -> None:
    dataset_id = shared_yard.call("createDatasetFromUpload", tableName="uploaded")["datasetId"]
    with pytest.raises(CallFailed, match="was uploaded") as refused:
        shared_yard.call("createRefreshPolicy", cron="@daily", refreshType="DATASET", datasetIds=[dataset_id])
    assert refused.value.error_type == "InvalidParameterError"
