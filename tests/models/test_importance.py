"""Feature importance: what the official client is told, which target is taken, and when nothing is known."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import abacusai
import msgspec
import pytest
from sqlalchemy import select

from modelyard.execution import Run
from modelyard.ids import ModelVersionId
from modelyard.models.records import FeatureImportance
from modelyard.settings import Settings
from tests.models.house import add_table_version, make_model, make_project, make_table, wait_for_end
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

#: y is 3 a + b, whatever c says; k says nothing at all.
SOURCE = """
import numpy


def train(rows):
    names = ["a", "b", "c", "k"]
    weights, *_ = numpy.linalg.lstsq(rows[names].to_numpy(dtype=float), rows["y"].to_numpy(), rcond=None)
    return dict(zip(names, weights.tolist()))


def predict(model, query):
    return {"y": sum(weight * query[name] for name, weight in model.items())}


def predict_many(model, queries):
    return sum(weight * queries[name] for name, weight in model.items())
"""


def numbers(rows: int = 300, seed: int = 5) -> dict[str, list[Any]]:
    draw = random.Random(seed)
    columns: dict[str, list[Any]] = {name: [draw.gauss(0, 1) for _ in range(rows)] for name in "abc"}
    columns["k"] = [1.0] * rows
    columns["y"] = [3 * a + b for a, b in zip(columns["a"], columns["b"], strict=True)]
    return columns


def trained(yard: Yard, table: str, **parameters: Any) -> dict[str, Any]:
    """A complete version of a model on that table."""
    given: dict[str, Any] = {
        "functionSourceCode": SOURCE, "trainingInputTables": [table], "predictManyFunctionName": "predict_many",
    }  # fmt: skip
    model = make_model(yard, **(given | parameters))
    version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    return version


def ask(yard: Yard, version: dict[str, Any]) -> dict[str, Any]:
    asked = yard.call("getFeatureImportanceByModelVersion", "GET", modelVersion=version["modelVersion"])
    return dict(asked)


def test_the_official_client_is_told_which_columns_matter_and_how(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    group = make_table(yard, "told", numbers())
    version = trained(yard, "told", trainingConfig={"TARGET": "y", "SEED": 7})
    add_table_version(yard, group, {"unlike": [1]})  # the version's own rows are measured on, not the newest
    with pytest.raises(CallFailed, match="Nobody has asked"):
        yard.call("describeFeatureImportance", "GET", modelVersion=version["modelVersion"])
    found = yard.client().get_feature_importance_by_model_version(version["modelVersion"])
    assert isinstance(found, abacusai.FeatureImportance)
    told = found.permutation_feature_importance
    assert list(told)[:2] == ["a", "b"]
    # Exchanged, a column leaves twice its share of the variance unexplained: 9 and 1 parts of 10.
    assert told["a"] == pytest.approx(1.8, abs=0.15)
    assert told["b"] == pytest.approx(0.2, abs=0.05)
    assert told["c"] == pytest.approx(0, abs=1e-9)
    assert told["k"] == 0
    assert found.shap_feature_importance is None
    details = ask(yard, version)["details"]
    assert (details["target"], details["tableName"], details["metric"]) == ("y", "told", "R2")
    assert details["featureGroupVersion"] == version["featureGroupVersions"][0]
    assert (details["score"], details["rows"], details["seed"]) == (pytest.approx(1), 300, 7)
    assert 0 < details["deviations"]["a"] < 0.2
    progress = yard.call("describeFeatureImportance", "GET", modelVersion=version["modelVersion"])
    assert (progress["status"], progress["measured"], progress["columns"]) == ("COMPLETE", 4, 4)
    metrics = yard.call("getModelMetrics", "GET", modelId=version["modelId"])
    assert metrics["targetColumn"] == "y"


def test_what_the_training_imported_first_is_imported_before_the_rows_come(shared_yard: Yard) -> None:
    before = "    names = list(sys.modules)\n    assert names.index('joblib') < names.index('modelyard_guest.train')\n"
    source = "import joblib\nimport sys\n" + SOURCE.replace("    return {", f"{before}    return {{")
    source = source.replace("def predict_many(", "def unused(")
    make_table(shared_yard, "first", numbers(20))
    given = {"functionSourceCode": source, "predictManyFunctionName": None, "trainingConfig": {"TARGET": "y"}}
    version = trained(shared_yard, "first", **given)
    assert ask(shared_yard, version)["details"]["metric"] == "R2"


def test_it_is_measured_once_and_goes_with_its_version(shared_yard: Yard) -> None:
    make_table(shared_yard, "once", numbers())
    version = trained(shared_yard, "once", trainingConfig={"KWARGS": {"target": "y"}})
    assert ask(shared_yard, version) == ask(shared_yard, version)
    assert len(runs(shared_yard, version)) == 1
    shared_yard.call("deleteModelVersion", "DELETE", modelVersion=version["modelVersion"])
    with shared_yard.database.read() as session:
        assert session.get(FeatureImportance, ModelVersionId(version["modelVersion"])) is None


def runs(yard: Yard, version: dict[str, Any]) -> list[str]:
    with yard.database.read() as session:
        mine = select(Run.state).where(Run.target == version["modelVersion"], Run.kind == "models.importance")
        return list(session.scalars(mine))


def test_the_same_seed_gives_the_same_importances_by_predict_and_by_predict_many(shared_yard: Yard) -> None:
    make_table(shared_yard, "steady", numbers())
    config = {"TARGET": "y", "SEED": 3}
    many = trained(shared_yard, "steady", trainingConfig=config)
    single = trained(shared_yard, "steady", trainingConfig=config, predictManyFunctionName=None)
    by_many, by_one = (ask(shared_yard, each)["permutationFeatureImportance"] for each in (many, single))
    assert by_one == pytest.approx(by_many)


def test_the_table_of_the_target_is_asked_with_and_the_others_come_along(shared_yard: Yard) -> None:
    make_table(shared_yard, "factors", {"factor": [2.0]})
    make_table(shared_yard, "priced", {"x": [float(at) for at in range(40)], "y": [2.0 * at for at in range(40)]})
    source = (
        "def train(factors, priced):\n    return 1\n\n\n"
        "def predict(model, query, factors, priced):\n    assert len(priced) == 40\n"
        "    x = query.pop('x')\n    return factors['factor'][0] * x\n"
    )
    version = trained(
        shared_yard, "", trainingInputTables=["factors", "priced"], functionSourceCode=source,
        predictManyFunctionName=None, trainingConfig={"TARGET": "y"},
    )  # fmt: skip
    found = ask(shared_yard, version)
    assert (found["details"]["tableName"], found["details"]["score"]) == ("priced", 1)
    assert list(found["permutationFeatureImportance"]) == ["x"]


@pytest.mark.parametrize(
    "answers",
    [
        "def predict_many(model, queries: list):\n    return [{'prediction': each['a']} for each in queries]\n",
        "import pyarrow\n\n\ndef predict_many(model, queries: pyarrow.Table):\n    return queries['a']\n",
        "def predict_many(model, queries):\n    queries['a'] *= 1.0\n    return queries[['a']]\n",
    ],
)
def test_each_form_of_queries_and_answers_is_understood(shared_yard: Yard, answers: str) -> None:
    make_table(shared_yard, f"forms{abs(hash(answers))}", numbers(60))
    version = trained(
        shared_yard, f"forms{abs(hash(answers))}", functionSourceCode=f"def train(rows):\n    return 1\n\n\n{answers}",
        predictFunctionName=None, trainingConfig={"TARGET": "y"},
    )  # fmt: skip
    found = ask(shared_yard, version)["permutationFeatureImportance"]
    assert found["a"] > 0.5
    assert {name: found[name] for name in "bck"} == {"b": 0, "c": 0, "k": 0}


def test_classes_are_hit_or_missed(shared_yard: Yard) -> None:
    draw = random.Random(1)
    size = [draw.uniform(0, 10) for _ in range(400)]
    columns: dict[str, list[Any]] = {
        "size": size,
        "noise": [draw.random() for _ in size],
        "kind": ["big" if s > 5 else "small" for s in size],
    }
    make_table(shared_yard, "kinds", {**columns, "late": [None, *range(399)]})
    answers = {
        "the class": "'big' if q['size'] > 5 else 'small'",
        "chances": "{'big': float(q['size'] > 5), 'small': float(q['size'] <= 5)}",
        "a list of one": "['big' if q['size'] > 5 else 'small']",
        "under a name": "{'predicted_kind': 'big' if q['size'] > 5 else 'small', 'why': 1}",
    }
    for answer in answers.values():
        source = f"def train(rows):\n    return 1\n\n\ndef predict(model, q):\n    return {answer}\n"
        version = trained(
            shared_yard,
            "kinds",
            functionSourceCode=source,
            predictManyFunctionName=None,
            trainingConfig={"TARGET": "kind"},
        )
        found = ask(shared_yard, version)
        assert (found["details"]["metric"], found["details"]["score"]) == ("ACCURACY", 1)
        assert found["permutationFeatureImportance"]["size"] == pytest.approx(0.5, abs=0.1)
        assert found["permutationFeatureImportance"]["noise"] == 0


def test_rows_without_a_target_are_left_out_and_flags_count_as_numbers(shared_yard: Yard) -> None:
    draw = random.Random(2)
    x = [draw.random() for _ in range(200)]
    flags = [None if at % 10 == 0 else each > 0.5 for at, each in enumerate(x)]
    make_table(shared_yard, "flags", {"x": x, "flag": flags})
    source = "def train(rows):\n    return 1\n\n\ndef predict(model, q):\n    return q['x']\n"
    version = trained(
        shared_yard, "flags", functionSourceCode=source, predictManyFunctionName=None, trainingConfig={"TARGET": "flag"}
    )
    details = ask(shared_yard, version)["details"]
    assert (details["rows"], details["metric"]) == (180, "R2")


def test_the_target_may_be_said_after_the_training_and_another_one_is_measured_anew(shared_yard: Yard) -> None:
    columns = numbers()
    group = make_table(shared_yard, "later", columns | {"z": [-each for each in columns["y"]]})
    project = make_project(shared_yard, "Later")
    version = trained(shared_yard, "later", projectId=project)
    with pytest.raises(CallFailed, match="set TARGET in the training config") as refused:
        ask(shared_yard, version)
    assert "setFeatureMapping" in refused.value.error
    shared_yard.call("addFeatureGroupToProject", featureGroupId=group, projectId=project)
    shared_yard.call(
        "setFeatureMapping", projectId=project, featureGroupId=group, featureName="y", featureMapping="TARGET"
    )
    assert ask(shared_yard, version)["details"]["score"] == pytest.approx(1)
    shared_yard.call("setModelTrainingConfig", "PATCH", modelId=version["modelId"], trainingConfig={"TARGET": "z"})
    found = ask(shared_yard, version)
    assert (found["details"]["target"], found["details"]["score"] < 0) == ("z", True)
    assert "y" in found["permutationFeatureImportance"]
    assert len(runs(shared_yard, version)) == 2


def test_each_way_in_which_nothing_can_be_told_says_why(shared_yard: Yard) -> None:
    make_table(shared_yard, "ways", numbers(50) | {"when": [[1]] * 50, "same": [2] * 50})
    config = {"TARGET": "y"}
    body = "def train(rows):\n    return 1\n\n\ndef predict(model, q):\n    {}\n"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"trainingConfig": {"TARGET": "nowhere"}}, "no table of the training has such a column. They have a, b, c, k"),
        ({"trainingConfig": {"TARGET": "when"}}, "values of the type list; numbers, yes and no, or texts"),
        ({"trainingConfig": {"TARGET": "same"}}, "has one value only in the sample, 2"),
        (
            {"functionSourceCode": body.format("return {'x': 1, 'z': 2}")},
            "keys ['x', 'z'], none of which is the target's",
        ),
        ({"functionSourceCode": body.format("return None")}, "A prediction is None, from which no value"),
        ({"functionSourceCode": body.format("return float('nan')")}, "A prediction is nan, from which"),
        ({"functionSourceCode": body.format("return 'blue'")}, "is among the values of the target 'y'"),
        ({"functionSourceCode": body.format("raise KeyError('lost')")}, 'File "model.py", line 6, in predict'),
        ({"functionSourceCode": body.format("import os; os._exit(3)")}, "ended by itself with status 3"),
    ]
    for parameters, words in cases:
        version = trained(
            shared_yard, "ways", **({"trainingConfig": config, "predictManyFunctionName": None} | parameters)
        )
        with pytest.raises(CallFailed) as refused:
            ask(shared_yard, version)
        assert (refused.value.error_type, words in refused.value.error) == ("ConflictError", True), refused.value.error
        if "ended by itself" in words:
            told = shared_yard.call("describeFeatureImportance", "GET", modelVersion=version["modelVersion"])
            assert (told["status"], words in told["error"]) == ("FAILED", True)


def test_versions_that_have_no_columns_to_tell_of_are_refused(shared_yard: Yard) -> None:
    waiting = make_model(shared_yard, functionSourceCode="def train():\n    import time\n    time.sleep(600)\n",
                         predictFunctionName=None, trainingInputTables=[])["latestModelVersion"]  # fmt: skip
    with pytest.raises(CallFailed, match="NotReadyError"):
        ask(shared_yard, waiting)
    shared_yard.call("cancelTraining", modelVersion=waiting["modelVersion"])
    wait_for_end(shared_yard, waiting["modelVersion"])
    with pytest.raises(CallFailed, match="asked for its feature importance: its training failed"):
        ask(shared_yard, waiting)
    bare = wait_for_end(shared_yard, make_model(shared_yard)["latestModelVersion"]["modelVersion"])
    with pytest.raises(CallFailed, match="trained without tables"):
        ask(shared_yard, bare)
    make_table(shared_yard, "mute", numbers(20))
    mute = trained(
        shared_yard, "mute", functionSourceCode="def train(rows):\n    return 1\n", predictFunctionName=None,
        predictManyFunctionName=None, trainingConfig={"TARGET": "y"},
    )  # fmt: skip
    with pytest.raises(CallFailed, match="has no function for predictions"):
        ask(shared_yard, mute)


def test_what_takes_too_long_is_stopped_and_says_how_far_it_came(settings: Settings) -> None:
    source = (
        "import time\n\n\ndef train(rows):\n    return {'calls': 0}\n\n\ndef predict_many(model, queries):\n"
        "    model['calls'] += 1\n    if model['calls'] > 6:\n        time.sleep(600)\n    return queries.a\n"
    )
    with Yard(msgspec.structs.replace(settings, importance_timeout_s=4, importance_rows=10)) as yard:
        make_table(yard, "long", numbers())
        version = trained(
            yard, "long", functionSourceCode=source, predictFunctionName=None, trainingConfig={"TARGET": "y"}
        )
        with pytest.raises(
            CallFailed, match=r"longer than 4 seconds \(importance_timeout_s\).*column 'b', the 2. of 4"
        ):
            ask(yard, version)


def test_deleting_a_version_ends_its_measuring(settings: Settings) -> None:
    source = SOURCE.replace("    return sum(", "    import time; time.sleep(0.2); return sum(")
    with Yard(settings) as yard, ThreadPoolExecutor(1) as pool:
        make_table(yard, "gone", numbers())
        version = trained(yard, "gone", functionSourceCode=source, trainingConfig={"TARGET": "y"})
        asking = pool.submit(ask, yard, version)
        wait_until(lambda: runs(yard, version) == ["RUNNING"], 60)
        yard.call("deleteModel", "DELETE", modelId=version["modelId"])
        with pytest.raises(CallFailed, match="DataNotFoundError"):
            asking.result(60)
        wait_until(lambda: runs(yard, version) in (["CANCELLED"], ["FAILED"]), 60)
