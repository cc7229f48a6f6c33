"""A dry run: every stage of a model's life on a sample of rows, told stage by stage, and nothing of a model changed."""

import time
from typing import Any

import msgspec
import pytest

from modelyard.models.records import ModelValidation
from modelyard.settings import Settings
from tests.models.house import SOURCE, add_table_version, make_model, make_table, wait_for_end
from tests.models.trees import FILES, NAMES, send, wait_for_code, zipped
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

WHOLE = """
import json, os
import pandas


def train(rows, other, training_config=None):
    with open("metrics.json", "w") as out:
        json.dump({"rows": len(rows)}, out)
    with open("left.txt", "w") as out:
        out.write("left")
    return {"mean": float(rows["x"].mean()), "names": sorted(rows.columns), "config": training_config}


def initialize(model):
    return model | {"ready": os.path.exists("left.txt")}


def predict(model, query):
    return {"asked": query, "model": model}


def predict_many(model, queries: pandas.DataFrame):
    return (queries["x"] * 2).tolist()
"""


def validated(yard: Yard, timeout_s: float = 240, **given: Any) -> dict[str, Any]:
    begun = yard.call("validatePythonModel", **given)
    deadline = time.monotonic() + timeout_s
    while True:
        found: dict[str, Any] = yard.call("describeModelValidation", "GET", modelValidation=begun["modelValidation"])
        if found["status"] in ("COMPLETE", "FAILED"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def stages(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in found["stages"]}


def new(source: str, **given: Any) -> dict[str, Any]:
    return {"functionSourceCode": source, "trainFunctionName": "train", "predictFunctionName": "predict"} | given


def test_every_stage_is_told_with_what_it_took_and_what_came_out(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    make_table(yard, "tried_rows", {"x": [float(each) for each in range(5000)], "name": ["a"] * 5000})
    raw = make_table(yard, "tried_raw", {"y": [1, 2]})
    yard.call("createFeatureGroup", tableName="tried_other", sql="SELECT y + 1 AS y FROM tried_raw")
    found = validated(
        yard, sampleRows=100, trainingConfig={"LR": 1},
        **new(WHOLE, trainingInputTables=["tried_rows", "tried_other"], initializeFunctionName="initialize",
              predictManyFunctionName="predict_many"),
    )  # fmt: skip
    assert found["status"] == "COMPLETE", found["error"]
    assert found["error"] is None
    told = stages(found)
    assert {each["status"] for each in found["stages"]} == {"COMPLETE"}
    assert all(each["seconds"] is not None for each in found["stages"][1:])
    assert told["tables"]["message"] == "tried_rows: 5,000 rows, tried_other: 2 rows"
    assert told["import"]["message"] == "tried_rows: 100 of 5,000 rows, tried_other: 2 of 2 rows"
    assert "rows 100" in told["train"]["message"]
    answer = told["predict"]["answer"]
    assert answer["asked"] == told["predict"]["query"]
    assert set(answer["asked"]) == {"x", "name"}
    assert answer["model"]["ready"] is True
    assert answer["model"]["config"] == {"LR": 1}
    assert 500 < answer["model"]["mean"] < 4500  # drawn from all over the table, not from its head
    assert len(told["predictMany"]["answer"]) == 10
    # What was missing was made, and is there for the training.
    assert yard.call("listFeatureGroupVersions", "GET", featureGroupId=raw)
    assert yard.call("describeFeatureGroupByTableName", "GET", tableName="tried_other")["latestFeatureGroupVersion"]


BROKEN = SOURCE.replace('print("training")', 'raise ValueError("no rows of this kind")')
LEFT = """
seen = []

def train(*tables):
    seen.append(1)
    return 1

def predict(model, query):
    return seen[0]
"""


@pytest.mark.parametrize(
    ("source", "stage", "words", "line"),
    [
        ("def train(:\n    pass", "check", "line 1", ""),
        ("import nothing_of_that_name_here\n" + SOURCE, "check", "nothing_of_that_name_here", ""),
        ("x = 1 / 0\n" + SOURCE, "import", "division by zero", "model.py"),
        (BROKEN, "train", "no rows of this kind", 'raise ValueError("no rows of this kind")'),
        (SOURCE.replace('return {"tables": len(tables)}', "return open('x', 'w')"), "train", "can't be pickled", ""),
        (SOURCE.replace('return model["tables"]', "return query['price']"), "predict", "price", "query['price']"),
        (SOURCE.replace('return model["tables"]', "return object()"), "predict", "object", ""),
        (LEFT, "predict", "list index out of range", "return seen[0]"),
    ],
)
def test_a_stage_that_fails_is_told_with_the_users_own_lines(
    shared_yard: Yard, source: str, stage: str, words: str, line: str
) -> None:
    found = validated(shared_yard, query={"x": 1}, **new(source))
    assert found["status"] == "FAILED"
    told = stages(found)
    assert told[stage]["status"] == "FAILED"
    assert words in found["error"]
    assert found["error"].startswith(f"{stage}: ")
    if line:
        assert line in told[stage]["exception"]["traceback"]
    names = list(told)
    assert {told[name]["status"] for name in names[names.index(stage) + 1 :]} <= {"SKIPPED"}


def test_a_model_is_tried_with_changes_and_stays_as_it_is(shared_yard: Yard) -> None:
    model = make_model(shared_yard)
    before = shared_yard.call("listModelRevisions", "GET", modelId=model["modelId"])
    found = validated(shared_yard, modelId=model["modelId"], functionSourceCode=BROKEN)
    assert found["status"] == "FAILED"
    assert found["modelId"] == model["modelId"]
    assert shared_yard.call("listModelRevisions", "GET", modelId=model["modelId"]) == before
    told = stages(validated(shared_yard, modelId=model["modelId"]))
    assert told["predict"]["status"] == "SKIPPED"
    assert "pass a query" in told["predict"]["message"]
    shared_yard.call("deleteModel", "DELETE", modelId=model["modelId"])
    with pytest.raises(CallFailed, match="DataNotFoundError"):
        shared_yard.call("describeModelValidation", "GET", modelValidation=found["modelValidation"])


def test_what_can_not_be_tried_at_all_is_refused(shared_yard: Yard) -> None:
    for given, words in (
        ({}, "Pass functionSourceCode"),
        (new(SOURCE, sampleRows=0), "sampleRows is 0"),
        (new(SOURCE, trainingInputTables=["nowhere"]), "nowhere"),
        ({"modelId": "0"}, "was not found"),
    ):
        with pytest.raises(CallFailed, match=words):
            shared_yard.call("validatePythonModel", **given)


def test_a_dry_run_has_its_time(settings: Settings) -> None:
    with Yard(msgspec.structs.replace(settings, validation_timeout_s=2.0)) as yard:
        found = validated(yard, **new(SOURCE.replace('print("training")', "import time; time.sleep(60)")))
    assert stages(found)["train"]["message"] == "The dry run took longer than its 2 seconds and was stopped."


def test_an_update_whose_dry_run_fails_is_refused_where_the_house_says_so(settings: Settings) -> None:
    with Yard(msgspec.structs.replace(settings, validate_updates=True)) as yard:
        model = make_model(yard)
        changed = yard.call("updatePythonModel", modelId=model["modelId"], functionSourceCode=SOURCE + "# more\n")
        assert changed["sourceCode"].endswith("# more\n")
        with pytest.raises(CallFailed, match=r"ConflictError(?s:.*)train: ValueError: no rows of this kind") as refused:
            yard.call("updatePythonModel", modelId=model["modelId"], functionSourceCode=BROKEN)
        assert 'raise ValueError("no rows of this kind")' in refused.value.error
        assert len(yard.call("listModelRevisions", "GET", modelId=model["modelId"])) == 2


COUNTING = """
import limits


def train(rows):
    if len(rows) > limits.MOST:
        raise ValueError(f"{len(rows)} rows are too many")
    return len(rows)


def predict(model, query):
    return model
"""


def test_a_dry_run_that_was_passed_counts_until_a_table_or_a_module_changes(settings: Settings) -> None:
    with Yard(msgspec.structs.replace(settings, validate_updates=True)) as yard:
        group = make_table(yard, "counted", {"x": [1, 2]})
        yard.call("createModule", name="limits", sourceCode="MOST = 3\n")
        model_id = make_model(yard, trainingInputTables=["counted"])["modelId"]

        def update(memory: int = 2) -> int:
            """How many dry runs there are then."""
            yard.call("updatePythonModel", modelId=model_id, functionSourceCode=COUNTING, memory=memory)
            with yard.database.read() as session:
                return int(session.query(ModelValidation).count())

        assert [update(), update(), update(memory=3), update(memory=3)] == [1, 1, 2, 2]
        yard.call("updateModule", "PATCH", name="limits", sourceCode="MOST = 2\n")
        assert [update(3), update(3)] == [3, 3]
        add_table_version(yard, group, {"x": [1, 2, 3]})
        with pytest.raises(CallFailed, match="3 rows are too many"):
            update(3)
        yard.call("updateModule", "PATCH", name="limits", sourceCode="MOST = 4\n")
        assert [update(3), update(3)] == [5, 5]


def test_code_of_several_files_is_tried_and_made_again(shared_yard: Yard) -> None:
    model = make_model(shared_yard)
    upload = shared_yard.call("updatePythonModelZip", modelId=model["modelId"], **NAMES)
    send(shared_yard, upload["uploadId"], zipped(FILES))
    assert wait_for_code(shared_yard, model["modelId"])["codeSource"]["status"] == "COMPLETE"
    found = validated(shared_yard, modelId=model["modelId"], query={"x": 2})
    assert found["status"] == "COMPLETE", found["error"]
    assert stages(found)["predict"]["answer"] == 16
    assert stages(found)["predictMany"]["answer"] == [16]
    begun = shared_yard.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
    assert wait_for_end(shared_yard, begun)["status"] == "COMPLETE"
    again = shared_yard.call("reproduceModelVersion", modelVersion=begun)["modelVersion"]
    report = wait_for_end(shared_yard, again)["reproduction"]
    assert report["isSame"], report["text"]
