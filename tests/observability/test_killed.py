"""A gateway that is killed takes at most its last second of statistics along; the next one goes on counting."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cli.conftest import Served
from tests.waiting import wait_until

pytestmark = pytest.mark.sandbox
SOURCE = "def train():\n    return 2\n\n\ndef predict(model, query):\n    return model * query['x']\n"


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    started = Served(home, gateways=2, prediction_logs_a_second=1000)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.end()


class Caller:
    """Calls actions and a deployment of a served house."""

    def __init__(self, served: Served) -> None:
        self.url, self.key = served.url, (served.home / "admin.key").read_text().strip()
        project_id = self.call("createProject", name="Concrete", useCase="PYTHON_MODEL")["projectId"]
        model = self.call(
            "createModelFromPython", projectId=project_id, functionSourceCode=SOURCE, trainFunctionName="train",
            predictFunctionName="predict",
        )  # fmt: skip
        version = model["latestModelVersion"]["modelVersion"]
        wait_until(lambda: self.get("describeModelVersion", modelVersion=version)["status"] == "COMPLETE", 90)
        self.deployment_id = self.call("createDeployment", modelVersion=version)["deploymentId"]
        wait_until(lambda: self.get("describeDeployment", deploymentId=self.deployment_id)["status"] == "ACTIVE", 60)
        self.token = self.call("createDeploymentToken", projectId=project_id)["deploymentToken"]

    def call(self, action: str, **parameters: object) -> Any:
        answer = requests.post(
            f"{self.url}/api/v0/{action}", json=parameters, headers={"apiKey": self.key}, timeout=60
        ).json()
        assert answer["success"], answer
        return answer["result"]

    def get(self, action: str, **parameters: str) -> Any:
        answer = requests.get(
            f"{self.url}/api/v0/{action}", params=parameters, headers={"apiKey": self.key}, timeout=60
        ).json()
        assert answer["success"], answer
        return answer["result"]

    def predict(self, times: int) -> None:
        target = {"deploymentToken": self.token, "deploymentId": self.deployment_id}
        for _ in range(times):
            answer = requests.post(
                f"{self.url}/api/v0/predict", params=target, json={"queryData": {"x": 1}}, timeout=60
            )
            assert answer.ok, answer.text

    def counted(self) -> int:
        now = datetime.now(UTC)
        window = {
            "startDate": (now - timedelta(hours=1)).isoformat(),
            "endDate": (now + timedelta(hours=1)).isoformat(),
        }
        found = self.get("getDeploymentStatisticsOverTime", deploymentId=self.deployment_id, **window)
        return int(sum(found["callSeries"]))


def test_what_was_written_before_a_kill_stays_and_gateways_go_on_counting(served: Served) -> None:
    caller = Caller(served)
    caller.predict(20)
    wait_until(lambda: caller.counted() == 20, 10)
    metrics = requests.get(f"{caller.url}/metrics", headers={"apiKey": caller.key}, timeout=20).text
    for gateway in served.children("gateway"):
        assert f'modelyard_gateway_resident_bytes{{worker="{os.uname().nodename}:{gateway}"}}' in metrics
        os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: len(served.children("gateway")) == 2, 20)
    began = time.monotonic()
    wait_until(lambda: caller.counted() == 20, 20)
    caller.predict(15)
    for gateway in served.children("gateway"):
        os.kill(gateway, signal.SIGTERM)  # in good order: what the last second brought is written first
    wait_until(lambda: caller.counted() == 35, 30)
    assert len(caller.get("getPredictionLogsRecords", deploymentId=caller.deployment_id, limit="100")) == 35
    assert time.monotonic() - began < 60
