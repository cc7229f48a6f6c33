"""Refresh policies by the official client, fired by the real scheduler: tables, models and deployments made anew."""

import time
from datetime import timedelta
from typing import Any

import abacusai
import pytest
from sqlalchemy import func, select

from modelyard.clock import utc_now
from modelyard.ids import RefreshPolicyId
from modelyard.models.records import ModelVersion
from modelyard.refresh.records import RefreshPipelineRun, RefreshPolicy
from tests.journeys.models import SOURCE, concrete
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

#: Once a year, so that nothing fires but what the tests make due.
YEARLY = "0 0 1 1 *"
FAILS_LATER = """
import os

def train(table):
    if len(table) > 400:
        raise ValueError("too many rows: " + str(len(table)))
    return len(table)

def predict(model, query):
    return model
"""


@pytest.fixture
def project_id(client: abacusai.ApiClient) -> str:
    """A project beside a table `concrete`."""
    client.create_feature_group_from_pandas_df("concrete", concrete()).wait_for_upload()
    return str(client.create_project("Refreshed", "PYTHON_MODEL").project_id)


def train(client: abacusai.ApiClient, project_id: str, source: str, *tables: str) -> abacusai.Model:
    """A trained model."""
    model = client.create_model_from_python(project_id, source, "train", list(tables), "predict")
    model.wait_for_training()
    assert model.latest_model_version.refresh().status == "COMPLETE"
    return model


def make_due(yard: Yard, policy: abacusai.RefreshPolicy) -> None:
    """Sets the policy's next moment into the past, as time would."""
    with yard.database.write() as session:
        record = session.get_one(RefreshPolicy, RefreshPolicyId(policy.refresh_policy_id))
        record.next_run_at = utc_now() - timedelta(seconds=1)


def wait_for_run(
    client: abacusai.ApiClient, policy: abacusai.RefreshPolicy, count: int = 1
) -> abacusai.RefreshPipelineRun:
    """The newest refresh of the policy, ended, once there are so many."""
    deadline = time.monotonic() + 90
    while True:
        runs = client.list_refresh_pipeline_runs(policy.refresh_policy_id)
        if len(runs) >= count and all(run.status in ("COMPLETE", "FAILED") for run in runs):
            assert len(runs) == count
            return max(runs, key=lambda run: run.created_at)
        assert time.monotonic() < deadline, runs
        time.sleep(0.1)


def count_versions(yard: Yard, model: abacusai.Model) -> int:
    with yard.database.read() as session:
        query = select(func.count()).where(ModelVersion.model_id == model.model_id)
        return session.scalar(query) or 0


def schedules(thing: Any) -> list[tuple[str, str, str | None]]:
    return [(each.refresh_policy_id, each.cron, each.error) for each in thing.refresh_schedules]


def test_a_model_is_trained_once_when_its_policy_is_due(
    yard: Yard, client: abacusai.ApiClient, project_id: str
) -> None:
    model = train(client, project_id, SOURCE, "concrete")
    first = client.describe_model(model.model_id).latest_model_version.model_version
    policy = client.create_refresh_policy("nightly", YEARLY, "MODEL", model_ids=[model.model_id])
    shown = client.describe_model(model.model_id)
    assert schedules(shown) == [(policy.refresh_policy_id, YEARLY, None)]
    assert shown.refresh_schedules[0].next_run_time == policy.next_run_time
    make_due(yard, policy)
    run = wait_for_run(client, policy)
    newest = client.describe_model(model.model_id).latest_model_version
    assert (run.status, run.model_versions) == ("COMPLETE", [newest.model_version])
    assert newest.model_version != first
    assert newest.status == "COMPLETE"
    time.sleep(2.5)  # the scheduler looks every second: it does not fire the same moment again
    assert count_versions(yard, model) == 2
    assert client.describe_refresh_policy(policy.refresh_policy_id).next_run_time == policy.next_run_time


def test_a_paused_policy_does_not_fire_until_it_is_resumed(
    yard: Yard, client: abacusai.ApiClient, project_id: str
) -> None:
    model = train(client, project_id, SOURCE, "concrete")
    policy = client.create_refresh_policy("nightly", YEARLY, "MODEL", model_ids=[model.model_id])
    client.pause_refresh_policy(policy.refresh_policy_id)
    assert client.describe_refresh_policy(policy.refresh_policy_id).paused
    assert client.describe_model(model.model_id).refresh_schedules[0].next_run_time is None
    make_due(yard, policy)
    time.sleep(2.5)
    assert client.list_refresh_pipeline_runs(policy.refresh_policy_id) == []
    assert count_versions(yard, model) == 1
    client.resume_refresh_policy(policy.refresh_policy_id)
    make_due(yard, policy)
    assert wait_for_run(client, policy).status == "COMPLETE"
    assert count_versions(yard, model) == 2


def test_a_failing_training_fails_the_refresh_with_its_reason(
    yard: Yard, client: abacusai.ApiClient, project_id: str
) -> None:
    # The table grows, as tables do; the training that the policy begins reads the newest rows.
    model = train(client, project_id, FAILS_LATER, "concrete")
    client.create_dataset_version_from_pandas("concrete", concrete(500)).wait_for_import()
    policy = client.create_refresh_policy("nightly", YEARLY, "MODEL", model_ids=[model.model_id])
    make_due(yard, policy)
    run = wait_for_run(client, policy)
    # The client's own class has no room for the reason; the answer and the model's schedule have it.
    told = yard.call("describeRefreshPipelineRun", "GET", refreshPipelineRunId=run.refresh_pipeline_run_id)
    assert (run.status, told["status"]) == ("FAILED", "FAILED")
    assert "too many rows: 500" in told["error"]
    newest = client.describe_model(model.model_id).latest_model_version
    assert newest.status == "FAILED"
    assert run.model_versions == [newest.model_version]
    [(_, _, error)] = schedules(client.describe_model(model.model_id))
    assert error == told["error"]


def test_tables_models_and_deployments_are_refreshed_each_by_their_policy(
    yard: Yard, client: abacusai.ApiClient, project_id: str
) -> None:
    wet = client.create_feature_group("wet", "SELECT * FROM concrete WHERE water > 100")
    model = train(client, project_id, SOURCE, "wet")
    first = client.describe_model(model.model_id).latest_model_version.model_version
    deployment = client.create_deployment(model_id=model.model_id, auto_deploy=False)
    deployment.wait_for_deployment()

    for_table = client.create_refresh_policy("t", YEARLY, "FEATUREGROUP", feature_group_id=wet.feature_group_id)
    for_deployment = client.create_refresh_policy("d", YEARLY, "DEPLOYMENT", deployment_ids=[deployment.deployment_id])
    assert schedules(client.describe_feature_group(wet.feature_group_id)) == [
        (for_table.refresh_policy_id, YEARLY, None)
    ]
    assert schedules(client.describe_deployment(deployment.deployment_id)) == [
        (for_deployment.refresh_policy_id, YEARLY, None)
    ]

    make_due(yard, for_table)
    refreshed = wait_for_run(client, for_table)
    newest = client.describe_feature_group(wet.feature_group_id).latest_feature_group_version
    assert (refreshed.status, refreshed.feature_group_version) == ("COMPLETE", newest.feature_group_version)
    assert len(client.list_feature_group_versions(wet.feature_group_id)) == 2

    client.retrain_model(model.model_id)
    second = client.describe_model(model.model_id).latest_model_version
    second.wait_for_training()
    assert client.describe_deployment(deployment.deployment_id).model_version == first
    make_due(yard, for_deployment)
    refreshed = wait_for_run(client, for_deployment)
    assert refreshed.status == "COMPLETE"
    assert client.describe_deployment(deployment.deployment_id).model_version == second.model_version
    assert refreshed.deployment_versions == [f"{deployment.deployment_id}-{second.model_version}"]
    with yard.database.read() as session:
        assert session.scalar(select(func.count()).select_from(RefreshPipelineRun)) == 2
