"""Deployments through their lives: switched, stopped, crashed, failed, promoted, with real replicas throughout."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import requests
from sqlalchemy import select

from modelyard import app
from modelyard.deployments.promotion import is_worse, promote
from modelyard.deployments.records import Replica
from modelyard.models.records import ModelVersion, VersionStatus
from modelyard.settings import Settings
from tests.conftest import shared_cache
from tests.deployments.conftest import Workshop, open_workshop
from tests.deployments.processes import listeners, replicas_of
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

CRASHES = """
import os, time

def train():
    return None

def predict(model, query):
    if query.get("exit"):
        os._exit(3)
    time.sleep(query.get("sleep", 0))
    return os.getpid()
"""


def ask(yard: Yard, token: str, deployment_id: str, query: dict[str, object]) -> requests.Response:
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    return requests.post(f"{yard.url}/api/v0/predict", params=target, json={"queryData": query}, timeout=60)


def test_a_switch_under_load_loses_no_call(shared_yard: Yard, workshop: Workshop) -> None:
    model_id = workshop.make_model()
    first = workshop.make_version(model_id=model_id, artifact=1)
    second = workshop.make_version(model_id=model_id, artifact=2)
    deployment_id, token = workshop.deploy(first), workshop.token()
    answers: list[tuple[float, int, object]] = []
    done = threading.Event()

    def load() -> None:
        with requests.Session() as session:
            target = {"deploymentToken": token, "deploymentId": deployment_id}
            while not done.is_set():
                began = time.monotonic()
                answer = session.post(
                    f"{shared_yard.url}/api/v0/predict", params=target, json={"queryData": {}}, timeout=60
                )
                answers.append((began, answer.status_code, answer.json().get("result", {}).get("model")))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version, model in ((second, 2), (first, 1)):
        shared_yard.call("setDeploymentModelVersion", "PATCH", deploymentId=deployment_id, modelVersion=version)
        found = workshop.wait(deployment_id, lambda found: found["pendingModelVersion"] is None)
        switched = time.monotonic()
        assert (found["status"], found["modelVersion"], found["error"]) == ("ACTIVE", version, None)
        time.sleep(1.5)
        assert {each[2] for each in answers if each[0] > switched} == {model}
    done.set()
    for thread in threads:
        thread.join()
    assert {status for _, status, _ in answers} == {200}
    assert len(answers) > 100
    wait_until(lambda: replicas_of(shared_yard, deployment_id) == 1)


def test_a_crashed_replica_is_replaced(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(CRASHES)), workshop.token()
    assert ask(shared_yard, token, deployment_id, {}).status_code == 200
    crash = ask(shared_yard, token, deployment_id, {"exit": True})
    assert (crash.status_code, crash.json()["errorType"]) == (500, "InvalidRequest")
    assert "process ended" in crash.json()["error"]
    assert ask(shared_yard, token, deployment_id, {}).status_code == 200
    assert workshop.wait(deployment_id)["status"] == "ACTIVE"


def test_calls_behind_a_crash_are_sent_to_the_replacement(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(CRASHES)), workshop.token()
    statuses: list[int] = []
    queries: list[dict[str, object]] = [{"sleep": 0.5}, {"exit": True}, {}, {}, {}]
    threads = [
        threading.Thread(target=lambda q=query: statuses.append(ask(shared_yard, token, deployment_id, q).status_code))
        for query in queries
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 200, 200, 200, 500]


def test_a_finished_answer_does_not_wait_for_the_slow_call_behind_it(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(CRASHES)), workshop.token()
    answered: list[float] = []

    def call(sleep: float) -> None:
        ask(shared_yard, token, deployment_id, {"sleep": sleep})
        answered.append(sleep)

    threads = [threading.Thread(target=call, args=(sleep,)) for sleep in (1.0, 0.001, 2.0)]
    for begun, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda: answered or shared_yard.load_of(deployment_id) == begun)  # noqa: B023 - called at once
    for thread in threads:
        thread.join()
    assert answered == [1.0, 0.001, 2.0]


def test_stop_refuses_calls_and_start_takes_them_again(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version()), workshop.token()
    shared_yard.call("stopDeployment", deploymentId=deployment_id)
    assert workshop.wait(deployment_id)["status"] == "STOPPED"
    wait_until(lambda: ask(shared_yard, token, deployment_id, {}).status_code == 409)
    refused = ask(shared_yard, token, deployment_id, {})
    assert (refused.status_code, refused.json()["errorType"]) == (409, "NotReadyError")
    assert "STOPPED" in refused.json()["error"]
    shared_yard.call("startDeployment", deploymentId=deployment_id)
    assert workshop.wait(deployment_id)["status"] == "ACTIVE"
    assert ask(shared_yard, token, deployment_id, {}).status_code == 200
    shared_yard.call("deleteDeployment", "DELETE", deploymentId=deployment_id)
    with pytest.raises(CallFailed, match="DataNotFoundError"):
        shared_yard.call("describeDeployment", "GET", deploymentId=deployment_id)
    wait_until(lambda: ask(shared_yard, token, deployment_id, {}).status_code == 404)


@pytest.mark.parametrize(("action", "verb"), [("stopDeployment", "POST"), ("deleteDeployment", "DELETE")])
def test_calls_under_way_end_when_their_deployment_does(
    shared_yard: Yard, workshop: Workshop, action: str, verb: str
) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(CRASHES)), workshop.token()
    statuses: list[int] = []

    def call() -> None:
        statuses.append(ask(shared_yard, token, deployment_id, {"sleep": 1.0}).status_code)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: shared_yard.load_of(deployment_id) == 3)
    shared_yard.call(action, verb, deploymentId=deployment_id)
    for thread in threads:
        thread.join()
    assert statuses == [200] * 3
    assert ask(shared_yard, token, deployment_id, {}).status_code in (404, 409)


def test_an_initialize_that_raises_fails_the_deployment_with_its_traceback(
    shared_yard: Yard, workshop: Workshop
) -> None:
    source = (
        "def train():\n    return 1\ndef initialize(model):\n    return model['no']\ndef predict(m, q):\n    return m\n"
    )
    model_id = workshop.make_model()
    good = workshop.make_version(model_id=model_id, artifact={"no": 1})
    bad = workshop.make_version(source, model_id=model_id, initialize=True)
    deployment_id = shared_yard.call("createDeployment", modelVersion=bad)["deploymentId"]
    failed = workshop.wait(deployment_id)
    assert failed["status"] == "FAILED"
    assert "TypeError" in failed["error"]
    assert "in initialize" in failed["error"]
    with pytest.raises(CallFailed, match="FAILED"):
        shared_yard.call("predict", deploymentId=deployment_id, queryData={})
    # Another version mends it; the bad one then does not get in again, and the good one stays.
    shared_yard.call("setDeploymentModelVersion", "PATCH", deploymentId=deployment_id, modelVersion=good)
    assert workshop.wait(deployment_id)["status"] == "ACTIVE"
    shared_yard.call("setDeploymentModelVersion", "PATCH", deploymentId=deployment_id, modelVersion=bad)
    kept = workshop.wait(deployment_id, lambda found: found["pendingModelVersion"] is None)
    assert (kept["status"], kept["modelVersion"]) == ("ACTIVE", good)
    assert "in initialize" in kept["error"]
    with shared_yard.database.read() as session:
        version = session.get_one(ModelVersion, bad)
    assert (version.pending_deployment_ids, version.failed_deployment_ids) == ([], [deployment_id])


def test_what_has_no_complete_version_is_not_deployed(shared_yard: Yard, workshop: Workshop) -> None:
    model_id = workshop.make_model()
    with pytest.raises(CallFailed, match="no complete version"):
        shared_yard.call("createDeployment", modelId=model_id)
    training = workshop.make_version(model_id=model_id, status=VersionStatus.TRAINING)
    with pytest.raises(CallFailed, match="is TRAINING"):
        shared_yard.call("createDeployment", modelVersion=training)


def test_a_trained_version_goes_to_its_deployments_unless_its_metrics_are_worse(
    shared_yard: Yard, workshop: Workshop
) -> None:
    model_id = workshop.make_model()
    deployment_id = workshop.deploy(workshop.make_version(model_id=model_id, metrics={"accuracy": 0.9}))
    better = workshop.make_version(model_id=model_id, metrics={"accuracy": 0.92})
    with shared_yard.database.write() as session:
        promote(session, session.get_one(ModelVersion, better))
    found = workshop.wait(deployment_id, lambda found: found["pendingModelVersion"] is None)
    assert found["modelVersion"] == better
    worse = workshop.make_version(model_id=model_id, metrics={"accuracy": 0.5})
    with shared_yard.database.write() as session:
        promote(session, session.get_one(ModelVersion, worse))
    found = workshop.wait(deployment_id)
    assert (found["modelVersion"], found["pendingModelVersion"]) == (better, None)
    assert "poor metrics performance" in found["error"]
    with shared_yard.database.read() as session:
        assert session.get_one(ModelVersion, worse).failed_deployment_ids == [deployment_id]


def test_an_objective_is_the_one_metric_that_a_promotion_compares(shared_yard: Yard, workshop: Workshop) -> None:
    model_id = workshop.make_model()
    first = workshop.make_version(model_id=model_id, metrics={"accuracy": 0.9, "rmse": 1.0})
    deployment_id = workshop.deploy(first)
    shared_yard.call("setModelObjective", modelVersion=first, metric="accuracy")
    second = workshop.make_version(model_id=model_id, metrics={"accuracy": 0.92, "rmse": 2.0})
    with shared_yard.database.write() as session:
        promote(session, session.get_one(ModelVersion, second))
    found = workshop.wait(deployment_id, lambda found: found["pendingModelVersion"] is None)
    assert found["modelVersion"] == second


def test_metrics_are_compared_in_their_own_direction() -> None:
    assert is_worse({"rmse": 2.0}, {"rmse": 1.0}) == "rmse"
    assert is_worse({"rmse": 0.5, "auc": 0.9}, {"rmse": 1.0, "auc": 0.9}) is None
    assert is_worse({"auc": 0.6}, {"auc": 0.9}) == "auc"
    assert is_worse({"rows": 1}, {"rows": 9}) is None
    assert is_worse({}, {"auc": 0.9}) is None


@pytest.fixture
def impatient(settings: Settings, base_lock: str) -> Iterator[tuple[Yard, Workshop]]:
    quick = msgspec.structs.replace(settings, prediction_timeout_s=1.0)
    with Yard(quick) as yard:
        yield yard, open_workshop(yard, base_lock)


def test_a_call_behind_one_past_its_time_is_answered_by_the_replacement(impatient: tuple[Yard, Workshop]) -> None:
    yard, workshop = impatient
    deployment_id, token = workshop.deploy(workshop.make_version(CRASHES)), workshop.token()
    results: list[requests.Response] = []
    threads = [
        threading.Thread(target=lambda s=sleep: results.append(ask(yard, token, deployment_id, {"sleep": s})))
        for sleep in (30.0, 0.0)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert sorted(each.status_code for each in results) == [200, 408]
    late = next(each for each in results if each.status_code == 408)
    assert late.json()["errorType"] == "RequestTimeoutError"


def test_replicas_come_back_after_their_agent_was_lost(own_workshop: Workshop) -> None:
    yard = own_workshop.yard
    assert yard.agent is not None
    deployment_id, token = own_workshop.deploy(own_workshop.make_version()), own_workshop.token()
    with yard.database.read() as session:
        before = session.scalars(select(Replica)).one()
    yard.agent.stop()
    yard.agent = app.agent(yard.house)
    yard.agent.start()
    assert ask(yard, token, deployment_id, {}).status_code == 200
    with yard.database.read() as session:
        after = session.scalars(select(Replica)).one()
    assert before.replica_id != after.replica_id
    assert not Path(before.socket).exists()


def test_a_replica_that_is_killed_from_outside_is_replaced(own_workshop: Workshop) -> None:
    yard = own_workshop.yard
    deployment_id, token = own_workshop.deploy(own_workshop.make_version(CRASHES)), own_workshop.token()
    with yard.database.read() as session:
        path = session.scalars(select(Replica.socket)).one()
    holders = listeners(path)
    assert holders
    for pid in holders:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while ask(yard, token, deployment_id, {}).status_code != 200:
        assert time.monotonic() < deadline


def test_several_replicas_share_the_calls(settings: Settings, base_lock: str) -> None:
    source = """
import time, uuid
name = str(uuid.uuid4())

def train():
    return None

def predict(model, query):
    time.sleep(query["sleep"])
    return name
"""
    with Yard(msgspec.structs.replace(settings, replicas=2)) as yard:
        workshop = open_workshop(yard, base_lock)
        deployment_id, token = workshop.deploy(workshop.make_version(source)), workshop.token()

        def call(sleep: float) -> str:
            return str(ask(yard, token, deployment_id, {"sleep": sleep}).json()["result"])

        # One after the other, in turn; at once, to the one with the fewest.
        one_by_one = Counter(call(0) for _ in range(20))
        assert sorted(one_by_one.values()) == [10, 10]
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            at_once = Counter(pool.map(call, [0.5] * 8))
        assert sorted(at_once.values()) == [4, 4]
        assert time.monotonic() - began < 3.5  # 2 s by two replicas, 4 by one
        # One of them killed: the other goes on, and a new one comes.
        with yard.database.read() as session:
            path = session.scalars(select(Replica.socket)).first()
        assert path
        for pid in listeners(path):
            os.kill(pid, signal.SIGKILL)
        assert {ask(yard, token, deployment_id, {"sleep": 0}).status_code for _ in range(20)} <= {200, 500}
        deadline = time.monotonic() + 20
        while len({call(0) for _ in range(6)}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_long_path_of_the_home_has_its_sockets_elsewhere(tmp_path: Path, base_lock: str) -> None:
    home = tmp_path / ("a" * 60) / ("b" * 60)
    home.mkdir(parents=True)
    with Yard(Settings.load({}, home=home, cache=shared_cache(), port=0)) as yard:
        workshop = open_workshop(yard, base_lock)
        deployment_id, token = workshop.deploy(workshop.make_version()), workshop.token()
        assert ask(yard, token, deployment_id, {}).status_code == 200
        with yard.database.read() as session:
            path = Path(session.scalars(select(Replica.socket)).one())
        assert not path.is_relative_to(home)
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()


LOGGED = """
import time
seen = []

def train():
    return None

def predict(model, query):
    seen.append(query["x"])
    time.sleep(query.get("sleep", 0))
    return seen
"""


def test_a_call_whose_caller_hangs_up_before_its_turn_is_never_made(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(LOGGED)), workshop.token()
    url = f"{shared_yard.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
    by_key = f"{shared_yard.url}/api/v0/predict?deploymentId={deployment_id}"
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(requests.post, url, json={"queryData": {"x": 0, "sleep": 2}}, timeout=60)
        wait_until(lambda: shared_yard.load_of(deployment_id) == 1)
        for number, address in ((1, url), (2, by_key)):
            with pytest.raises(requests.ReadTimeout):
                requests.post(
                    address, json={"queryData": {"x": number}}, headers={"apiKey": shared_yard.key}, timeout=0.3
                )
        assert shared_yard.load_of(deployment_id) == 3
        last = pool.submit(requests.post, url, json={"queryData": {"x": 3}}, timeout=60)
        assert slow.result().status_code == 200
        assert last.result().json()["result"] == [0, 3]
    wait_until(lambda: shared_yard.load_of(deployment_id) == 0)


def test_who_calls_by_another_gateway_does_not_suffer_for_a_call_that_ends_the_replica(
    shared_yard: Yard, workshop: Workshop
) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(CRASHES)), workshop.token()
    with shared_yard.another_gateway() as other_url, ThreadPoolExecutor(5) as pool:
        here = f"{shared_yard.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
        there = here.replace(shared_yard.url, other_url)
        assert requests.post(there, json={"queryData": {}}, timeout=60).status_code == 200
        slow = pool.submit(requests.post, here, json={"queryData": {"sleep": 1}}, timeout=60)
        wait_until(lambda: shared_yard.load_of(deployment_id) == 1)
        deadly = pool.submit(requests.post, here, json={"queryData": {"exit": True}}, timeout=60)
        wait_until(lambda: shared_yard.load_of(deployment_id) == 2)
        others = [pool.submit(requests.post, there, json={"queryData": {}}, timeout=60) for _ in range(3)]
        assert slow.result().status_code == 200
        assert deadly.result().status_code == 500
        assert [each.result().status_code for each in others] == [200] * 3
