"""Canaries, shadows, promotion and going back, with real replicas and callers that never stop."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from modelyard.deployments.calls.frames import Answer, Status
from modelyard.deployments.rollouts.splitting import is_same
from modelyard.ids import ModelId
from modelyard.models.records import ModelVersion
from tests.deployments.conftest import Workshop
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

NAMED = "def train():\n    return 1\n\ndef predict(model, query):\n    return {'model': model, 'y': query['x'] * 2.0}\n"


class Callers:
    """Ask one deployment again and again: (moment, status, the model that answered)."""

    def __init__(self, yard: Yard, token: str, deployment_id: str, count: int = 3) -> None:
        self.answers: list[tuple[float, int, object]] = []
        self._url = f"{yard.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(count)]

    def _ask_on(self) -> None:
        with requests.Session() as session:
            while not self._done.is_set():
                began = time.monotonic()
                answer = session.post(self._url, json={"queryData": {"x": 2}}, timeout=60)
                result = answer.json().get("result") or {}
                self.answers.append((began, answer.status_code, result.get("model")))
                self._done.wait(0.005)

    def models_of_next(self, count: int) -> list[object]:
        """The models of the next so many answers."""
        at = len(self.answers)
        wait_until(lambda: len(self.answers) >= at + count, 60)
        return [model for _, _, model in self.answers[at : at + count]]

    @contextmanager
    def asking(self) -> Iterator["Callers"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._done.set()
            for thread in self._threads:
                thread.join()
        assert {status for _, status, _ in self.answers} == {200}


class Pair:
    """A deployment of one version of a model, and another version."""

    def __init__(self, yard: Yard, workshop: Workshop, second: object = 2) -> None:
        self.yard, self.workshop = yard, workshop
        self.model_id: ModelId = workshop.make_model()
        self.first = workshop.make_version(NAMED, model_id=self.model_id, artifact=1)
        self.second = workshop.make_version(NAMED, model_id=self.model_id, artifact=second)
        self.id, self.token = workshop.deploy(self.first), workshop.token()

    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.yard.call("describeDeploymentRollout", "GET", deploymentId=self.id)
        return found

    def set(self, role: str, percent: float, version: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.yard.call(
            f"setDeployment{role}", "PATCH", deploymentId=self.id, modelVersion=version or self.second, percent=percent
        )
        return found

    def wait_ready(self, role: str) -> None:
        wait_until(lambda: (self.rollout()[role] or {}).get("state") == "READY", 60)

    def callers(self) -> Callers:
        return Callers(self.yard, self.token, self.id)

    def note(self, name: str) -> list[str]:
        with self.yard.database.read() as session:
            return list(getattr(session.get_one(ModelVersion, self.second), name))


@pytest.fixture(scope="module")
def shared_yard(shared_yard_of_each: Yard) -> Yard:
    """A house on each kind of database."""
    return shared_yard_of_each


@pytest.fixture
def pair(shared_yard: Yard, workshop: Workshop) -> Pair:
    return Pair(shared_yard, workshop)


@pytest.mark.sandbox
def test_a_canary_gets_its_part_then_all_and_the_way_back_is_instant(pair: Pair) -> None:
    pair.yard.call("setDeploymentOptions", "PATCH", deploymentId=pair.id, options={"keepFormerS": 60})
    with pair.callers().asking() as callers:
        assert pair.set("Canary", 50)["canary"]["state"] == "STARTING"
        assert pair.note("pending_deployment_ids") == [pair.id]
        pair.wait_ready("canary")
        assert pair.note("pending_deployment_ids") == []
        wait_until(lambda: 2 in callers.models_of_next(20), 60)
        models = callers.models_of_next(300)
        assert 90 < models.count(2) < 210
        pair.set("Canary", 100)
        wait_until(lambda: set(callers.models_of_next(20)) == {2}, 60)
        promoted = pair.yard.call("promoteDeployment", deploymentId=pair.id)
        assert (promoted["version"], promoted["canary"], promoted["former"]["version"]) == (
            pair.second,
            None,
            pair.first,
        )
        described = pair.yard.call("describeDeployment", "GET", deploymentId=pair.id)
        assert (described["modelVersion"], described["pendingModelVersion"]) == (pair.second, None)
        assert set(callers.models_of_next(50)) == {2}
        back = pair.yard.call("rollbackDeployment", deploymentId=pair.id)
        assert (back["version"], back["pendingVersion"], back["former"]["version"]) == (pair.first, None, pair.second)
        wait_until(lambda: set(callers.models_of_next(20)) == {1}, 5)
        forth = pair.yard.call("rollbackDeployment", deploymentId=pair.id)
        assert (forth["version"], forth["former"]["state"]) == (pair.second, "READY")
        wait_until(lambda: set(callers.models_of_next(20)) == {2}, 5)


@pytest.mark.sandbox
def test_counts_of_a_canary_stand_beside_those_of_the_version_that_answers(pair: Pair) -> None:
    pair.set("Canary", 50)
    with pair.callers().asking() as callers:
        pair.wait_ready("canary")
        wait_until(lambda: 2 in callers.models_of_next(20), 60)
        wait_until(lambda: pair.rollout()["canary"]["answered"]["calls"] > 20, 60)
    canary = pair.rollout()["canary"]
    assert canary["beside"]["calls"] > 0
    assert (canary["answered"]["failures"], canary["beside"]["failures"]) == (0, 0)
    assert 0 < canary["answered"]["meanMs"] < 10_000


@pytest.mark.sandbox
@pytest.mark.parametrize(("second", "counted"), [(2, "different"), (1, "same")])
def test_a_shadow_gets_copies_and_its_answers_are_compared(
    shared_yard: Yard, workshop: Workshop, second: int, counted: str
) -> None:
    pair = Pair(shared_yard, workshop, second)
    pair.set("Shadow", 100)
    pair.wait_ready("shadow")
    with pair.callers().asking() as callers:
        wait_until(lambda: pair.rollout()["shadow"][counted] > 20, 60)
        assert set(callers.models_of_next(20)) == {1}
    shadow = pair.rollout()["shadow"]
    assert shadow[{"same": "different", "different": "same"}[counted]] == 0
    shared_yard.call("removeDeploymentShadow", "DELETE", deploymentId=pair.id)
    assert pair.rollout()["shadow"] is None


@pytest.mark.sandbox
def test_a_shadow_that_becomes_the_canary_is_not_brought_up_again(pair: Pair) -> None:
    pair.set("Shadow", 10)
    pair.wait_ready("shadow")
    found = pair.set("Canary", 10)
    assert (found["canary"]["state"], found["shadow"]) == ("READY", None)
    assert pair.yard.call("promoteDeployment", deploymentId=pair.id)["version"] == pair.second


@pytest.mark.sandbox
def test_a_canary_that_does_not_come_up_takes_no_call_and_says_why(shared_yard: Yard, workshop: Workshop) -> None:
    pair = Pair(shared_yard, workshop)
    broken = workshop.make_version(
        NAMED + "\ndef initialize(model):\n    raise ValueError('no')\n",
        model_id=pair.model_id,
        initialize=True,
    )
    with pair.callers().asking() as callers:
        pair.set("Canary", 100, broken)
        wait_until(lambda: pair.rollout()["canary"]["state"] == "FAILED", 60)
        assert set(callers.models_of_next(30)) == {1}
    assert "ValueError: no" in pair.rollout()["canary"]["error"]
    with pair.yard.database.read() as session:
        assert session.get_one(ModelVersion, broken).failed_deployment_ids == [pair.id]
    with pytest.raises(CallFailed, match="could not be brought up"):
        shared_yard.call("promoteDeployment", deploymentId=pair.id)
    pair.set("Canary", 100)
    pair.wait_ready("canary")


@pytest.mark.sandbox
def test_a_canary_is_promoted_before_it_is_up_and_takes_over_when_it_is(pair: Pair) -> None:
    with pair.callers().asking() as callers:
        pair.set("Canary", 10)
        promoted = pair.yard.call("promoteDeployment", deploymentId=pair.id)
        if promoted["version"] == pair.first:  # it was not up yet
            assert promoted["pendingVersion"] == pair.second
        found = pair.workshop.wait(pair.id, lambda found: found["pendingModelVersion"] is None)
        assert found["modelVersion"] == pair.second
        wait_until(lambda: set(callers.models_of_next(20)) == {2}, 10)


@pytest.mark.sandbox
def test_a_former_version_that_has_gone_cold_is_brought_up_again(pair: Pair) -> None:
    with pytest.raises(CallFailed, match="has had no other version"):
        pair.yard.call("rollbackDeployment", deploymentId=pair.id)
    pair.yard.call("setDeploymentModelVersion", "PATCH", deploymentId=pair.id, modelVersion=pair.second)
    pair.workshop.wait(pair.id, lambda found: found["pendingModelVersion"] is None)
    wait_until(lambda: pair.rollout()["former"]["state"] == "RESTING")
    with pair.callers().asking() as callers:
        back = pair.yard.call("rollbackDeployment", deploymentId=pair.id)
        assert back["pendingVersion"] == pair.first
        pair.workshop.wait(pair.id, lambda found: found["pendingModelVersion"] is None)
        wait_until(lambda: set(callers.models_of_next(20)) == {1}, 10)


@pytest.mark.sandbox
def test_versions_beside_the_one_that_answers_can_not_be_deleted(pair: Pair) -> None:
    pair.set("Shadow", 10)
    with pytest.raises(CallFailed, match="deployment Strength Deployment"):
        pair.yard.call("deleteModelVersion", "DELETE", modelVersion=pair.second)
    pair.yard.call("stopDeployment", deploymentId=pair.id)
    assert pair.rollout()["shadow"] is None
    pair.yard.call("deleteModelVersion", "DELETE", modelVersion=pair.second)


@pytest.mark.sandbox
def test_what_can_not_stand_beside_is_refused(shared_yard: Yard, workshop: Workshop, pair: Pair) -> None:
    for percent in (0, -1, 100.5):
        with pytest.raises(CallFailed, match="it must be more than 0 and at most 100"):
            pair.set("Canary", percent)
    with pytest.raises(CallFailed, match="answers already"):
        pair.set("Canary", 10, pair.first)
    with pytest.raises(CallFailed, match="belongs to model"):
        pair.set("Shadow", 10, workshop.make_version())
    with pytest.raises(CallFailed, match="has no canary"):
        shared_yard.call("promoteDeployment", deploymentId=pair.id)
    shared_yard.call("stopDeployment", deploymentId=pair.id)
    with pytest.raises(CallFailed, match="it must be ACTIVE"):
        pair.set("Canary", 10)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (b'{"a": 1, "b": [1.0, "x"]}', b'{"b":[1,"x"],"a":1.0}', True),
        (b"0.1", b"0.1000000000000001", True),
        (b"0.1", b"0.1001", False),
        (b"true", b"1", False),
        (b"[1,2]", b"[1]", False),
        (b"null", b"{", False),
    ],
)
def test_answers_are_the_same_if_they_mean_the_same(ours: bytes, theirs: bytes, same: bool) -> None:
    assert is_same(Answer(Status.OK, ours), Answer(Status.OK, theirs)) is same
    assert not is_same(Answer(Status.OK, ours), Answer(Status.USER_ERROR, theirs))
