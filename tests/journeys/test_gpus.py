"""GPUs: a model computes on one in its training, when deployed and in a batch, or is told that there is none."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from modelyard.gpus import find_gpus
from modelyard.models.records import ModelVersion
from tests.batch_predictions.bench import ECHO, Bench
from tests.journeys.gpu_code import HOLDS_ITS_GPU, LOOKS_FOR_GPUS, ON_GPU
from tests.models.house import make_model, wait_for_end
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


@without_one
def test_rows_and_predictions_that_need_a_gpu_say_that_there_is_none(shared_yard: Yard) -> None:
    bench = Bench(shared_yard)
    group = shared_yard.call(
        "createFeatureGroupFromFunction", tableName="of_gpu", inputFeatureGroups=[], functionName="rows", useGpu=True,
        functionSourceCode="def rows():\n    return None\n",
    )  # fmt: skip
    shared_yard.call("createFeatureGroupVersion", featureGroupId=group["featureGroupId"])
    shared_yard.client().describe_feature_group(group["featureGroupId"]).wait_for_materialization()
    [version] = shared_yard.call("listFeatureGroupVersions", "GET", featureGroupId=group["featureGroupId"])
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


def printed_by(yard: Yard, model: dict[str, Any]) -> str:
    """What the model's training has printed, once it has ended well."""
    version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    [logs] = yard.call("getTrainingLogs", "GET", modelVersion=version["modelVersion"], stdout=True)
    return str(logs["stdout"])
