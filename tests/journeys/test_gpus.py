"""GPUs: a model computes on one in its training, when deployed and in a batch, or is told that there is none."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from modelyard.clock import utc_now
from modelyard.deployments.records import Deployment
from modelyard.execution.records import AgentRecord, Run
from modelyard.gpus import find_gpus
from modelyard.ids import AgentId
from modelyard.models.records import ModelVersion
from tests.batch_predictions.bench import ECHO, Bench
from tests.journeys.gpu_code import HOLDS_ITS_GPU, LEARNS, LOOKS_FOR_GPUS, ON_GPU, READS, ROWS_ON_GPU
from tests.models.house import make_model, make_table, wait_for_end
from tests.waiting import wait_until
from tests.yard import Yard

GPUS = find_gpus()
pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(240)]
on_a_gpu = pytest.mark.skipif(not GPUS, reason="this machine has no NVIDIA GPU")
without_one = pytest.mark.skipif(bool(GPUS), reason="this machine has a GPU")
NONE = "needs a GPU (useGpu), and this machine has none that can be used."


@on_a_gpu
def test_a_model_computes_on_its_gpu_wherever_it_runs(shared_yard: Yard) -> None:
    bench = Bench(shared_yard)
    table = bench.table(x=[1.0, 2.0, 4.0])
    model = make_model(
        shared_yard, projectId=bench.project_id, functionSourceCode=ON_GPU, trainingInputTables=[table],
        initializeFunctionName="initialize", useGpu=True, memory=2,
    )  # fmt: skip
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    runtime = version["madeFrom"]["runtime"]
    assert (runtime["gpus"], runtime["gpuModels"]) == (1, [GPUS[0].model])
    assert version["usage"]["peakMemoryBytes"] < 2 * 1024**3

    token = shared_yard.call("createDeploymentToken", projectId=bench.project_id)["deploymentToken"]
    deployment = shared_yard.call("createDeployment", modelId=model["modelId"])["deploymentId"]
    shared_yard.client().describe_deployment(deployment).wait_for_deployment()
    answer = shared_yard.client().predict(token, deployment, {"x": 5})
    assert (answer["y"], answer["sum"]) == (15.0, 21.0)
    assert answer["gpu"] in GPUS[0].model

    rows = bench.table(x=[float(x) for x in range(50)])
    batch = bench.predict(deployment, inputFeatureGroups={"DATA": bench.group_id(rows)})
    assert sorted(line["prediction"]["y"] for line in bench.lines(batch)) == [3.0 * x for x in range(50)]


def test_a_model_that_asked_for_no_gpu_sees_none(shared_yard: Yard) -> None:
    seen = json.loads(printed_by(shared_yard, make_model(shared_yard, functionSourceCode=LOOKS_FOR_GPUS)))
    assert (seen["devices"], seen["visible"]) == ([], "")
    assert seen["cuInit"] != 0


@on_a_gpu
def test_trainings_take_turns_on_a_gpu(shared_yard: Yard) -> None:
    models = [make_model(shared_yard, functionSourceCode=HOLDS_ITS_GPU, useGpu=True) for _ in range(len(GPUS) + 2)]
    held = [[float(word) for word in printed_by(shared_yard, model).split()] for model in models]
    for begin, _ in held:
        assert sum(first <= begin < last for first, last in held) <= len(GPUS)


@on_a_gpu
def test_rows_by_a_gpu_want_a_reader_that_has_one_or_are_made_before(shared_yard: Yard) -> None:
    group_of_gpu(shared_yard, "on_gpu", ROWS_ON_GPU)
    model = make_model(shared_yard, functionSourceCode=READS, trainingInputTables=["on_gpu"])
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "FAILED"
    assert (
        "The feature group on_gpu needs a GPU (useGpu), and what asked for its rows reserved none" in version["error"]
    )

    with_gpu = make_model(shared_yard, functionSourceCode=READS, trainingInputTables=["on_gpu"], useGpu=True)
    assert printed_by(shared_yard, with_gpu) == "[{'cuda': 0, 'cards': 1}]\n"
    again = shared_yard.call("retrainModel", modelId=model["modelId"])  # its rows are there now
    assert printed_by(shared_yard, again) == "[{'cuda': 0, 'cards': 1}]\n"

    alone = group_of_gpu(shared_yard, "by_itself", ROWS_ON_GPU)
    shared_yard.call("createFeatureGroupVersion", featureGroupId=alone)
    made = shared_yard.client().describe_feature_group(alone).wait_for_materialization()
    assert made.latest_feature_group_version.status == "COMPLETE"


@on_a_gpu
@pytest.mark.parametrize("use_gpu", [False, True])
def test_importance_is_measured_with_the_gpu_that_the_model_asked_for(shared_yard: Yard, use_gpu: bool) -> None:
    values = [float(x * 37 % 101) for x in range(100)]
    make_table(shared_yard, f"learnt_{use_gpu}", {"a": values, "b": [1.0, 2.0] * 50, "y": values})
    model = make_model(
        shared_yard, functionSourceCode=LEARNS.replace("CARDS", str(int(use_gpu))), useGpu=use_gpu,
        trainingInputTables=[f"learnt_{use_gpu}"], trainingConfig={"TARGET": "y"},
    )  # fmt: skip
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    told = shared_yard.client().get_feature_importance_by_model_version(version["modelVersion"])
    assert told.permutation_feature_importance["a"] > 1
    assert told.permutation_feature_importance["b"] == 0


@without_one
def test_a_replica_is_left_to_another_agent_that_has_a_gpu(shared_yard: Yard) -> None:
    bench = Bench(shared_yard)
    deployment = bench.deploy(ECHO, bench.table(x=[1]))
    shared_yard.call("stopDeployment", deploymentId=deployment)
    other, now = AgentId("0123456789"), utc_now()
    with shared_yard.database.write() as session:
        of_deployment = sa.select(Deployment.model_version).where(Deployment.deployment_id == deployment)
        version = sa.update(ModelVersion).where(ModelVersion.model_version == of_deployment.scalar_subquery())
        session.execute(version.values(use_gpu=True))
        session.add(
            AgentRecord(
                agent_id=other, machine="another", pid=1, cores=1.0, memory_gib=1.0, gpus=1, started_at=now, seen_at=now
            )
        )
    shared_yard.call("startDeployment", deploymentId=deployment)

    def reasons() -> list[str | None]:
        with shared_yard.database.read() as session:
            return list(session.scalars(sa.select(Run.reason).where(Run.kind == "deployments.serve")))

    try:
        wait_until(lambda: "the model needs a GPU, and this agent has none" in reasons())
        described = shared_yard.call("describeDeployment", "GET", deploymentId=deployment)
        assert described["status"] == "DEPLOYING"
    finally:
        with shared_yard.database.write() as session:
            session.execute(sa.delete(AgentRecord).where(AgentRecord.agent_id == other))
    # Nobody has one any more: that is said, the next time that it is tried.
    wait_until(lambda: shared_yard.call("describeDeployment", "GET", deploymentId=deployment)["status"] == "FAILED")


@without_one
def test_rows_and_predictions_that_need_a_gpu_say_that_there_is_none(shared_yard: Yard) -> None:
    bench = Bench(shared_yard)
    group = group_of_gpu(shared_yard, "of_gpu", "def rows():\n    return None\n")
    shared_yard.call("createFeatureGroupVersion", featureGroupId=group)
    shared_yard.client().describe_feature_group(group).wait_for_materialization()
    [version] = shared_yard.call("listFeatureGroupVersions", "GET", featureGroupId=group)
    assert (version["status"], version["error"]) == ("FAILED", f"The feature group of_gpu {NONE}")

    deployment = bench.deploy(ECHO, bench.table(x=[1]))
    with shared_yard.database.write() as session:
        session.execute(sa.update(ModelVersion).values(use_gpu=True))
    batch = bench.predict(deployment, inputFeatureGroups={"DATA": bench.group_id(bench.table(x=[1]))})
    assert (batch["status"], batch["error"]) == ("FAILED", f"The model {NONE}")
    shared_yard.call("startDeployment", deploymentId=deployment)
    shared_yard.client().describe_deployment(deployment).wait_for_deployment()
    described = shared_yard.call("describeDeployment", "GET", deploymentId=deployment)
    assert described["status"] == "FAILED"
    assert NONE in str(described)


def group_of_gpu(yard: Yard, name: str, source: str) -> str:
    """The id of a feature group whose function asks for a GPU; nothing is made yet."""
    group = yard.call(
        "createFeatureGroupFromFunction", tableName=name, inputFeatureGroups=[], functionName="rows", useGpu=True,
        functionSourceCode=source,
    )  # fmt: skip
    return str(group["featureGroupId"])


def printed_by(yard: Yard, model: dict[str, Any]) -> str:
    """What the model's code has printed in its training, once that has ended well."""
    version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    [logs] = yard.call("getTrainingLogs", "GET", modelVersion=version["modelVersion"], stdout=True)
    lines = str(logs["stdout"]).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("modelyard: "))  # of its environment
