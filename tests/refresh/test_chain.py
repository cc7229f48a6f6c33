"""One refresh through the whole chain: a file, a table of it, a model, its deployment, a batch; and who begins it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from sqlalchemy import func, select

from modelyard.clock import utc_now
from modelyard.execution import Run
from modelyard.execution.records import AgentRecord
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.ids import FeatureGroupVersionId, RefreshPolicyId
from modelyard.refresh.records import RefreshPipelineRun, RefreshPolicy
from modelyard.settings import Settings
from tests.agents import agent_process
from tests.models.house import make_model, make_project, make_table, wait_for_end
from tests.models.test_killed_at_each_step import Killer, house
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

#: Once a year: nothing fires but what the tests make due.
YEARLY = "0 0 1 1 *"
SOURCE = """
def train(rows):
    if len(rows) > 3:
        raise ValueError(f"{len(rows)} rows are too many")
    return len(rows)


def predict(model, query):
    return model
"""


class Chain(NamedTuple):
    """Each thing stands on the one before it."""

    yard: Yard
    file: Path
    dataset_id: str
    group_id: str
    model_id: str
    deployment_id: str
    batch_id: str
    policy_id: str

    def refreshed(self) -> dict[str, Any]:
        """The record of a refresh that was run now, when it has ended."""
        begun = self.yard.call("runRefreshPolicy", refreshPolicyId=self.policy_id)
        assert begun["status"] == "PENDING"
        return ended(self.yard, begun["refreshPipelineRunId"])

    def deployed(self) -> str:
        described = self.yard.call("describeDeployment", "GET", deploymentId=self.deployment_id)
        return str(described["modelVersion"])


def ended(yard: Yard, run_id: str) -> dict[str, Any]:
    """The record once it has ended."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(yard.call("describeRefreshPipelineRun", "GET", refreshPipelineRunId=run_id))
        return found["status"] in ("COMPLETE", "FAILED")

    wait_until(has_ended, 120)
    return found


@pytest.fixture
def chain(settings: Settings, tmp_path: Path) -> Iterator[Chain]:
    """All of it, made once, and a policy that names it all."""
    file = tmp_path / "sales.csv"
    file.write_text("a\n1\n")
    with Yard(msgspec.structs.replace(settings, file_roots=(tmp_path,))) as yard:
        client = yard.client()
        dataset = yard.call("createDatasetFromFileConnector", tableName="sales", location=f"file://{file}")
        wait_until(
            lambda: client.describe_dataset(dataset["datasetId"]).latest_dataset_version.status == "COMPLETE", 60
        )
        group = client.create_feature_group("doubled", "SELECT a, a * 2 AS b FROM sales")
        project_id = make_project(yard)
        model = make_model(yard, projectId=project_id, functionSourceCode=SOURCE, trainingInputTables=["doubled"])
        assert wait_for_end(yard, model["latestModelVersion"]["modelVersion"])["status"] == "COMPLETE"
        deployment = client.create_deployment(model_id=model["modelId"], auto_deploy=False)
        deployment.wait_for_deployment()
        batch = client.create_batch_prediction(
            deployment.deployment_id, input_feature_groups={"ROWS": group.feature_group_id}
        )
        policy = yard.call(
            "createRefreshPolicy", name="nightly", cron=YEARLY, refreshType="MODEL", datasetIds=[dataset["datasetId"]],
            featureGroupId=group.feature_group_id, modelIds=[model["modelId"]],
            deploymentIds=[deployment.deployment_id], batchPredictionIds=[batch.batch_prediction_id],
        )  # fmt: skip
        yield Chain(
            yard, file, dataset["datasetId"], group.feature_group_id, model["modelId"], deployment.deployment_id,
            batch.batch_prediction_id, policy["refreshPolicyId"],
        )  # fmt: skip


def test_one_refresh_carries_new_rows_through_the_whole_chain(chain: Chain) -> None:
    yard = chain.yard
    first = chain.deployed()
    chain.file.write_text("a\n1\n2\n")
    record = chain.refreshed()
    assert (record["status"], record["error"]) == ("COMPLETE", None)
    # One record with its parts, each made of the one before it.
    [dataset_version] = record["datasetVersions"]
    assert yard.call("describeDatasetVersion", "GET", datasetVersion=dataset_version)["rowCount"] == 2
    with yard.database.read() as session:
        table = session.get_one(FeatureGroupVersion, FeatureGroupVersionId(record["featureGroupVersion"])).table
    assert table is not None
    assert table["rows"] == 2
    [model_version] = record["modelVersions"]
    made = yard.call("describeModelVersion", "GET", modelVersion=model_version)["madeFrom"]
    assert made["tables"][0]["featureGroupVersion"] == record["featureGroupVersion"]
    assert record["deploymentVersions"] == [f"{chain.deployment_id}-{model_version}"]
    assert chain.deployed() == model_version != first
    [batch_version] = record["batchPredictions"]
    batch = yard.call("describeBatchPredictionVersion", "GET", batchPredictionVersion=batch_version)
    assert (batch["status"], batch["modelVersion"], batch["totalPredictions"]) == ("COMPLETE", model_version, 2)
    runs = yard.call("listRefreshPipelineRuns", "GET", refreshPolicyId=chain.policy_id)
    assert [each["refreshPipelineRunId"] for each in runs] == [record["refreshPipelineRunId"]]


def test_the_next_run_is_shown_on_each_thing_of_the_chain(chain: Chain) -> None:
    client = chain.yard.client()
    policy = client.describe_refresh_policy(chain.policy_id)
    assert policy.next_run_time is not None
    for thing in (
        client.describe_dataset(chain.dataset_id), client.describe_feature_group(chain.group_id),
        client.describe_model(chain.model_id), client.describe_deployment(chain.deployment_id),
        client.describe_batch_prediction(chain.batch_id),
    ):  # fmt: skip
        [schedule] = thing.refresh_schedules
        shown = (schedule.refresh_policy_id, schedule.cron, schedule.next_run_time, schedule.error)
        assert shown == (chain.policy_id, YEARLY, policy.next_run_time, None), thing


def test_what_comes_after_a_part_that_failed_is_not_begun(chain: Chain) -> None:
    yard, first = chain.yard, chain.deployed()
    chain.file.write_text("a\n1\n2\n3\n4\n")
    record = chain.refreshed()
    assert record["status"] == "FAILED"
    assert record["error"] == f"MODEL {chain.model_id}: ValueError: 4 rows are too many"
    assert len(record["datasetVersions"]) == len(record["modelVersions"]) == 1
    assert (record["deploymentVersions"], record["batchPredictions"]) == ([], [])
    assert chain.deployed() == first
    described = yard.client().describe_batch_prediction(chain.batch_id)
    assert described.refresh_schedules[0].error == record["error"]


def test_a_part_that_is_gone_by_then_is_told_and_not_tried_again(settings: Settings) -> None:
    with house(settings) as yard:
        model_id = make_model(yard, trainingInputTables=[])["modelId"]
        policy = yard.call("createRefreshPolicy", cron=YEARLY, refreshType="MODEL", modelIds=[model_id])
        begun = yard.call("runRefreshPolicy", refreshPolicyId=policy["refreshPolicyId"])["refreshPipelineRunId"]
        yard.call("deleteModel", "DELETE", modelId=model_id)
        with agent_process(yard.settings):
            record = ended(yard, begun)
        assert (record["status"], record["error"]) == ("FAILED", f"MODEL {model_id}: Model {model_id} was not found")
        with yard.database.read() as session:
            assert session.scalars(select(Run.attempt).where(Run.target == begun)).one() == 1


def test_two_agents_fire_each_tick_once_and_those_that_were_missed_once(settings: Settings) -> None:
    with house(settings) as yard:
        make_table(yard, "still", {"x": [1]})
        model_id = make_model(yard, trainingInputTables=["still"])["modelId"]
        policies = [
            yard.call("createRefreshPolicy", cron="@hourly", refreshType="MODEL", modelIds=[model_id])[
                "refreshPolicyId"
            ]
            for _ in range(12)
        ]
        with yard.database.write() as session:  # nobody was there for three days
            for policy_id in policies:
                record = session.get_one(RefreshPolicy, RefreshPolicyId(policy_id))
                record.next_run_at = utc_now() - timedelta(days=3)

        def fired() -> dict[str, int]:
            with yard.database.read() as session:
                query = select(RefreshPipelineRun.refresh_policy_id, func.count())
                return {
                    str(name): count
                    for name, count in session.execute(query.group_by(RefreshPipelineRun.refresh_policy_id))
                }

        with agent_process(yard.settings), agent_process(yard.settings):
            wait_until(lambda: len(fired()) == len(policies), 60)
            wait_until(lambda: agents(yard) == 2)
            assert fired() == dict.fromkeys(policies, 1)
            for count in range(2, 5):  # each of these is fired by a later look at all that is due
                with yard.database.write() as session:
                    session.get_one(RefreshPolicy, RefreshPolicyId(policies[0])).next_run_at = utc_now()
                wait_until(lambda count=count: fired()[policies[0]] == count)  # type: ignore[misc]  # bound now
                assert fired() == dict.fromkeys(policies, 1) | {policies[0]: count}


def agents(yard: Yard) -> int:
    with yard.database.read() as session:
        return int(session.query(AgentRecord).count())


@pytest.mark.slow
def test_a_refresh_whose_agent_is_killed_at_any_step_begins_nothing_twice(settings: Settings, tmp_path: Path) -> None:
    with house(settings) as yard:
        make_table(yard, "stays", {"x": [1]})
        group = yard.call("createFeatureGroup", tableName="reads", sql="SELECT x + 1 AS y FROM stays")
        model = make_model(yard, trainingInputTables=["reads"])
        policy = yard.call(
            "createRefreshPolicy", cron=YEARLY, refreshType="MODEL", featureGroupId=group["featureGroupId"],
            modelIds=[model["modelId"]],
        )  # fmt: skip

        def begin() -> str:
            begun = yard.call("runRefreshPolicy", refreshPolicyId=policy["refreshPolicyId"])
            return str(begun["refreshPipelineRunId"])

        targets = Killer(yard, "refresh.run", tmp_path).run(begin)
        records = [yard.call("describeRefreshPipelineRun", "GET", refreshPipelineRunId=each) for each in targets]
        assert {each["status"] for each in records} == {"COMPLETE"}
        versions = yard.call("listModelVersions", "GET", modelId=model["modelId"])
        assert len(versions) == len(targets) + 1
        made = [version for record in records for version in record["modelVersions"]]
        assert len(set(made)) == len(made) == len(targets)
        assert len({record["featureGroupVersion"] for record in records}) == len(targets)
