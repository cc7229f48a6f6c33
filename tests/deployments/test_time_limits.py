"""How long a call may take is counted from when its replica began it, whoever else asks that replica."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import pytest
import requests
from sqlalchemy import select

from modelyard.deployments.records import Replica, ReplicaState
from modelyard.ids import DeploymentId
from modelyard.settings import Settings
from tests.deployments.conftest import Workshop, open_workshop
from tests.deployments.processes import listeners
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(120)]

LIMIT_S = 3.0
#: Longer than half of the limit: two in a row are past it.
LONG_S = 2.0
SOURCE = """
import os, threading, time, uuid
name, inside, lock = str(uuid.uuid4()), 0, threading.Lock()

def train():
    return None

def predict(model, query):
    global inside
    with lock:
        inside += 1
    while inside < query.get("exit_beside", 0):
        time.sleep(0.01)
    if "exit_beside" in query:
        os._exit(3)
    time.sleep(query.get("sleep", 0))
    with lock:
        inside -= 1
    return name
"""


@pytest.fixture
def yard(settings: Settings) -> Iterator[Yard]:
    """A house whose calls may not take long."""
    with Yard(msgspec.structs.replace(settings, prediction_timeout_s=LIMIT_S)) as yard:
        yield yard


@pytest.fixture
def other(yard: Yard) -> Iterator[Yard]:
    """Another gateway of the same house."""
    with Yard(msgspec.structs.replace(yard.settings, port=0), with_agent=False) as other:
        yield other


@pytest.fixture
def workshop(yard: Yard, base_lock: str) -> Workshop:
    return open_workshop(yard, base_lock)


class Asking:
    """Asks one deployment, beside what the test does."""

    def __init__(self, workshop: Workshop, deployment_id: str) -> None:
        self._target = f"/api/v0/predict?deploymentToken={workshop.token()}&deploymentId={deployment_id}"
        self._pool = ThreadPoolExecutor(64)

    def ask(self, yard: Yard, **query: Any) -> "Future[requests.Response]":
        return self._pool.submit(requests.post, yard.url + self._target, json={"queryData": query}, timeout=60)

    def wait_until_known(self, *gateways: Yard) -> None:
        for each in gateways:
            wait_until(partial(self._is_answered, each))

    def _is_answered(self, yard: Yard) -> bool:
        return self.ask(yard).result().ok


def test_a_call_that_waits_behind_another_gateways_is_not_timed(yard: Yard, other: Yard, workshop: Workshop) -> None:
    asking = Asking(workshop, workshop.deploy(workshop.make_version(SOURCE)))
    asking.wait_until_known(yard, other)
    first = asking.ask(other, sleep=LONG_S)
    time.sleep(0.2)
    rest = [asking.ask(gateway, sleep=LONG_S) for gateway in (other, other, yard)]
    answers = [each.result() for each in (first, *rest)]
    assert [each.status_code for each in answers] == [200] * 4, [each.text for each in answers]
    assert len({each.json()["result"] for each in answers}) == 1  # nobody replaced the replica


def test_a_call_past_its_limit_takes_no_other_gateways_along(yard: Yard, other: Yard, workshop: Workshop) -> None:
    asking = Asking(workshop, workshop.deploy(workshop.make_version(SOURCE)))
    asking.wait_until_known(yard, other)
    late = asking.ask(other, sleep=60)
    time.sleep(0.2)
    behind = [asking.ask(yard), asking.ask(other), asking.ask(yard)]
    assert late.result().status_code == 408
    assert [each.result().status_code for each in behind] == [200] * 3


def test_calls_that_wait_for_a_thread_are_not_timed(yard: Yard, workshop: Workshop) -> None:
    asking = Asking(workshop, workshop.deploy(workshop.make_version(SOURCE, thread_safe=True)))
    asking.wait_until_known(yard)
    answers = [each.result() for each in [asking.ask(yard, sleep=LONG_S) for _ in range(24)]]  # three for each thread
    assert [each.status_code for each in answers] == [200] * 24
    assert len({each.json()["result"] for each in answers}) == 1


def test_of_a_thread_safe_replica_that_ends_calls_that_had_not_begun_are_sent_again(
    yard: Yard, workshop: Workshop
) -> None:
    deployment_id = workshop.deploy(workshop.make_version(SOURCE, thread_safe=True))
    asking = Asking(workshop, deployment_id)
    asking.wait_until_known(yard)
    begun = [asking.ask(yard, sleep=LONG_S) for _ in range(7)]
    wait_until(lambda: yard.load_of(deployment_id) == 7)
    first = asking.ask(yard, exit_beside=8)
    waiting = [asking.ask(yard) for _ in range(16)]
    assert {each.result().status_code for each in (first, *begun)} == {500}
    assert "worked on 8 calls" in begun[0].result().json()["error"]
    assert [each.result().status_code for each in waiting] == [200] * 16


def test_a_replica_that_begins_no_call_is_replaced(yard: Yard, workshop: Workshop) -> None:
    deployment_id = workshop.deploy(workshop.make_version(SOURCE))
    asking = Asking(workshop, deployment_id)
    asking.wait_until_known(yard)
    with yard.database.read() as session:
        of_it = (Replica.deployment_id == DeploymentId(deployment_id), Replica.state == ReplicaState.READY)
        path = session.scalars(select(Replica.socket).where(*of_it)).one()
    before = asking.ask(yard).result().json()["result"]
    (pid,) = listeners(path)
    os.kill(pid, signal.SIGSTOP)
    answer = asking.ask(yard).result()
    assert answer.ok, answer.text
    assert answer.json()["result"] != before
