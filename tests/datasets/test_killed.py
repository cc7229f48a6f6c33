"""kill -9 of gateway and agent while a file is on its way: nothing acknowledged is lost, nothing half-made stays."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from modelyard.database import Database
from modelyard.execution import Run, RunState
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion
from modelyard.settings import Settings
from tests.agents import agent_process, guests
from tests.cli.conftest import Served
from tests.datasets.conftest import Files
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

ROWS = 2_000_000


def test_an_import_whose_agent_is_killed_is_made_again_and_ends_once(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        files = Files(yard)
        upload = files.begin("killed", fileFormat="CSV")
        files.send(upload, 1, b"a,b,c\n" + b"1,2.5,some words\n" * ROWS)
        yard.call("markUploadComplete", uploadId=upload["uploadId"])
        version_id = upload["datasetVersion"]

        def status() -> str:
            return str(yard.call("describeDatasetVersion", "GET", datasetVersion=version_id)["status"])

        with agent_process(yard.settings) as first:
            deadline = time.monotonic() + 60
            while status() == "PENDING":
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.3)
            first.send_signal(signal.SIGKILL)
            first.wait()
        wait_until(lambda: guests(settings.home) == [])
        assert status() == "IMPORTING"
        assert yard.call("getDatasetSchema", "GET", datasetId=upload["datasetId"]) == []
        with agent_process(yard.settings):
            ended = files.ended(version_id)
        assert (ended["status"], ended["rowCount"]) == ("COMPLETE", ROWS), ended["error"]
        with yard.database.read() as session:
            (run,) = session.scalars(select(Run).where(Run.target == version_id)).all()
            (group,) = session.scalars(select(FeatureGroup)).all()
            (snapshot,) = session.scalars(select(FeatureGroupVersion)).all()
        assert (run.state, run.attempt) == (RunState.COMPLETE, 2)
        assert (group.table_name, snapshot.dataset_version, snapshot.status) == ("killed", version_id, "COMPLETE")
        assert list((settings.home / "joining").iterdir()) == []


SIZE = 3_000_000


def test_an_upload_loses_nothing_acknowledged_whenever_the_gateway_is_killed(home: Path) -> None:
    served = Served(home)
    try:
        served.wait_until_ready()
        caller = Caller(served)
        upload = caller.call("createDatasetFromUpload", tableName="killed", fileFormat="CSV")
        lines = b"a,b\n" + b"1,some words\n" * (SIZE // 13)
        parts = [lines[: SIZE // 2], lines[SIZE // 2 :]]
        assert caller.send(upload, 1, parts[0])
        with caller.half_sent(upload, 2, parts[1]):  # in the middle of a part
            kill_gateway(served)
        assert [part["partNumber"] for part in caller.call("describeUpload", uploadId=upload["uploadId"])["parts"]] == [
            1
        ]
        wait_until(lambda: not left_behind(home))
        kill_gateway(served)  # between parts
        assert caller.send(upload, 2, parts[1])
        with ThreadPoolExecutor(1) as pool:  # in markUploadComplete, perhaps before its commit, perhaps after
            ending = pool.submit(caller.completes, upload)
            kill_gateway(served)
            ending.result()
        while caller.call("describeUpload", uploadId=upload["uploadId"])["status"] != "COMPLETE":
            caller.completes(upload)
        ended = caller.ended(upload["datasetVersion"])
        assert (ended["status"], ended["rowCount"], ended["size"]) == ("COMPLETE", SIZE // 13, len(lines))
        database = Database(f"sqlite:///{home / 'modelyard.db'}")
        with database.read() as session:
            assert len(session.scalars(select(Run).where(Run.target == upload["datasetVersion"])).all()) == 1
            assert len(session.scalars(select(FeatureGroupVersion)).all()) == 1
        database.close()
        assert served.interrupt() == 0
    finally:
        served.end()


def test_an_import_leaves_nothing_behind_whenever_its_agent_is_killed(home: Path) -> None:
    served = Served(home)
    try:
        served.wait_until_ready()
        caller = Caller(served)
        upload = caller.call("createDatasetFromUpload", tableName="killed", fileFormat="CSV")
        assert caller.send(upload, 1, b"a,b,c\n" + b"1,2.5,some words\n" * ROWS)
        assert caller.completes(upload)
        for is_there in (lambda: "IMPORTING" in caller.status(upload), lambda: any(home.rglob("part-00000.parquet"))):
            wait_until(is_there, 60)
            before = served.child("agent")
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: served.has_child("agent", other_than=before), 60)  # noqa: B023 - called at once
        ended = caller.ended(upload["datasetVersion"])
        assert (ended["status"], ended["rowCount"]) == ("COMPLETE", ROWS), ended["error"]
        wait_until(lambda: not left_behind(home))
        assert len(list((home / "scratch").iterdir())) == 1  # the living agent's
        (group,) = caller.call("listFeatureGroupVersions", featureGroupId=caller.group("killed"))
        assert group["status"] == "COMPLETE"
        assert served.interrupt() == 0
    finally:
        served.end()


class Caller:
    """Calls a server that may be gone for a moment."""

    def __init__(self, served: Served) -> None:
        self._served, self._headers = served, {"apiKey": (served.home / "admin.key").read_text().strip()}

    def call(self, action: str, **parameters: object) -> Any:
        verb = "GET" if action.startswith(("describe", "list")) else "POST"
        given: dict[str, Any] = {"params" if verb == "GET" else "json": parameters}
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = requests.request(
                    verb, f"{self._served.url}/api/v0/{action}", headers=self._headers, timeout=60, **given
                )
            except requests.ConnectionError:
                assert verb == "GET", "a call that changes something is not repeated blindly"
                assert time.monotonic() < deadline
                continue
            body = answer.json()
            assert body["success"], body
            return body["result"]

    def send(self, upload: dict[str, Any], number: int, data: bytes) -> bool:
        fields = {"uploadId": upload["uploadId"], "partNumber": str(number)}
        url = f"{self._served.url}/api/uploadPart"
        answer = requests.post(url, data=fields, files={"partData": data}, headers=self._headers, timeout=60)
        return bool(answer.json()["success"])

    @contextmanager
    def half_sent(self, upload: dict[str, Any], number: int, data: bytes) -> Iterator[None]:
        """A part of which all but the last bytes were sent, and which never ends."""
        fields = {"uploadId": upload["uploadId"], "partNumber": str(number)}
        whole = requests.Request(
            "POST", f"{self._served.url}/api/uploadPart", data=fields, files={"partData": data}, headers=self._headers
        ).prepare()
        assert isinstance(whole.body, bytes)
        head = "".join(f"{name}: {value}\r\n" for name, value in whole.headers.items())
        host, port = self._served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"POST /api/uploadPart HTTP/1.1\r\nHost: {host}:{port}\r\n{head}\r\n".encode())
            connection.sendall(whole.body[:-1000])
            yield

    def completes(self, upload: dict[str, Any]) -> bool:
        """Whether markUploadComplete was acknowledged; a gateway that is killed answers nothing."""
        url = f"{self._served.url}/api/v0/markUploadComplete"
        try:
            answer = requests.post(url, json={"uploadId": upload["uploadId"]}, headers=self._headers, timeout=60)
        except requests.ConnectionError:
            return False
        return bool(answer.json()["success"])

    def status(self, upload: dict[str, Any]) -> str:
        return str(self.call("describeDatasetVersion", datasetVersion=upload["datasetVersion"])["status"])

    def ended(self, dataset_version: str) -> dict[str, Any]:
        seen: list[dict[str, Any]] = []

        def has_ended() -> bool:
            seen.append(self.call("describeDatasetVersion", datasetVersion=dataset_version))
            return seen[-1]["status"] in ("COMPLETE", "FAILED")

        wait_until(has_ended, 120)
        return seen[-1]

    def group(self, table: str) -> str:
        found = self.call("describeFeatureGroupByTableName", tableName=table)
        return str(found["featureGroupId"])


def kill_gateway(served: Served) -> None:
    before = served.child("gateway")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: served.has_child("gateway", other_than=before), 30)


def left_behind(home: Path) -> list[Path]:
    """What is half-written at the door, in the store, on the way into a guest, and in guests that wait for nothing."""
    folders = (home / "incoming", home / "blobs" / "incoming", home / "joining")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
