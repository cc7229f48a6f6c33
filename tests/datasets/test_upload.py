"""The way of a file into a dataset, with the official client and by hand."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest

from tests.datasets.conftest import Files
from tests.yard import CallFailed, Yard


def test_the_official_client_uploads_a_data_frame(shared_yard: Yard, files: Files) -> None:
    frame = pd.DataFrame({"id": [1, 2], "name": ["a", None], "at": pd.to_datetime(["2024-01-01", "2024-01-02"])})
    client = shared_yard.client()

    dataset = client.create_dataset_from_pandas("from_pandas", frame)
    files.ended(dataset.latest_dataset_version.dataset_version)
    dataset = client.describe_dataset(dataset.dataset_id)
    assert dataset.latest_dataset_version.status == "COMPLETE"
    assert dataset.latest_dataset_version.row_count == 2
    assert [(column.name, column.data_type, column.feature_type) for column in dataset.schema] == [
        ("id", "INTEGER", "NUMERICAL"),
        ("name", "STRING", "CATEGORICAL"),
        ("at", "DATETIME", "TIMESTAMP"),
    ]
    assert dataset.feature_group_table_name == "from_pandas"


def test_parts_may_come_concurrently_and_out_of_order(files: Files) -> None:
    lines = b"a,b\n" + b"".join(b"%d,x%d\n" % (number, number) for number in range(20_000))
    size = -(-len(lines) // 17)
    parts = [lines[start : start + size] for start in range(0, len(lines), size)]
    upload = files.begin(fileFormat="CSV")
    numbered = list(enumerate(parts, 1))[::-1]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda part: files.send(upload, *part).json(), numbered))
    assert all(answer["success"] and answer["result"]["md5"] for answer in answers)
    described = files.yard.call("describeUpload", "GET", uploadId=upload["uploadId"])
    assert [part["partNumber"] for part in described["parts"]] == list(range(1, len(parts) + 1))
    done = files.yard.call("markUploadComplete", uploadId=upload["uploadId"])
    assert (done["status"], done["datasetId"]) == ("COMPLETE", upload["datasetId"])
    version = files.ended(upload["datasetVersion"])
    assert (version["status"], version["rowCount"], version["size"]) == ("COMPLETE", 20_000, len(lines))


def test_a_part_sent_again_replaces_the_one_before(files: Files) -> None:
    upload = files.begin(fileFormat="CSV")
    for data in (b"a\n1\n", b"a\n1\n", b"a\n1\n2\n3\n"):
        assert files.send(upload, 1, data).json()["success"]
    assert files.finish(upload)["rowCount"] == 3


def test_old_clients_send_parts_under_the_api_itself(files: Files) -> None:
    upload = files.begin(fileFormat="CSV")
    assert files.send(upload, 1, b"a\n1\n", old_way=True).json()["success"]
    assert files.finish(upload)["rowCount"] == 1


def test_a_lost_part_is_named_and_the_upload_stays_open(files: Files) -> None:
    upload = files.begin(fileFormat="CSV")
    with pytest.raises(CallFailed, match="no part yet"):
        files.yard.call("markUploadComplete", uploadId=upload["uploadId"])
    files.send(upload, 1, b"a\n")
    files.send(upload, 4, b"1\n")
    with pytest.raises(CallFailed, match="missing: 2, 3"):
        files.yard.call("markUploadComplete", uploadId=upload["uploadId"])
    files.send(upload, 3, b"2\n")
    files.send(upload, 2, b"3\n")
    assert files.finish(upload)["rowCount"] == 3


def test_nothing_is_added_to_a_complete_upload(files: Files) -> None:
    upload = files.begin(fileFormat="CSV")
    files.finish(upload, b"a\n1\n")
    assert files.send(upload, 1, b"a\n2\n").json()["errorType"] == "ConflictError"
    with pytest.raises(CallFailed, match="ConflictError"):
        files.yard.call("markUploadComplete", uploadId=upload["uploadId"])
    with pytest.raises(CallFailed, match="ConflictError"):
        files.yard.call("cancelUpload", "DELETE", uploadId=upload["uploadId"])


def test_a_cancelled_upload_fails_its_version(files: Files) -> None:
    upload = files.begin()
    assert upload["uploadId"] in [each["uploadId"] for each in files.yard.call("listUploads", "GET")]
    files.yard.call("cancelUpload", "DELETE", uploadId=upload["uploadId"])
    assert files.ended(upload["datasetVersion"])["error"] == "The upload was cancelled"
    assert upload["uploadId"] not in [each["uploadId"] for each in files.yard.call("listUploads", "GET")]


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_part_numbers_have_bounds(files: Files, number: int) -> None:
    assert files.send(files.begin(), number, b"x").json()["errorType"] == "InvalidParameterError"


def test_a_table_name_is_given_once_in_an_organisation(files: Files) -> None:
    files.begin("only_once")
    with pytest.raises(CallFailed, match="AlreadyExistsError"):
        files.begin("only_once")


@pytest.mark.parametrize("name", ["", "a b", "a-b", "../x", "a" * 121, "é"])
def test_bad_table_names_are_refused(files: Files, name: str) -> None:
    with pytest.raises(CallFailed, match="InvalidParameterError"):
        files.begin(name or " ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fileFormat": "PDF"}, "InvalidParameterError.*CSV, TSV, JSON, PARQUET"),
        ({"fileFormat": "NONSENSE"}, "InvalidEnumParameterError"),
        ({"isDocumentset": True}, "no documents"),
        ({"csvDelimiter": "||"}, "one ASCII character"),
        ({"fileFormat": "CSV", "parsingConfig": {"excelSheet": "x"}}, "excelSheet names a sheet"),
        ({"parsingConfig": {"filePathWithSchema": "x"}}, "filePathWithSchema"),
        ({"versionLimit": 3}, "at least 30"),
    ],
)
def test_what_cannot_be_imported_is_refused_at_once(files: Files, options: dict[str, Any], said: str) -> None:
    with pytest.raises(CallFailed, match=said):
        files.begin(**options)


def test_the_next_version_is_read_like_the_one_before(files: Files) -> None:
    upload = files.begin(fileFormat="CSV", csvDelimiter=";")
    files.finish(upload, b"a;b\n1;2\n")
    second = files.yard.call("createDatasetVersionFromUpload", datasetId=upload["datasetId"])
    version = files.finish(second, b"a;b\n1,5;2\n3;4\n")
    assert (version["status"], version["rowCount"]) == ("COMPLETE", 2)
    versions = files.yard.call("listDatasetVersions", "GET", datasetId=upload["datasetId"])
    assert [each["datasetVersion"] for each in versions] == [second["datasetVersion"], upload["datasetVersion"]]
    described = files.yard.call("describeDataset", "GET", datasetId=upload["datasetId"])
    assert described["latestDatasetVersion"]["datasetVersion"] == second["datasetVersion"]


@pytest.mark.parametrize(
    ("action", "verb", "name"),
    [
        ("describeDataset", "GET", "datasetId"),
        ("describeDatasetVersion", "GET", "datasetVersion"),
        ("describeUpload", "GET", "uploadId"),
        ("listDatasetVersions", "GET", "datasetId"),
        ("getDatasetSchema", "GET", "datasetId"),
        ("createDatasetVersionFromUpload", "POST", "datasetId"),
        ("createDatasetVersionFromFileConnector", "POST", "datasetId"),
        ("markUploadComplete", "POST", "uploadId"),
        ("cancelUpload", "DELETE", "uploadId"),
        ("deleteDataset", "DELETE", "datasetId"),
    ],
)
def test_an_unknown_id_is_not_found(files: Files, action: str, verb: str, name: str) -> None:
    with pytest.raises(CallFailed, match="DataNotFoundError"):
        files.yard.call(action, verb, **{name: "ffffffffff"})


def test_a_deleted_dataset_is_gone_and_its_name_free(files: Files) -> None:
    upload = files.begin("gone", fileFormat="CSV")
    files.finish(upload, b"a\n1\n")
    assert upload["datasetId"] in [each["datasetId"] for each in files.yard.call("listDatasets", "GET")]
    files.yard.call("deleteDataset", "DELETE", datasetId=upload["datasetId"])
    for action, name in (("describeDataset", "datasetId"), ("describeUpload", "uploadId")):
        with pytest.raises(CallFailed, match="DataNotFoundError"):
            files.yard.call(action, "GET", **{name: upload[name]})
    files.begin("gone")
