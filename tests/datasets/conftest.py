"""A house with files in it: bytes that a test writes down are uploaded and imported."""

import time
import uuid
from typing import Any

import pytest
import requests

from tests.yard import Yard


class Files:
    """Uploads bytes to a house and waits for what becomes of them."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard

    def begin(self, name: str | None = None, **options: Any) -> dict[str, Any]:
        """A new dataset's upload."""
        upload: dict[str, Any] = self.yard.call(
            "createDatasetFromUpload", tableName=name or f"t_{uuid.uuid4().hex}", **options
        )
        return upload

    def send(self, upload: dict[str, Any], number: int, data: bytes, *, old_way: bool = False) -> requests.Response:
        """One part, as today's client sends it, or as those before 2024 did."""
        fields = {"uploadId": upload["uploadId"], "partNumber": str(number)}
        base = f"{self.yard.url}/api/v0" if old_way else f"{self.yard.url}/api"
        split: dict[str, Any] = {"params": fields} if old_way else {"data": fields}
        return requests.post(
            f"{base}/uploadPart", files={"partData": data}, headers={"APIKEY": self.yard.key}, timeout=60, **split
        )

    def upload(self, *parts: bytes, **options: Any) -> dict[str, Any]:
        """The ended version of a new dataset that was sent in these parts."""
        upload = self.begin(**options)
        return self.finish(upload, *parts)

    def finish(self, upload: dict[str, Any], *parts: bytes) -> dict[str, Any]:
        """Sends the parts of an upload, completes it, and gives the version once its import has ended."""
        for number, part in enumerate(parts, 1):
            answer = self.send(upload, number, part)
            assert answer.json()["success"], answer.text
        self.yard.call("markUploadComplete", uploadId=upload["uploadId"])
        return self.ended(upload["datasetVersion"])

    def ended(self, dataset_version: str, timeout_s: float = 60) -> dict[str, Any]:
        """The version, COMPLETE or FAILED."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            version: dict[str, Any] = self.yard.call("describeDatasetVersion", "GET", datasetVersion=dataset_version)
            if version["status"] not in ("PENDING", "UPLOADING", "IMPORTING", "CONVERTING", "INSPECTING"):
                return version
            time.sleep(0.05)
        raise AssertionError(f"the import took longer than {timeout_s} s")

    def schema(self, version: dict[str, Any]) -> dict[str, str]:
        """The columns of a version's dataset and their data types."""
        columns = self.yard.call("getDatasetSchema", "GET", datasetId=version["datasetId"])
        return {column["name"]: column["dataType"] for column in columns}


@pytest.fixture(scope="module")
def files(shared_yard: Yard) -> Files:
    """One house for all tests of a module."""
    return Files(shared_yard)
