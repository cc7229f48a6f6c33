"""A version is five exact things: they are shown, held fast, and enough to make it again, to the byte."""

from typing import Any

import pytest

from modelyard.cli.version import _lines
from modelyard.clock import utc_now
from modelyard.ids import ModelVersionId
from modelyard.models.describe import describe_version
from modelyard.models.heads import put_text
from modelyard.models.records import ModelVersion
from tests.models.house import add_table_version, make_model, make_table, wait_for_end
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

STEADY = """
import json, os, random
import numpy


def train(rows):
    words = {f"word {number}" for number in range(50)}
    drawn = [random.random(), float(numpy.random.rand())]
    with open("metrics.json", "w") as out:
        json.dump({"loss": drawn[0], "rows": len(rows)}, out)
    with open("words.txt", "w") as out:
        out.write(" ".join(words))
    return {"order": list(words), "drawn": drawn, "sum": int(rows["x"].sum()), "seed": os.environ["MODELYARD_SEED"]}


def predict(model, query):
    return model
"""
WANDERING = """
import json, os


def train():
    with open("metrics.json", "w") as out:
        json.dump({"loss": int.from_bytes(os.urandom(3), "big"), "fixed": 1}, out)
    with open("same.txt", "w") as out:
        out.write("always")
    with open("other.bin", "wb") as out:
        out.write(os.urandom(8))
    return os.urandom(8)


def predict(model, query):
    return len(model)
"""


def trained(yard: Yard, **given: Any) -> dict[str, Any]:
    version = wait_for_end(yard, make_model(yard, **given)["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    return version


def reproduced(yard: Yard, version: dict[str, Any]) -> dict[str, Any]:
    begun = yard.call("reproduceModelVersion", modelVersion=version["modelVersion"])
    assert begun["status"] == "PENDING"
    assert begun["reproductionOf"] == version["modelVersion"]
    ended = wait_for_end(yard, begun["modelVersion"])
    assert ended["status"] == "COMPLETE", ended["error"]
    return ended


def test_a_version_says_the_five_things_that_it_is(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    group = make_table(yard, "five_rows", {"x": [1, 2]})
    version = trained(
        yard, functionSourceCode=STEADY, trainingInputTables=["five_rows"], trainingConfig={"SEED": 7, "LR": 1}
    )
    made = version["madeFrom"]
    [table] = yard.call("listFeatureGroupVersions", "GET", featureGroupId=group)
    [revision] = yard.call("listModelRevisions", "GET", modelId=version["modelId"])
    assert made["revision"]["modelRevision"] == revision["modelRevision"]
    assert (made["revision"]["number"], made["revision"]["sourceDigest"]) == (1, revision["sourceDigest"])
    assert "numpy==" in made["environment"]["lock"]
    assert "--hash=sha256:" in made["environment"]["lock"]
    assert made["tables"] == [
        {"tableName": "five_rows", "featureGroupId": group, "featureGroupVersion": table["featureGroupVersion"]}
    ]
    assert made["config"] == {"trainingConfig": {"SEED": 7, "LR": 1}, "seed": 7, "seedFrom": "CONFIG"}
    assert set(made["runtime"]) >= {"python", "platform", "modelyard", "cores", "memoryGib", "gpus", "hashSeed"}
    # The official client reads it as ever, and lists leave the lock out.
    assert yard.client().describe_model_version(version["modelVersion"]).status == "COMPLETE"
    [listed] = yard.call("listModelVersions", "GET", modelId=version["modelId"])
    assert listed["madeFrom"]["environment"]["lock"] is None
    assert listed["madeFrom"]["environment"]["lockDigest"] == made["environment"]["lockDigest"]


def test_a_seed_is_chosen_where_none_is_given_and_the_same_comes_out_again(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    group = make_table(yard, "steady_rows", {"x": [1, 2, 3]})
    version = trained(yard, functionSourceCode=STEADY, trainingInputTables=["steady_rows"])
    assert version["madeFrom"]["config"]["seedFrom"] == "PLATFORM"
    add_table_version(yard, group, {"x": [100]})
    yard.call("updatePythonModel", modelId=version["modelId"], functionSourceCode=WANDERING, trainingInputTables=[])
    again = reproduced(yard, version)
    assert again["reproduction"]["isSame"], again["reproduction"]["text"]
    assert again["reproduction"]["differences"] == []
    assert again["madeFrom"] == version["madeFrom"]
    # It replaces nothing.
    model = yard.call("describeModel", "GET", modelId=version["modelId"])
    assert model["latestModelVersion"]["modelVersion"] == version["modelVersion"]
    assert yard.call("getModelMetrics", "GET", modelId=version["modelId"])["modelVersion"] == version["modelVersion"]
    yard.call("deleteModelVersion", "DELETE", modelVersion=version["modelVersion"])
    assert yard.call("describeModel", "GET", modelId=version["modelId"])["latestModelVersion"] is None
    # What it was made from is held fast while any version lives that needs it.
    pinned = again["madeFrom"]["tables"][0]["featureGroupVersion"]
    with pytest.raises(CallFailed, match="was made from; it is kept"):
        yard.call("deleteFeatureGroupVersion", "DELETE", featureGroupVersion=pinned)
    with pytest.raises(CallFailed, match=rf"used by model version Concrete Model \({again['modelVersion']}\)"):
        yard.call("deleteFeatureGroup", "DELETE", featureGroupId=group)
    yard.call("deleteModelVersion", "DELETE", modelVersion=again["modelVersion"])
    yard.call("deleteFeatureGroup", "DELETE", featureGroupId=group)


def test_another_seed_gives_another_model(shared_yard: Yard) -> None:
    make_table(shared_yard, "seeded_rows", {"x": [1]})
    given: dict[str, Any] = {"functionSourceCode": STEADY, "trainingInputTables": ["seeded_rows"]}
    first, second, third = (
        trained(shared_yard, **given, trainingConfig={"KWARGS": {"seed": each}}) for each in (1, 1, 2)
    )
    losses = [
        shared_yard.call("getModelMetrics", "GET", modelId=each["modelId"])["algoMetrics"][each["modelId"]]["metrics"][
            "loss"
        ]
        for each in (first, second, third)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_what_does_not_come_out_the_same_is_told_file_by_file_and_metric_by_metric(shared_yard: Yard) -> None:
    version = trained(shared_yard, functionSourceCode=WANDERING)
    report = reproduced(shared_yard, version)["reproduction"]
    by_name = {each["name"]: each for each in report["differences"]}
    assert not report["isSame"]
    assert set(by_name) == {"artifact", "files.other.bin", "files.metrics.json", "metrics.loss"}
    loss = by_name["metrics.loss"]
    assert loss["by"] == loss["after"] - loss["before"]
    assert "metrics.loss: " in report["text"]


def test_only_what_came_out_can_be_reproduced(shared_yard: Yard) -> None:
    broken = make_model(shared_yard, functionSourceCode="def train():\n    return 1 / 0\n", predictFunctionName="")
    version = wait_for_end(shared_yard, broken["latestModelVersion"]["modelVersion"])
    with pytest.raises(CallFailed, match=r"ConflictError.*can't be reproduced: its training failed"):
        shared_yard.call("reproduceModelVersion", modelVersion=version["modelVersion"])


def test_a_reproduction_is_not_deployed_by_itself(shared_yard: Yard) -> None:
    version = trained(shared_yard, functionSourceCode=WANDERING)
    made = shared_yard.call("createDeployment", modelVersion=version["modelVersion"], start=False, autoDeploy=True)
    shared_yard.call("setAutoDeployment", deploymentId=made["deploymentId"], enable=True)
    again = reproduced(shared_yard, version)
    deployment = shared_yard.call("describeDeployment", "GET", deploymentId=made["deploymentId"])
    assert deployment["modelVersion"] == version["modelVersion"] != again["modelVersion"]


def test_two_versions_are_compared_in_all_that_they_were_made_from(shared_yard: Yard) -> None:
    group = make_table(shared_yard, "differing_rows", {"x": [1]})
    first = trained(
        shared_yard, functionSourceCode=STEADY, trainingInputTables=["differing_rows"], trainingConfig={"SEED": 1}
    )
    add_table_version(shared_yard, group, {"x": [1, 2]})
    changes: dict[str, Any] = {"packageRequirements": ["six"], "trainingConfig": {"SEED": 2}}
    changes["functionSourceCode"] = STEADY + "# more\n"
    shared_yard.call("updatePythonModel", modelId=first["modelId"], **changes)
    second = shared_yard.call("retrainModel", modelId=first["modelId"])["latestModelVersion"]["modelVersion"]
    wait_for_end(shared_yard, second)
    given = {"modelVersion": second, "baseModelVersion": first["modelVersion"]}
    found = shared_yard.call("diffModelVersions", "GET", **given)
    names = {each["name"] for each in found["differences"]}
    assert {"revision.number", "packages.six", "tables.differing_rows", "config.SEED", "metrics.rows"} <= names
    assert found["sourceDiff"].endswith("+# more\n")
    assert "metrics.rows: 1.0 -> 2.0 (+1)" in found["text"]
    same = {"modelVersion": second, "baseModelVersion": second}
    assert "They are the same." in shared_yard.call("diffModelVersions", "GET", **same)["text"]


def test_locks_that_can_not_be_read_are_compared_as_texts(desk: Yard) -> None:
    """Made by hand: the platform's own locks can be read, but one written by another release might not be."""
    model = make_model(desk, trainingInputTables=[])
    first = model["latestModelVersion"]["modelVersion"]
    second = desk.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
    locks = {first: f"six==1.0 --hash=sha256:{'0' * 64}\n", second: "six @ https://example.org/six.whl\nmore==1\n"}
    with desk.database.write() as session:
        for version, lock in locks.items():
            session.get_one(ModelVersion, ModelVersionId(version)).lock_digest = put_text(session, lock)
    found = desk.call("diffModelVersions", "GET", modelVersion=second, baseModelVersion=first)
    assert not [each for each in found["differences"] if each["name"].startswith("packages")]
    assert f"--- lock of version 1 ({first})\n+++ lock of version 2 ({second})\n" in found["lockDiff"]
    assert found["lockDiff"].endswith("+six @ https://example.org/six.whl\n+more==1\n")
    assert found["lockDiff"].rstrip() in found["text"]
    same = desk.call("diffModelVersions", "GET", modelVersion=second, baseModelVersion=second)
    assert (same["lockDiff"], "They are the same." in same["text"]) == ("", True)
    with desk.database.read() as session:
        record = session.get_one(ModelVersion, ModelVersionId(second))
        shown = _lines(session, record, describe_version(session, record, utc_now()))
    assert any("The lock can't be used" in line for line in shown)
    assert any(line.endswith("more==1") for line in shown)
