"""What a call may do to others, or suffer: a full queue, no end, all memory, one crash after another, a switch."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import requests

from modelyard.deployments.replicas import keeper
from modelyard.settings import Settings
from tests.deployments.conftest import Workshop, open_workshop
from tests.deployments.processes import replicas_of
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

#: Answers with a name of its own replica.
NAMED = """
import os, time, uuid
name = uuid.uuid4().hex

def train():
    return None

def predict(model, query):
    if query.get("exit"):
        os._exit(3)
    taken = bytearray(int(query.get("gib", 0) * 1024**3))
    time.sleep(query.get("sleep", 0))
    return name
"""


class Asked:
    """A deployment of that source, and calls to it."""

    def __init__(self, workshop: Workshop, memory_gib: int | None = None, initialize_s: float = 0) -> None:
        self.yard, self.model_id = workshop.yard, workshop.make_model()
        source = f"{NAMED}\ndef initialize(model):\n    time.sleep({initialize_s})\n"
        version = workshop.make_version(source, model_id=self.model_id, memory_gib=memory_gib, initialize=True)
        self.id = workshop.deploy(version)
        self.url = f"{self.yard.url}/api/v0/predict?deploymentToken={workshop.token()}&deploymentId={self.id}"

    def ask(self, **query: object) -> requests.Response:
        return requests.post(self.url, json={"queryData": query}, timeout=60)

    def name(self) -> str:
        return str(self.ask().json()["result"])


@pytest.fixture
def impatient(settings: Settings, base_lock: str) -> Iterator[Workshop]:
    """A house in which calls may take two seconds, and each of two replicas has three calls at most."""
    quick = msgspec.structs.replace(settings, prediction_timeout_s=2.0, replica_queue=3, replicas=2)
    with Yard(quick) as yard:
        yield open_workshop(yard, base_lock)


def test_past_the_queue_calls_are_refused_at_once_with_a_time_to_come_back(impatient: Workshop) -> None:
    asked = Asked(impatient)
    with ThreadPoolExecutor(6) as pool:
        kept = [pool.submit(asked.ask, sleep=0.5) for _ in range(6)]
        wait_until(lambda: asked.yard.load_of(asked.id) == 6)
        began = time.monotonic()
        refused = asked.ask()
        took_s = time.monotonic() - began
        assert (refused.status_code, refused.json()["errorType"]) == (429, "TooManyRequestsError")
        assert "3 calls wait at each of 2 replicas" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) >= 1
        assert not any(each.done() for each in kept) or took_s < 0.5
        assert [each.result().status_code for each in kept] == [200] * 6
    assert asked.ask().status_code == 200


def test_a_call_past_its_time_ends_its_own_replica_alone(impatient: Workshop) -> None:
    asked = Asked(impatient)
    before = {asked.name() for _ in range(10)}
    assert len(before) == 2
    late: list[requests.Response] = []
    caller = threading.Thread(target=lambda: late.append(asked.ask(sleep=60)))
    caller.start()
    wait_until(lambda: asked.yard.load_of(asked.id) == 1)
    meanwhile = []
    while caller.is_alive():
        meanwhile.append(asked.ask())
    caller.join()
    assert (late[0].status_code, late[0].json()["errorType"]) == (408, "RequestTimeoutError")
    assert "longer than 2 seconds" in late[0].json()["error"]
    assert {each.status_code for each in meanwhile} == {200}
    neighbour = {each.json()["result"] for each in meanwhile}
    assert len(neighbour) == 1
    # The neighbour goes on, the hung one never answers again, and another takes its place.
    wait_until(lambda: len({asked.name() for _ in range(10)}) == 2, 60)
    after = {asked.name() for _ in range(10)}
    assert neighbour < after
    assert not (before - neighbour) & after


def test_a_call_that_needs_more_memory_than_there_is_fails_alone(shared_yard: Yard, workshop: Workshop) -> None:
    asked = Asked(workshop, memory_gib=1)
    assert asked.ask(gib=0.25).status_code == 200
    failed = asked.ask(gib=1.5)
    assert (failed.status_code, failed.json()["errorType"]) == (500, "InvalidRequest")
    assert "emory" in failed.json()["error"]
    assert asked.ask().status_code == 200


def test_who_crashes_again_and_again_is_replaced_less_and_less_often(
    shared_yard: Yard, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time that `initialize` takes is no sign of health.
    monkeypatch.setattr(keeper, "HEALTHY_S", 0.25)
    asked = Asked(workshop, initialize_s=0.3)
    names, gaps_s = [asked.name()], []
    for _ in range(5):
        assert asked.ask(exit=True).status_code == 500
        began = time.monotonic()
        names.append(asked.name())
        gaps_s.append(time.monotonic() - began)
    assert len(set(names)) == 6
    # 0.1 s, 0.2 s, 0.4 s, 0.8 s, 1.6 s, and what a start takes besides.
    assert gaps_s[-1] > 1.8
    assert workshop.wait(asked.id)["status"] == "ACTIVE"


def test_the_former_version_stays_until_its_last_call_has_its_answer(shared_yard: Yard, workshop: Workshop) -> None:
    asked = Asked(workshop)
    first = asked.name()
    second = workshop.make_version(NAMED, model_id=asked.model_id)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(asked.ask, sleep=4)
        wait_until(lambda: shared_yard.load_of(asked.id) == 1)
        shared_yard.call("setDeploymentModelVersion", "PATCH", deploymentId=asked.id, modelVersion=second)
        found = workshop.wait(asked.id, lambda found: found["pendingModelVersion"] is None)
        assert (found["modelVersion"], slow.done()) == (second, False)
        assert asked.name() != first
        assert (slow.result().status_code, slow.result().json()["result"]) == (200, first)
    wait_until(lambda: replicas_of(shared_yard, asked.id) == 1)
