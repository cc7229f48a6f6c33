"""callsPerSecond of deployments and tokens: each with its own error, shared by all gateways."""

import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import requests

from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.deployments.calls.rates import Bucket, Presence, Rates
from modelyard.deployments.records import GatewayHome
from tests.deployments.conftest import Workshop
from tests.yard import CallFailed, Yard

#: So few a second that none comes back while a test goes on.
FEW = 3


def take_all(bucket: Bucket, tries: int = 50) -> int:
    return sum(bucket.take() for _ in range(tries))


def test_a_bucket_starts_full_and_fills_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bucket = Rates(tmp_path).bucket("d", 10)
    assert take_all(bucket) == 10
    assert bucket.retry_after_s() == 1
    now += 0.35
    assert take_all(bucket) == 3
    now += 60
    assert take_all(bucket) == 10


def test_gateways_of_one_home_take_from_the_same_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    gateways = [Rates(tmp_path).bucket("d", 10) for _ in range(3)]  # each has mapped the file for itself
    assert [bucket.take() for bucket in gateways] == [True, True, True]
    assert [take_all(bucket) for bucket in gateways] == [7, 0, 0]
    assert take_all(Rates(tmp_path).bucket("another", 10)) == 10


def test_a_bucket_survives_a_clock_that_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1e6)
    assert Rates(tmp_path).bucket("d", 10).take()
    now = 5.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bucket = Rates(tmp_path).bucket("d", 10)
    assert take_all(bucket) == 9
    now += 1
    assert take_all(bucket) == 10


def test_homes_that_share_a_database_share_the_limits(database: Database, tmp_path: Path) -> None:
    houses = [Rates(tmp_path / name) for name in "ab"]
    presences = [Presence(each, tmp_path / name) for each, name in zip(houses, "ab", strict=True)]
    with database.write() as session:
        session.add(GatewayHome(home="long gone", seen_at=utc_now() - timedelta(minutes=5)))
        assert presences[0].is_due
        for presence in presences:
            presence.sign(session)
        presences[0].sign(session)
    assert [each.homes for each in houses] == [2, 2]
    assert not presences[0].is_due
    buckets = [each.bucket("d", 10) for each in houses]
    assert [take_all(bucket) for bucket in buckets] == [5, 5]
    assert Rates(tmp_path / "c").bucket("d", 1).retry_after_s() == 1
    slow = houses[0].bucket("slow", 1)
    slow.take()
    assert slow.retry_after_s() == 2


@pytest.mark.sandbox
def test_a_deployment_and_a_token_each_say_which_limit_it_was(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id = workshop.deploy(workshop.make_version(), callsPerSecond=FEW)
    free, limited = workshop.token(), workshop.token()
    shown = shared_yard.call("setDeploymentTokenLimit", "PATCH", deploymentToken=limited, callsPerSecond=1)
    assert shown["callsPerSecond"] == 1

    def ask(token: str) -> requests.Response:
        target = {"deploymentToken": token, "deploymentId": deployment_id}
        return requests.post(f"{shared_yard.url}/api/v0/predict", params=target, json={"queryData": {}}, timeout=20)

    answers = [ask(limited) for _ in range(3)]
    refused = [each for each in answers if not each.ok]
    assert answers[0].ok
    assert refused
    for each in refused:
        assert (each.status_code, each.json()["errorType"]) == (429, "TooManyRequestsError")
        assert (
            "More than 1 calls a second by this deployment token; see setDeploymentTokenLimit" in each.json()["error"]
        )
        assert int(each.headers["retry-after"]) == 1
    refused = [each for each in (ask(free) for _ in range(3 * FEW)) if not each.ok]
    assert refused
    assert f"More than {FEW} calls a second to this deployment; see callsPerSecond" in refused[0].json()["error"]
    assert int(refused[0].headers["retry-after"]) == 1
    shared_yard.call("setDeploymentTokenLimit", "PATCH", deploymentToken=limited)
    listed = shared_yard.call("listDeploymentTokens", "GET", projectId=workshop.project_id)
    assert {each["deploymentToken"]: each["callsPerSecond"] for each in listed}[limited] is None


@pytest.mark.sandbox
def test_two_gateways_of_a_home_let_no_more_through_than_one(yard: Yard, own_workshop: Workshop) -> None:
    deployment_id = own_workshop.deploy(own_workshop.make_version(), callsPerSecond=FEW)
    token = own_workshop.token()
    with Yard(msgspec.structs.replace(yard.settings, port=0), with_agent=False) as other:
        url = f"/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
        began = time.monotonic()
        statuses = [
            requests.post(each.url + url, json={"queryData": {}}, timeout=20).status_code
            for _ in range(3 * FEW)
            for each in (yard, other)
        ]
        took_s = time.monotonic() - began
    assert statuses.count(200) <= FEW * (1 + took_s) + 1
    assert statuses.count(200) + statuses.count(429) == len(statuses)
    assert statuses.count(429) > 0


@pytest.mark.parametrize("rate", [0, -1, 1_000_001])
def test_a_limit_that_cant_be_is_refused(shared_yard: Yard, workshop: Workshop, rate: int) -> None:
    token = workshop.token()
    with pytest.raises(CallFailed, match="it must be between 1 and 1,000,000") as failed:
        shared_yard.call("setDeploymentTokenLimit", "PATCH", deploymentToken=token, callsPerSecond=rate)
    assert failed.value.error_type == "InvalidParameterError"
