"""Replicas that come and go with the calls: more under load, none after a silence, and back at the next call."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from sqlalchemy import func, select

from modelyard.deployments.records import Deployment
from modelyard.execution.records import Run, RunState
from modelyard.models.records import ModelVersion
from modelyard.storage import BlobStore
from tests.deployments.conftest import Workshop
from tests.deployments.processes import replicas_of
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SLOW = """
import time, uuid
name = str(uuid.uuid4())

def train():
    return None

def predict(model, query):
    time.sleep(query.get("sleep", 0))
    return name
"""


def ask(yard: Yard, token: str, deployment_id: str, query: dict[str, object]) -> requests.Response:
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    return requests.post(f"{yard.url}/api/v0/predict", params=target, json={"queryData": query}, timeout=60)


def is_asleep(yard: Yard, deployment_id: str) -> bool:
    with yard.database.read() as session:
        return session.get_one(Deployment, deployment_id).is_asleep


def serve_runs(yard: Yard, serving_id: str) -> int:
    """Runs of that serving that some agent has."""
    with yard.database.read() as session:
        mine = (Run.target == serving_id, Run.state == RunState.RUNNING)
        return session.scalar(select(func.count()).select_from(Run).where(*mine)) or 0


def set_options(yard: Yard, deployment_id: str, **options: object) -> None:
    yard.call("setDeploymentOptions", "PATCH", deploymentId=deployment_id, options=options)


def test_a_silent_deployment_sleeps_and_the_next_call_wakes_it(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(SLOW)), workshop.token()
    first = ask(shared_yard, token, deployment_id, {}).json()["result"]
    with shared_yard.database.read() as session:
        serving_id = session.get_one(Deployment, deployment_id).serving_id
    assert serving_id
    assert serve_runs(shared_yard, serving_id) == 1
    set_options(shared_yard, deployment_id, idleTimeoutS=1)
    wait_until(lambda: is_asleep(shared_yard, deployment_id))
    wait_until(lambda: replicas_of(shared_yard, deployment_id) == 0 and serve_runs(shared_yard, serving_id) == 0)
    found = shared_yard.call("describeDeployment", "GET", deploymentId=deployment_id)
    assert (found["status"], found["pendingModelVersion"]) == ("ACTIVE", None)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(shared_yard, token, deployment_id, {}), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["result"] for answer in answers} != {first}
    assert not is_asleep(shared_yard, deployment_id)
    wait_until(lambda: is_asleep(shared_yard, deployment_id))


def test_calls_that_come_while_it_falls_asleep_are_answered(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(SLOW)), workshop.token()
    set_options(shared_yard, deployment_id, idleTimeoutS=1)
    statuses = []
    # Pauses around the idle time: calls meet the deployment before, while and after it gives its replica back.
    for pause_s in (0.9, 1.0, 1.1, 1.15, 1.2, 1.3):
        time.sleep(pause_s)
        statuses.append(ask(shared_yard, token, deployment_id, {}).status_code)
    assert statuses == [200] * 6


def test_a_sleeping_deployment_is_switched_stopped_and_started_like_any_other(
    shared_yard: Yard, workshop: Workshop
) -> None:
    model_id = workshop.make_model()
    first, second = (workshop.make_version(model_id=model_id, artifact=number) for number in (1, 2))
    deployment_id, token = workshop.deploy(first), workshop.token()
    set_options(shared_yard, deployment_id, idleTimeoutS=1)
    wait_until(lambda: is_asleep(shared_yard, deployment_id))
    shared_yard.call("setDeploymentModelVersion", "PATCH", deploymentId=deployment_id, modelVersion=second)
    workshop.wait(deployment_id, lambda found: found["pendingModelVersion"] is None)
    assert ask(shared_yard, token, deployment_id, {}).json()["result"]["model"] == 2
    wait_until(lambda: is_asleep(shared_yard, deployment_id))
    shared_yard.call("stopDeployment", deploymentId=deployment_id)
    refused = ask(shared_yard, token, deployment_id, {})
    assert (refused.status_code, refused.json()["errorType"]) == (409, "NotReadyError")
    shared_yard.call("startDeployment", deploymentId=deployment_id)
    assert workshop.wait(deployment_id)["status"] == "ACTIVE"
    assert ask(shared_yard, token, deployment_id, {}).status_code == 200


def test_a_deployment_that_can_not_be_woken_says_why(shared_yard: Yard, workshop: Workshop) -> None:
    version = workshop.make_version(SLOW)
    deployment_id, token = workshop.deploy(version), workshop.token()
    set_options(shared_yard, deployment_id, idleTimeoutS=1)
    wait_until(lambda: is_asleep(shared_yard, deployment_id))
    with shared_yard.database.write() as session:
        spoiled = BlobStore(shared_yard.settings.home / "blobs").put_bytes(b"no pickle")
        session.get_one(ModelVersion, version).artifact_digest = spoiled.digest
    answer = ask(shared_yard, token, deployment_id, {})
    assert (answer.status_code, answer.json()["errorType"]) == (409, "NotReadyError")
    assert "UnpicklingError" in answer.json()["error"]
    assert workshop.wait(deployment_id)["status"] == "FAILED"


def test_load_brings_replicas_up_to_the_most_and_they_share_the_calls(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(SLOW)), workshop.token()
    set_options(shared_yard, deployment_id, minReplicas=1, maxReplicas=3, targetQueue=1)
    done, seen = threading.Event(), set[str]()

    def load() -> None:
        while not done.is_set():
            answer = ask(shared_yard, token, deployment_id, {"sleep": 0.1})
            assert answer.status_code == 200
            seen.add(answer.json()["result"])

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: replicas_of(shared_yard, deployment_id) == 3)
        wait_until(lambda: len(seen) == 3)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    set_options(shared_yard, deployment_id, maxReplicas=None)
    wait_until(lambda: replicas_of(shared_yard, deployment_id) == 1)
    assert ask(shared_yard, token, deployment_id, {}).status_code == 200
