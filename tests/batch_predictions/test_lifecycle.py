"""What surrounds a batch: definitions that change, what may not be deleted under them, schedules, agents that die."""

import os
import signal
import time

import pytest
from sqlalchemy import select

from modelyard.batch_predictions.records import BatchPredictionVersion
from modelyard.execution import Run, RunState
from modelyard.settings import Settings
from tests.agents import agent_process
from tests.batch_predictions.bench import ECHO, Bench
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

SLOW = "import time\n\n\ndef train(*tables):\n    return 10\n\n\ndef predict(model, query):\n"
SLOW += "    print('predicting', flush=True)\n    time.sleep(query['seconds'])\n    return model\n"


@pytest.fixture(scope="module")
def deployment_id(bench: Bench) -> str:
    return bench.deploy(ECHO, bench.table(x=[1]))


def wait_for_words(bench: Bench, version_id: str, words: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        logs = bench.yard.call("getBatchPredictionVersionLogs", "GET", batchPredictionVersion=version_id)
        if any(words in line for line in logs["logs"]):
            return
        time.sleep(0.05)
    raise AssertionError(f"{words!r} was not printed")


def test_a_definition_changes_and_its_versions_keep_what_they_had(bench: Bench) -> None:
    deployment_id, other = bench.deploy(ECHO, bench.table(x=[1])), bench.table(x=[5], y=[6])
    batch = bench.define(deployment_id, name="first", resultInputColumns=["x"])
    first = bench.start(batch)
    changed = bench.yard.call(
        "updateBatchPrediction", batchPredictionId=batch, name="second", outputFormat="CSV", resultInputColumns=[],
        deploymentId=None,
    )  # fmt: skip
    assert (changed["name"], changed["fileOutputFormat"]) == ("second", "CSV")
    assert changed["resultInputColumns"] is None
    changed = bench.yard.call(
        "setBatchPredictionFeatureGroup", batchPredictionId=batch, featureGroupType="DATA",
        featureGroupId=bench.group_id(other),
    )  # fmt: skip
    assert changed["inputFeatureGroups"][0]["datasetType"] == "DATA"
    second = bench.start(batch)
    assert bench.raw(second) == b"x,y,prediction\n5,6,50\n"
    assert bench.lines(bench.describe(first["batchPredictionVersion"])) == [{"x": 1, "prediction": 10}]
    versions = bench.yard.call("listBatchPredictionVersions", "GET", batchPredictionId=batch, limit=1)
    assert [each["batchPredictionVersion"] for each in versions] == [second["batchPredictionVersion"]]
    rest = bench.yard.call(
        "listBatchPredictionVersions", "GET", batchPredictionId=batch,
        startAfterVersion=second["batchPredictionVersion"],
    )  # fmt: skip
    assert [each["batchPredictionVersion"] for each in rest] == [first["batchPredictionVersion"]]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"explanations": True}, "explanations: predictions can't be explained yet"),
        ({"outputFormat": "XML"}, "it must be one of JSON, CSV"),
        ({"csvInputPrefix": "a\nb"}, "csvInputPrefix must be"),
        ({"batchPredictionArgs": {"forEval": True}}, "forEval has no meaning here"),
        ({"inputFeatureGroups": {"A": "1", "B": "2"}}, "names 2 feature groups"),
        ({"inputFeatureGroups": {"A": "0123456789"}}, "Feature group 0123456789 was not found"),
        ({"refreshSchedule": "every day"}, "cron"),
    ],
)
def test_what_is_not_there_is_refused_by_its_name(
    bench: Bench, deployment_id: str, parameters: dict[str, object], words: str
) -> None:
    with pytest.raises(CallFailed, match=words):
        bench.define(deployment_id, **parameters)


def test_unknown_ids_are_not_found(bench: Bench) -> None:
    for action, verb, name in (
        ("createBatchPrediction", "POST", "deploymentId"),
        ("startBatchPrediction", "POST", "batchPredictionId"),
        ("describeBatchPrediction", "GET", "batchPredictionId"),
        ("deleteBatchPrediction", "DELETE", "batchPredictionId"),
        ("describeBatchPredictionVersion", "GET", "batchPredictionVersion"),
        ("getBatchPredictionVersionLogs", "GET", "batchPredictionVersion"),
        ("downloadBatchPredictionResultChunk", "GET", "batchPredictionVersion"),
        ("listBatchPredictions", "GET", "projectId"),
    ):
        with pytest.raises(CallFailed, match="DataNotFoundError"):
            bench.yard.call(action, verb, **{name: "0123456789"})


def test_what_a_batch_prediction_stands_on_can_not_be_deleted_under_it(bench: Bench) -> None:
    table = bench.table(seconds=[30.0])
    deployment_id = bench.deploy(SLOW, bench.table(seconds=[0.0]))
    model_version = bench.yard.call("describeDeployment", "GET", deploymentId=deployment_id)["modelVersion"]
    batch = bench.define(deployment_id, name="nightly", inputFeatureGroups={"DATA": bench.group_id(table)})
    with pytest.raises(CallFailed, match="used by batch prediction nightly"):
        bench.yard.call("deleteDeployment", "DELETE", deploymentId=deployment_id)
    with pytest.raises(CallFailed, match="used by batch prediction nightly"):
        bench.yard.call("deleteFeatureGroup", "DELETE", featureGroupId=bench.group_id(table))
    version_id = bench.yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
    wait_for_words(bench, version_id, "predicting")
    with pytest.raises(CallFailed, match="batch prediction nightly"):
        bench.yard.call("deleteModelVersion", "DELETE", modelVersion=model_version)
    answer = bench.chunk({"batchPredictionVersion": version_id})
    assert answer.json()["errorType"] == "NotReadyError"
    # one that is under way is stopped, and everything is free again
    bench.yard.call("deleteBatchPrediction", "DELETE", batchPredictionId=batch)
    bench.yard.call("deleteDeployment", "DELETE", deploymentId=deployment_id)
    bench.yard.call("deleteFeatureGroup", "DELETE", featureGroupId=bench.group_id(table))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with bench.yard.database.read() as session:
            states = session.scalars(select(Run.state).where(Run.target == version_id)).all()
        if states == [RunState.CANCELLED]:
            return
        time.sleep(0.05)
    raise AssertionError("the run was not cancelled")


def test_a_schedule_starts_a_version_and_is_shown(bench: Bench) -> None:
    deployment_id = bench.deploy(ECHO, bench.table(x=[1]))
    batch = bench.define(deployment_id, refreshSchedule="0 6 * * 1")
    described = bench.yard.call("describeBatchPrediction", "GET", batchPredictionId=batch)
    [schedule] = described["refreshSchedules"]
    assert (schedule["cron"], schedule["refreshType"]) == ("0 6 * * 1", "BATCHPRED")
    refresh = bench.yard.call("runRefreshPolicy", refreshPolicyId=schedule["refreshPolicyId"])
    deadline = time.monotonic() + 60
    while refresh["status"] not in ("COMPLETE", "FAILED"):
        assert time.monotonic() < deadline, refresh
        time.sleep(0.1)
        refresh = bench.yard.call(
            "describeRefreshPipelineRun", "GET", refreshPipelineRunId=refresh["refreshPipelineRunId"]
        )
    assert refresh["status"] == "COMPLETE", refresh["error"]
    [version] = bench.yard.call("listBatchPredictionVersions", "GET", batchPredictionId=batch)
    assert refresh["batchPredictions"] == [version["batchPredictionVersion"]]
    assert bench.lines(version) == [{"x": 1, "prediction": 10}]


def test_progress_is_seen_while_it_goes_on(bench: Bench) -> None:
    # eight chunks, each of which takes longer than the time between two writes
    source = "import time\n\n\ndef train(*tables):\n    return 10\n\n\n"
    source += "def predict_many(model, queries):\n    time.sleep(0.7)\n    return queries['x']\n"
    deployment_id = bench.deploy(source, bench.table(x=list(range(150_000))))
    batch = bench.define(deployment_id)
    version_id = bench.yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
    seen = set()
    while (version := bench.describe(version_id))["status"] in ("PENDING", "PREDICTING"):
        seen.add(version["totalPredictions"])
        time.sleep(0.02)
    assert version["status"] == "COMPLETE", version["error"]
    assert version["totalPredictions"] == 150_000
    assert 0 in seen
    assert len(seen) > 3  # of eight steps; a busy machine may let some pass unseen
    assert not [each for each in seen if each % 18_750]
    assert len(bench.lines(version)) == 150_000


def test_a_batch_whose_agent_is_killed_is_made_again_and_ends_once(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        bench = Bench(yard)
        with agent_process(yard.settings) as first:
            deployment_id = bench.deploy(SLOW, bench.table(seconds=[2.0, 2.0]))
            batch = bench.define(deployment_id)
            version_id = yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
            wait_for_words(bench, version_id, "predicting")
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        assert bench.describe(version_id)["status"] == "PREDICTING"
        with agent_process(yard.settings):
            version = bench.ended(version_id)
        assert [line["prediction"] for line in bench.lines(version)] == [10, 10]
        with yard.database.read() as session:
            kept = session.get_one(BatchPredictionVersion, version_id)
            [run] = session.scalars(select(Run).where(Run.target == version_id))
        assert (run.state, run.attempt) == (RunState.COMPLETE, 2)
        assert kept.total_predictions == 2
