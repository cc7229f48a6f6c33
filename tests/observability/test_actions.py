"""Logs and statistics as the official client reads them, of calls through the real lane."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from modelyard.database import Database
from modelyard.deployments.records import Deployment
from modelyard.observability.expiring import expire
from modelyard.observability.records import DeploymentStatistic, PredictionLog
from modelyard.settings import Settings
from tests.deployments.conftest import Workshop
from tests.yard import CallFailed, Yard

SOURCE = """
def train():
    return None

def predict(model, query, **kwargs):
    if query.get("raise"):
        raise ValueError("no such concrete" + "!" * query.get("more", 0))
    return {"answer": query["x"] * 2}
"""


class Target:
    """A deployment and how it is asked."""

    def __init__(self, workshop: Workshop, **parameters: object) -> None:
        self.yard, self.token = workshop.yard, workshop.token()
        self.deployment_id = workshop.deploy(workshop.make_version(SOURCE), **parameters)

    def ask(self, query: object, **more: object) -> requests.Response:
        target = {"deploymentToken": self.token, "deploymentId": self.deployment_id}
        return requests.post(
            f"{self.yard.url}/api/v0/predict", params=target, json={"queryData": query, **more}, timeout=60
        )

    def logs(self, count: int, **parameters: object) -> list[Any]:
        """The log's records as soon as there are so many."""
        found: list[Any] = wait_for(
            lambda: self.yard.client().get_prediction_logs_records(self.deployment_id, limit=100, **parameters),
            lambda found: len(found) >= count,
        )
        return found


def wait_for(look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 20
    while not done(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.fixture
def target(workshop: Workshop) -> Target:
    return Target(workshop)


@pytest.mark.sandbox
def test_the_official_client_reads_what_was_asked_and_answered(target: Target) -> None:
    answer = target.ask({"x": 21}, unit="MPa")
    failed = target.ask({"raise": True})
    newest, oldest = target.logs(2)
    assert oldest.request_id == answer.json()["requestId"]
    assert oldest.query == {"queryData": {"x": 21}, "unit": "MPa"}
    assert oldest.response == {"result": {"answer": 42}}
    assert 0 < oldest.query_time_ms < 10_000
    assert abs(int(oldest.timestamp_ms) / 1000 - time.time()) < 60
    assert newest.request_id == failed.json()["requestId"]
    assert "no such concrete" in newest.response["error"]
    assert newest.response["errorType"] == "InvalidRequest"
    before = target.yard.client().get_prediction_logs_records(
        target.deployment_id, last_log_request_id=newest.request_id, last_log_timestamp=int(newest.timestamp_ms)
    )
    assert [each.request_id for each in before] == [oldest.request_id]


@pytest.mark.sandbox
def test_long_bodies_are_cut_and_say_so(target: Target) -> None:
    target.ask({"x": "y" * 10_000})
    (record,) = target.logs(1)
    target.ask({"raise": True, "more": 10_000})
    failed, _ = target.logs(2)
    assert failed.response["isCut"] is True
    assert failed.response["bytes"] > 10_000
    assert record.query["isCut"] is True
    assert record.query["bytes"] > 10_000
    assert record.query["start"].startswith('{"queryData"')
    assert record.response["isCut"] is True
    assert len(record.response["start"]) == target.yard.settings.prediction_log_bytes


@pytest.mark.sandbox
def test_a_deployment_may_keep_no_bodies_or_no_log(target: Target) -> None:
    target.yard.call("setDeploymentOptions", "PATCH", deploymentId=target.deployment_id, options={"logBodies": False})
    wait_for(lambda: target.ask({"x": 1}) and target.logs(0), lambda found: found and found[0].query is None)
    target.yard.call("setDeploymentOptions", "PATCH", deploymentId=target.deployment_id, options={"logShare": 0})
    record = target.yard.call("getPredictionLogsRecords", "GET", deploymentId=target.deployment_id)[0]
    assert (record["query"], record["response"], record["httpStatus"], record["action"]) == (None, None, 200, "predict")
    assert record["queryBytes"] > 0


@pytest.mark.sandbox
def test_statistics_count_calls_errors_and_times(target: Target) -> None:
    start = datetime.now(UTC)
    for query in ({"x": 1}, {"x": 2}, {"raise": True}):
        target.ask(query)
    window = (start.isoformat(), (start + timedelta(minutes=10)).isoformat())
    found = wait_for(
        lambda: target.yard.client().get_deployment_statistics_over_time(target.deployment_id, *window),
        lambda found: sum(map(sum, (each.values() for each in found.http_status_series))) >= 3,
    )
    assert {status for point in found.http_status_series for status in point} == {"200", "500"}
    assert len(found.request_series) == len(found.latency_series) == len(found.date_labels) == 11
    assert sum(found.request_series) == pytest.approx(3 / 60, abs=1e-5)
    assert datetime.fromisoformat(found.date_labels[0]) == start.replace(second=0, microsecond=0)
    raw = target.yard.call(
        "getDeploymentStatisticsOverTime", "GET", deploymentId=target.deployment_id, startDate=window[0],
        endDate=window[1],
    )  # fmt: skip
    assert (sum(raw["callSeries"]), sum(raw["errorSeries"]), raw["secondsAPoint"]) == (3, 1, 60)
    middle, most = (max(each or 0 for each in raw[name]) for name in ("latencySeries", "latencyP99Series"))
    assert 0 < middle <= most


@pytest.mark.sandbox
def test_a_body_and_an_answer_past_the_deployments_own_limits_each_have_their_error(target: Target) -> None:
    limits = {"bodyLimit": 200, "answerLimit": 50}
    target.yard.call("setDeploymentOptions", "PATCH", deploymentId=target.deployment_id, options=limits)
    refused = wait_for(lambda: target.ask({"x": 1, "more": "y" * 200}), lambda answer: not answer.ok)
    assert (refused.status_code, refused.json()["errorType"]) == (413, "InvalidRequest")
    assert "at most 200 are allowed here (option bodyLimit)" in refused.json()["error"]
    too_much = target.ask({"x": "y" * 40})
    assert too_much.status_code == 500
    assert "at most 50 are allowed here (option answerLimit)" in too_much.json()["error"]
    assert target.ask({"x": 1}).json()["result"] == {"answer": 2}


@pytest.mark.sandbox
def test_what_was_observed_goes_with_its_deployment(target: Target) -> None:
    target.ask({"x": 1})
    target.logs(1)
    target.yard.call("deleteDeployment", "DELETE", deploymentId=target.deployment_id)
    with target.yard.database.read() as session:
        assert session.query(PredictionLog).filter_by(deployment_id=target.deployment_id).count() == 0


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("yesterday", "2026-03-02", "startDate is 'yesterday'; it must be a moment in ISO form"),
        ("2026-03-02", "2026-03-01", "endDate is 2026-03-01, which is not after startDate"),
        ("2026-03-01", "2026-03-09", "more than 7 days"),
        ("2026-03-01", "9" * 30, "endDate is"),
    ],
)
def test_a_time_that_cant_be_asked_for_is_refused(idle: tuple[Yard, str], start: str, end: str, words: str) -> None:
    yard, deployment_id = idle
    with pytest.raises(CallFailed) as failed:
        yard.call("getDeploymentStatisticsOverTime", "GET", deploymentId=deployment_id, startDate=start, endDate=end)
    assert (failed.value.status, failed.value.error_type) == (400, "InvalidParameterError")
    assert words in failed.value.error


def test_a_limit_that_cant_be_and_a_request_that_is_not_there_are_refused(idle: tuple[Yard, str]) -> None:
    yard, deployment_id = idle
    with pytest.raises(CallFailed, match="limit is 0; it must be between 1 and 1,000"):
        yard.call("getPredictionLogsRecords", "GET", deploymentId=deployment_id, limit=0)
    with pytest.raises(CallFailed, match="has no request 'gone'") as failed:
        yard.call("getPredictionLogsRecords", "GET", deploymentId=deployment_id, lastLogRequestId="gone")
    assert failed.value.error_type == "DataNotFoundError"


@pytest.fixture(scope="module")
def idle(shared_yard: Yard, workshop: Workshop) -> tuple[Yard, str]:
    """A deployment that was never started."""
    version = workshop.make_version(SOURCE)
    return shared_yard, shared_yard.call("createDeployment", modelVersion=version, start=False)["deploymentId"]


def test_old_rows_go_and_so_do_those_past_the_number(database: Database, settings: Settings) -> None:
    now = datetime(2026, 3, 31, tzinfo=UTC)
    settings = Settings.load({}, home=settings.home, prediction_log_rows=3, prediction_log_days=7, statistics_days=30)
    with database.write() as session:
        session.add_all([_deployment("busy"), _deployment("short", {"logDays": 1})])
        for name, days in [(each, days) for each in ("busy", "short", "gone") for days in (0, 2, 3, 4, 40)]:
            moment = now - timedelta(days=days)
            session.add(_logged(name, int(moment.timestamp() * 1000)))
            session.add(
                DeploymentStatistic(
                    deployment_id=name, minute=moment, gateway_id="g", statuses={}, latencies={}, seconds=0.0
                )
            )
    expire(database, settings, now)
    with database.read() as session:
        logs = [(each.deployment_id, each.timestamp_ms) for each in session.query(PredictionLog)]
        minutes = [each.deployment_id for each in session.query(DeploymentStatistic)]
    assert sorted(name for name, _ in logs) == ["busy"] * 3 + ["short"]
    assert sorted(minutes) == ["busy"] * 4 + ["short"] * 4


def _deployment(name: str, options: dict[str, Any] | None = None) -> Deployment:
    return Deployment(
        deployment_id=name, organization_id="o", project_id="p", model_id="m", name=name, status="STOPPED",
        created_at=datetime.now(UTC), auto_deploy=False, skip_metrics_check=False, options=options,
    )  # fmt: skip


def _logged(name: str, timestamp_ms: int) -> PredictionLog:
    return PredictionLog(
        deployment_id=name, timestamp_ms=timestamp_ms, request_id="r", action="predict", status=200, took_us=1,
        query_size=2, query=json.dumps({}).encode(), response_size=1, response=b"1",
    )  # fmt: skip
