"""Single predictions that go to `predict_many` together: in order, within the budget, and a bad one fails alone."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import requests

from modelyard.deployments.calls.batching import FIRST_SIZE, BatchSize
from modelyard.deployments.calls.frames import Answer, pack_batch, unpack_batch
from modelyard.settings import Settings
from tests.deployments.conftest import Workshop, open_workshop
from tests.waiting import wait_until
from tests.yard import Yard

SOURCE = """
import os, time
batches = []

def train():
    return None

def predict(model, query, scale=1):
    if query.get("bad"):
        raise ValueError("this one is bad")
    if query.get("exit"):
        os._exit(3)
    if query.get("hang"):
        time.sleep(60)
    if query.get("sleep"):
        time.sleep(query["sleep"])
    if query.get("batches"):
        return batches
    return {"y": query["x"] * scale, "alone": True}

def predict_many(model, queries: list, scale=1):
    if any(query.get("bad") for query in queries):
        raise ValueError("one of them is bad")
    if any(query.get("exit") for query in queries):
        os._exit(3)
    if any(query.get("hang") for query in queries):
        time.sleep(60)
    if any(query.get("sleep") or query.get("batches") for query in queries):
        raise ValueError("not together")
    batches.append(len(queries))
    return [{"y": query["x"] * scale, "alone": False} for query in queries]
"""


class Asked:
    """A deployment with batches, and callers of it."""

    def __init__(self, yard: Yard, workshop: Workshop, source: str = SOURCE, **options: object) -> None:
        self.yard = yard
        self.id = workshop.deploy(workshop.make_version(source, predict_many="def predict_many" in source))
        self._url = f"{yard.url}/api/v0/predict?deploymentToken={workshop.token()}&deploymentId={self.id}"
        self.set({"maxBatchSize": 64, "latencyBudgetMs": 1000} | options)
        self.settle()

    def set(self, options: dict[str, object]) -> None:
        self.yard.call("setDeploymentOptions", "PATCH", deploymentId=self.id, options=options)

    def settle(self) -> None:
        assert self.ask({"x": 1}).status_code == 200

    def ask(self, query: dict[str, object], **arguments: object) -> requests.Response:
        return requests.post(self._url, json={"queryData": query, **arguments}, timeout=60)

    def behind_a_slow_one(self, calls: list[tuple[dict[str, object], dict[str, object]]]) -> list[requests.Response]:
        """The answers to calls that all come while the replica is busy, in their order."""
        with ThreadPoolExecutor(len(calls) + 1) as pool:
            slow = pool.submit(self.ask, {"sleep": 1.0, "x": 0})
            wait_until(lambda: self.under_way() == 1)
            answers = list(pool.map(lambda call: self.ask(call[0], **call[1]), calls))
            assert slow.result().status_code == 200
        return answers

    def under_way(self) -> int:
        return self.yard.load_of(self.id)

    def batches(self) -> list[int]:
        found: list[int] = self.ask({"batches": True, "x": 0}).json()["result"]
        return found


@pytest.fixture(scope="module")
def asked(shared_yard: Yard, workshop: Workshop) -> Asked:
    return Asked(shared_yard, workshop)


@pytest.mark.sandbox
def test_calls_that_wait_together_are_one_call_answered_each_to_its_caller(asked: Asked) -> None:
    before = sum(asked.batches())
    answers = asked.behind_a_slow_one([({"x": x}, {}) for x in range(30)])
    assert [answer.json()["result"]["y"] for answer in answers] == list(range(30))
    together = [answer for answer in answers if not answer.json()["result"]["alone"]]
    assert len(together) >= 20
    assert sum(asked.batches()) - before == len(together)
    assert max(asked.batches()) >= FIRST_SIZE


@pytest.mark.sandbox
def test_one_bad_query_fails_alone(asked: Asked) -> None:
    calls: list[tuple[dict[str, object], dict[str, object]]] = [({"x": x, "bad": x == 3}, {}) for x in range(6)]
    answers = asked.behind_a_slow_one(calls)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 500, 200, 200]
    assert "this one is bad" in answers[3].json()["error"]
    assert [answer.json()["result"]["y"] for answer in answers if answer.status_code == 200] == [0, 1, 2, 4, 5]


@pytest.mark.sandbox
def test_a_query_that_ends_the_process_ends_no_other_call(asked: Asked) -> None:
    calls: list[tuple[dict[str, object], dict[str, object]]] = [({"x": x, "exit": x == 2}, {}) for x in range(6)]
    answers = asked.behind_a_slow_one(calls)
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200, 200, 200]
    assert "process ended" in answers[2].json()["error"]


@pytest.mark.sandbox
def test_a_query_past_the_time_limit_takes_no_other_call_along(settings: Settings, base_lock: str) -> None:
    with Yard(msgspec.structs.replace(settings, prediction_timeout_s=3.0)) as yard:
        asked = Asked(yard, open_workshop(yard, base_lock))
        calls: list[tuple[dict[str, object], dict[str, object]]] = [({"x": x, "hang": x == 2}, {}) for x in range(6)]
        answers = asked.behind_a_slow_one(calls)
        assert [answer.status_code for answer in answers] == [200, 200, 408, 200, 200, 200]
        assert [answer.json()["result"]["y"] for at, answer in enumerate(answers) if at != 2] == [0, 1, 3, 4, 5]
        assert "took longer than 3 seconds" in answers[2].json()["error"]


@pytest.mark.sandbox
def test_calls_with_other_arguments_are_not_mixed(asked: Asked) -> None:
    answers = asked.behind_a_slow_one([({"x": x}, {"scale": 1 + x % 2}) for x in range(8)])
    assert [answer.json()["result"]["y"] for answer in answers] == [0, 2, 2, 6, 4, 10, 6, 14]


@pytest.mark.sandbox
def test_what_is_no_query_is_refused_alone(asked: Asked) -> None:
    answers = asked.behind_a_slow_one([({"x": 1}, {}), ({}, {}), ({"x": 2}, {})])
    assert [answer.status_code for answer in answers] == [200, 500, 200]


@pytest.mark.sandbox
def test_batches_can_be_turned_off_while_calls_wait(shared_yard: Yard, workshop: Workshop) -> None:
    asked = Asked(shared_yard, workshop)
    with ThreadPoolExecutor(12) as pool:
        slow = pool.submit(asked.ask, {"sleep": 1.0, "x": 0})
        wait_until(lambda: asked.under_way() == 1)
        waiting = [pool.submit(asked.ask, {"x": x}) for x in range(8)]
        wait_until(lambda: asked.under_way() == 9)
        asked.set({"maxBatchSize": None})
        assert [each.result().json()["result"] for each in waiting] == [{"y": x, "alone": True} for x in range(8)]
        assert slow.result().status_code == 200


@pytest.mark.sandbox
def test_a_model_without_predict_many_answers_all_the_same(shared_yard: Yard, workshop: Workshop) -> None:
    asked = Asked(shared_yard, workshop, SOURCE.partition("def predict_many")[0])
    answers = asked.behind_a_slow_one([({"x": x}, {}) for x in range(10)])
    assert [answer.json()["result"]["y"] for answer in answers] == list(range(10))


def test_batches_grow_while_they_are_quick_and_shrink_when_they_are_not() -> None:
    size = BatchSize(200, 0.05)

    def serve(each_s: float, rounds: int) -> int:
        for _ in range(rounds):
            size.note(size.size, 0.002 + each_s * size.size)
        return size.size

    assert serve(0.00001, 50) == 200
    assert 30 <= serve(0.001, 50) <= 50
    assert serve(1.0, 20) == 1
    assert serve(0.00001, 50) == 200


def test_small_batches_say_nothing_about_larger_ones() -> None:
    size = BatchSize(200, 0.05)
    for _ in range(100):
        size.note(1, 0.001)
        size.note(1, 1.0)
    assert size.size == FIRST_SIZE


@pytest.mark.parametrize("cut", [1, 4, 6, 12])
def test_answers_that_are_cut_off_are_noticed(cut: int) -> None:
    whole = b"\x00\x00\x00\x03\x00abc\x00\x00\x00\x01\x01x"
    assert unpack_batch(whole) == [Answer(0, b"abc"), Answer(1, b"x")]
    with pytest.raises(ValueError, match="ends"):
        unpack_batch(whole[:cut])
    assert pack_batch([b"a", b""]) == b"\x00\x00\x00\x01a\x00\x00\x00\x00"
