"""Trainings through the real sandbox: what comes out, and how each way of going wrong is told."""

import time
from typing import Any

import msgspec
import pytest

from modelyard.gpus import find_gpus
from modelyard.ids import ModelVersionId
from modelyard.models.records import ModelVersion
from modelyard.models.versions import deployable
from modelyard.settings import Settings
from modelyard.storage import BlobStore
from tests.models.house import (
    SOURCE,
    add_table_version,
    make_model,
    make_table,
    wait_for_end,
    wait_for_status,
    wait_for_words,
)
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox
PREDICT = "\n\ndef predict(model, query):\n    return 1\n"


def trained(yard: Yard, body: str, **parameters: Any) -> dict[str, Any]:
    """The ended version of a model whose `train` is that body."""
    source = f"import sys\n\ndef train(*tables, training_config=None):\n    {body}\n{PREDICT}\nassert sys\n"
    model = make_model(yard, functionSourceCode=source, **parameters)
    return wait_for_end(yard, model["latestModelVersion"]["modelVersion"])


def logs_of(yard: Yard, version: dict[str, Any]) -> dict[str, Any]:
    (logs,) = yard.call("getTrainingLogs", "GET", modelVersion=version["modelVersion"], stdout=True, stderr=True)
    return dict(logs)


def test_a_training_gets_its_tables_in_order_and_keeps_what_it_made(shared_yard: Yard) -> None:
    groups = [
        make_table(shared_yard, "first_rows", {"x": [1, 2, 3]}),
        make_table(shared_yard, "second_rows", {"y": [4.0]}),
    ]
    source = (
        "import json\n\ndef train(first, second, training_config):\n"
        "    print(list(first.columns), list(second.columns), training_config)\n"
        "    json.dump({'rmse': 0.5}, open('metrics.json', 'w'))\n"
        "    open('metrics.jsonl', 'w').write('{\"step\": 1, \"loss\": 2.5}\\n')\n"
        "    open('left.txt', 'w').write('here')\n"
        "    return int(first.x.sum()), float(second.y[0])\n" + PREDICT
    )
    model = make_model(
        shared_yard,
        functionSourceCode=source,
        trainingInputTables=["first_rows", "second_rows"],
        trainingConfig={"LR": 0.1},
        cpuSize="medium",
        memory=2,
        isThreadSafe=True,
    )
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    assert list(version["modelFeatureGroupSchemaMappings"]) == version["trainingFeatureGroupIds"] == groups
    assert len(version["featureGroupVersions"]) == 2
    assert version["featureAnalysisStatus"] == "COMPLETE"
    assert version["bestAlgorithm"] == {"algorithm": model["modelId"], "name": "Concrete Model"}
    logs = logs_of(shared_yard, version)
    assert "['x'] ['y'] {'LR': 0.1}" in logs["stdout"]
    assert logs["exception"] is None
    assert logs["stats"]["start"] <= logs["stats"]["end"]
    assert logs["stats"]["lines"]
    metrics = shared_yard.call("getModelMetrics", "GET", modelId=model["modelId"])["algoMetrics"][model["modelId"]]
    assert metrics == {"name": "Concrete Model", "metrics": {"rmse": 0.5}, "steps": [{"step": 1, "loss": 2.5}]}
    with shared_yard.database.read() as session:
        row = session.get_one(ModelVersion, ModelVersionId(version["modelVersion"]))
        found = deployable(session, row)
        store = BlobStore(shared_yard.settings.home / "blobs")
        assert store.has(found.artifact)
        assert found.files is not None
        assert b"left.txt" in store.read(found.files)
        assert "pandas==" in found.lock
        assert found.code.source == source
        assert (found.is_thread_safe, found.cpu_size, found.memory_gib) == (True, "medium", 2)
        assert row.runtime is not None
        assert row.runtime["cores"] == 2
        assert row.lock_digest
        assert row.environment_id
    after = shared_yard.call("describeModel", "GET", modelId=model["modelId"])
    assert after["trainingRequired"] is False
    add_table_version(shared_yard, groups[0], {"x": [5]})
    after = shared_yard.call("describeModel", "GET", modelId=model["modelId"])
    assert after["trainingRequired"] is True


def test_training_is_required_again_after_what_matters_and_not_after_what_does_not(shared_yard: Yard) -> None:
    model = make_model(shared_yard)
    wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])

    def required(**changes: Any) -> bool:
        return bool(shared_yard.call("updatePythonModel", modelId=model["modelId"], **changes)["trainingRequired"])

    assert required(memory=2, cpuSize="small") is False
    assert required(trainingConfig={"LR": 1}) is True
    latest = shared_yard.call("describeModel", "GET", modelId=model["modelId"])["latestModelVersion"]
    assert latest["trainingConfigUpdated"] is True
    assert required(trainingConfig={}) is False
    assert required(functionSourceCode=SOURCE + "# changed") is True
    assert required(functionSourceCode=SOURCE) is False
    again = shared_yard.call("retrainModel", modelId=model["modelId"], trainingConfig={"LR": 2}, memory=1)
    assert again["latestModelVersion"]["modelConfig"]["LR"] == 2
    assert again["latestModelVersion"]["memory"] == 1
    assert again["memory"] == 2
    wait_for_end(shared_yard, again["latestModelVersion"]["modelVersion"])
    assert shared_yard.call("describeModel", "GET", modelId=model["modelId"])["trainingRequired"] is True


def test_what_train_raises_is_told_with_the_users_own_frames(shared_yard: Yard) -> None:
    version = trained(shared_yard, "raise ValueError('bad \\x00 rows')")
    assert version["status"] == "FAILED"
    assert version["error"].startswith("ValueError: bad")
    assert version["partialComplete"] is version["automlComplete"] is True
    exception = logs_of(shared_yard, version)["exception"]
    assert exception["type"] == "ValueError"
    assert 'File "model.py", line 4, in train' in exception["traceback"]
    assert "site-packages" not in exception["traceback"]


@pytest.mark.parametrize(
    ("body", "parameters", "words"),
    [
        ("import os; os._exit(3)", {}, "status 3"),
        ("sys.exit('enough')", {}, "enough"),
        ("return bytearray(3 * 1024**3)", {"memory": 1}, "memory"),
        ("import time; time.sleep(600)", {"trainingConfig": {"TIMEOUT_MINUTES": 0.02}}, "1.2 seconds"),
        ("return (each for each in tables)", {}, "can't be pickled"),
        ("return 1", {"packageRequirements": ["no-such-package-anywhere==1.0"]}, "no-such-package-anywhere"),
        ("return 1", {"memory": 1024}, "1024 GiB"),
        pytest.param(
            "return 1",
            {"useGpu": True},
            "needs a GPU (useGpu), and this machine has none that can be used",
            marks=pytest.mark.skipif(bool(find_gpus()), reason="this machine has a GPU"),
        ),
    ],
)
def test_each_way_of_going_wrong_is_told(shared_yard: Yard, body: str, parameters: dict[str, Any], words: str) -> None:
    version = trained(shared_yard, body, **parameters)
    assert version["status"] == "FAILED"
    assert words in version["error"]
    assert version["partialComplete"] is version["automlComplete"] is True
    with pytest.raises(CallFailed, match="NotReadyError"):
        shared_yard.call("getModelMetrics", "GET", modelId=version["modelId"])


@pytest.mark.parametrize(("ending", "status"), [("return 1", "COMPLETE"), ("raise ValueError(1)", "FAILED")])
def test_what_a_training_used_is_kept_with_its_version(shared_yard: Yard, ending: str, status: str) -> None:
    body = (
        "import time\n    block = bytearray(300 * 1024**2)\n    end = time.process_time() + 0.5\n"
        f"    while time.process_time() < end:\n        pass\n    {ending}"
    )
    version = trained(shared_yard, body)
    assert version["status"] == status
    usage = shared_yard.call("describeModelVersion", "GET", modelVersion=version["modelVersion"])["usage"]
    assert 300 * 1024**2 < usage["peakMemoryBytes"] < 2 * 1024**3
    assert 0.5 <= usage["cpuSeconds"] < 60
    stats = logs_of(shared_yard, version)["stats"]
    assert usage == {name: stats[name] for name in usage}
    listed = shared_yard.call("listModelVersions", "GET", modelId=version["modelId"])
    assert [each["usage"] for each in listed] == [None]


def test_sizes_are_held_against_the_machine(settings: Settings) -> None:
    with Yard(msgspec.structs.replace(settings, agent_cores=1, agent_memory_gib=3)) as yard:
        too_large = trained(yard, "return 1", memory=4)
        assert too_large["error"] == (
            "The model asks for 4 GiB of memory, and the largest agent has 3.0 GiB. Give it less memory."
        )
        fewer = trained(yard, "return len(__import__('os').sched_getaffinity(0))", cpuSize="large", memory=3)
        assert fewer["status"] == "COMPLETE", fewer["error"]
        assert "cpuSize large means 4 cores; this machine has 1" in logs_of(yard, fewer)["stdout"]
        assert (fewer["madeFrom"]["runtime"]["cores"], fewer["madeFrom"]["runtime"]["memoryGib"]) == (1, 3)
        source = f"def train():\n    import time\n    print('begun', flush=True)\n    time.sleep(600)\n{PREDICT}"
        first = make_model(yard, functionSourceCode=source)["latestModelVersion"]["modelVersion"]
        wait_for_words(yard, first, "begun")
        # One core, and it is taken: the second begins when the first has ended, whatever else is free.
        second = make_model(yard)["latestModelVersion"]["modelVersion"]
        waits = yard.call("describeModelVersion", "GET", modelVersion=second)
        assert (waits["status"], "1 cores" in waits["waitingFor"]) == ("PENDING", True)
        yard.call("cancelTraining", modelVersion=first)
        assert wait_for_end(yard, first)["error"] == "The training was cancelled."
        assert wait_for_end(yard, second)["status"] == "COMPLETE"


def test_what_prints_a_lot_is_kept_at_its_head_and_tail_with_the_gap_told(shared_yard: Yard) -> None:
    body = "[print('x' * 999) for _ in range(30_000)]; print('the end'); return 1"
    version = trained(shared_yard, body)
    assert version["status"] == "COMPLETE", version["error"]
    logs = logs_of(shared_yard, version)
    assert "characters left out" in logs["stdout"]
    assert logs["stdout"].rstrip().endswith("the end")
    assert len(logs["stdout"]) < 10 * 1024**2


def test_logs_are_read_while_the_training_goes_on(shared_yard: Yard) -> None:
    source = f"import time\n\ndef train():\n    print('begun', flush=True)\n    time.sleep(4)\n    return 1\n{PREDICT}"
    model = make_model(shared_yard, functionSourceCode=source)
    version = model["latestModelVersion"]["modelVersion"]
    wait_for_words(shared_yard, version, "begun")
    assert shared_yard.call("describeModelVersion", "GET", modelVersion=version)["status"] == "TRAINING"
    wait_for_end(shared_yard, version)


def test_deleting_a_model_stops_its_training(shared_yard: Yard) -> None:
    source = f"import time\n\ndef train():\n    time.sleep(600)\n{PREDICT}"
    model = make_model(shared_yard, functionSourceCode=source)
    version = wait_for_status(shared_yard, model["latestModelVersion"]["modelVersion"], "TRAINING")
    shared_yard.call("deleteModel", "DELETE", modelId=model["modelId"])
    with pytest.raises(CallFailed, match="DataNotFoundError"):
        shared_yard.call("describeModelVersion", "GET", modelVersion=version["modelVersion"])
    assert shared_yard.agent is not None
    for _ in range(600):
        if not shared_yard.agent.running:
            return
        time.sleep(0.05)
    raise AssertionError("the training goes on without its model")


def test_a_second_training_starts_in_a_guest_that_waits(shared_yard: Yard) -> None:
    model = make_model(shared_yard)
    wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    again = shared_yard.call("retrainModel", modelId=model["modelId"])
    version = wait_for_end(shared_yard, again["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE"
    numbers = [each["modelVersion"] for each in shared_yard.call("listModelVersions", "GET", modelId=model["modelId"])]
    assert numbers == [version["modelVersion"], model["latestModelVersion"]["modelVersion"]]
    (older,) = shared_yard.call("listModelVersions", "GET", modelId=model["modelId"], startAfterVersion=numbers[0])
    assert older["modelVersion"] == numbers[1]
