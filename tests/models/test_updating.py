"""updatePythonModel: every argument, every exception of its page, and nothing kept of what is refused."""

from typing import Any

import pytest
from sqlalchemy import func, select

from modelyard.ids import ModelId
from modelyard.models.records import ModelRevision, ModelText
from tests.models.house import SOURCE, make_model, make_project, make_table
from tests.yard import CallFailed, Yard

OTHER = SOURCE.replace('"training"', '"training otherwise"') + "\n\ndef start(model):\n    return model\n"


def revisions(desk: Yard, model: dict[str, Any]) -> list[ModelRevision]:
    with desk.database.read() as session:
        query = select(ModelRevision).where(ModelRevision.model_id == ModelId(model["modelId"]))
        return list(session.scalars(query.order_by(ModelRevision.number)))


def update(desk: Yard, model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = desk.call("updatePythonModel", modelId=model["modelId"], **changes)
    return answer


def test_a_new_model_is_pending_in_its_first_version(desk: Yard) -> None:
    model = make_model(desk)
    assert model["latestModelVersion"]["status"] == "PENDING"
    assert model["name"] == "Concrete Model"
    assert model["trainingRequired"] is True
    assert [each.number for each in revisions(desk, model)] == [1]


def test_every_argument_is_kept_and_shown(desk: Yard) -> None:
    group = make_table(desk, "all_arguments", {"x": [1]})
    model = update(
        desk,
        make_model(desk),
        functionSourceCode=OTHER,
        trainFunctionName="train",
        predictFunctionName="predict",
        predictManyFunctionName="predict",
        initializeFunctionName="start",
        trainingInputTables=["all_arguments"],
        cpuSize="large",
        memory=16,
        packageRequirements=["numpy>=1.20", "Requests"],
        useGpu=True,
        isThreadSafe=1,
        trainingConfig={"TIMEOUT_MINUTES": 5, "LR": 0.1, "NESTED": {"x": 2}},
    )
    shown = {name: model[name] for name in ("cpuSize", "memory", "useGpu", "isThreadSafe", "initializeFunctionName")}
    assert shown == {
        "cpuSize": "large", "memory": 16, "useGpu": True, "isThreadSafe": True, "initializeFunctionName": "start",
    }  # fmt: skip
    assert model["sourceCode"] == model["codeSource"]["sourceCode"] == OTHER
    assert model["predictManyFunctionName"] == "predict"
    assert model["trainingInputTables"] == ["all_arguments"]
    assert model["trainingFeatureGroupIds"] == [group]
    assert [each.lower() for each in model["codeSource"]["packageRequirements"]] == ["numpy>=1.20", "requests"]
    assert model["modelConfig"] == {
        "ALGORITHM": None, "KWARGS": {"LR": 0.1, "NESTED": {"x": 2}}, "PROBLEM_TYPE": "trainable_plug_and_play",
        "TIMEOUT_MINUTES": 5, "LR": 0.1, "NESTED": {"x": 2},
    }  # fmt: skip
    assert model["latestModelVersion"]["trainingConfigUpdated"] is True


def test_what_is_left_out_or_null_stays(desk: Yard) -> None:
    before = make_model(desk, memory=3, cpuSize="medium", trainingConfig={"LR": 1}, packageRequirements=["numpy"])
    after = update(desk, before, cpuSize=None, memory=None, trainingConfig=None, useGpu=None, trainFunctionName=None)
    changing = {"latestModelVersion", "trainingRequired"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert len(revisions(desk, before)) == 2


def test_an_empty_text_takes_an_optional_function_away_and_an_empty_list_clears(desk: Yard) -> None:
    make_table(desk, "to_be_cleared", {"x": [1]})
    model = make_model(desk, trainingInputTables=["to_be_cleared"], packageRequirements=["numpy"])
    model = update(desk, model, predictFunctionName="", trainingInputTables=[], packageRequirements=[])
    assert model["predictFunctionName"] is None
    assert model["trainingInputTables"] == model["trainingFeatureGroupIds"] == []
    assert model["codeSource"]["packageRequirements"] == []


@pytest.mark.parametrize(("given", "kept"), [(True, True), (False, False), (1, True), (0, False)])
def test_is_thread_safe_may_be_a_number_or_a_truth_value(desk: Yard, given: object, kept: bool) -> None:
    assert update(desk, make_model(desk), isThreadSafe=given)["isThreadSafe"] is kept


def test_package_requirements_may_be_a_mapping_from_name_to_version(desk: Yard) -> None:
    model = update(desk, make_model(desk), packageRequirements={"numpy": "2.0.0"})
    assert model["codeSource"]["packageRequirements"] == ["numpy==2.0.0"]


def test_an_import_that_is_known_becomes_an_inferred_requirement(desk: Yard) -> None:
    model = update(desk, make_model(desk), functionSourceCode="import catboost\n" + SOURCE + "\nprint(catboost)\n")
    assert model["codeSource"]["packageRequirements"] == []
    assert model["codeSource"]["publishingMsg"]["inferredRequirements"] == ["catboost"]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"cpuSize": "huge"}, "InvalidEnumParameterError", "small, medium, large"),
        ({"functionSourceCode": "def train(:\n    pass"}, "ConflictError", "line 1"),
        ({"functionSourceCode": "def predict(model, query):\n    return 1"}, "ConflictError", "train"),
        ({"predictFunctionName": "nowhere"}, "ConflictError", "nowhere"),
        ({"trainFunctionName": ""}, "InvalidParameterError", "trainFunctionName"),
        ({"trainingInputTables": ["no_such_table"]}, "InvalidParameterError", "no_such_table"),
        ({"trainingInputTables": ["a\x00b"]}, "InvalidParameterError", "NUL"),
        ({"packageRequirements": ["numpy @ http://x/y"]}, "InvalidParameterError", "numpy @ http://x/y"),
        ({"memory": 0}, "InvalidParameterError", "between 1 and 1024"),
        ({"memory": "much"}, "InvalidParameterError", "memory"),
        ({"isThreadSafe": 2}, "InvalidParameterError", "isThreadSafe"),
        ({"trainingConfig": {"TIMEOUT_MINUTES": -1}}, "InvalidParameterError", "TIMEOUT_MINUTES"),
        ({"modelId": "0123456789"}, "DataNotFoundError", "0123456789"),
        ({"useGPU": True}, "InvalidParameterError", "useGpu"),
    ],
)
def test_what_is_refused_leaves_no_trace(desk: Yard, changes: dict[str, object], error: str, words: str) -> None:
    model = make_model(desk)
    before = desk.call("describeModel", "GET", modelId=model["modelId"])
    with desk.database.read() as session:
        texts = session.scalar(select(func.count()).select_from(ModelText))
    with pytest.raises(CallFailed) as failure:
        desk.call("updatePythonModel", **({"modelId": model["modelId"]} | changes))
    assert failure.value.error_type == error
    assert words in failure.value.error
    assert desk.call("describeModel", "GET", modelId=model["modelId"]) == before
    assert len(revisions(desk, model)) == 1
    with desk.database.read() as session:
        assert session.scalar(select(func.count()).select_from(ModelText)) == texts


def test_a_model_that_is_no_python_model_is_refused(desk: Yard) -> None:
    model = make_model(desk)
    with desk.database.write() as session:
        from modelyard.models.records import Model

        session.get_one(Model, ModelId(model["modelId"])).is_python_model = False
    with pytest.raises(CallFailed, match="not a Python model"):
        update(desk, model, memory=2)


def test_nothing_is_made_where_creating_is_refused(desk: Yard) -> None:
    project = make_project(desk, "Empty")
    for broken in ({"functionSourceCode": "import"}, {"trainingInputTables": ["missing"]}, {"cpuSize": "tiny"}):
        with pytest.raises(CallFailed):
            make_model(desk, projectId=project, **broken)
    with pytest.raises(CallFailed, match="DataNotFoundError"):
        make_model(desk, projectId="0123456789")
    assert desk.call("listModels", "GET", projectId=project) == []


def test_the_notebook_that_changes_a_model_is_remembered(desk: Yard) -> None:
    import requests

    model = make_model(desk)
    assert model["notebookId"] is None
    headers = {"apiKey": desk.key, "notebookId": "abc123"}
    body = {"modelId": model["modelId"], "memory": 2}
    requests.post(f"{desk.url}/api/v0/updatePythonModel", json=body, headers=headers, timeout=30).raise_for_status()
    assert desk.call("describeModel", "GET", modelId=model["modelId"])["notebookId"] == "abc123"


def test_older_revisions_stay_as_they_were(desk: Yard) -> None:
    model = make_model(desk)
    update(desk, model, functionSourceCode=OTHER, memory=8)
    update(desk, model, memory=9)
    first, second, third = revisions(desk, model)
    assert (first.memory_gib, second.memory_gib, third.memory_gib) == (None, 8, 9)
    assert first.source_digest != second.source_digest == third.source_digest
    assert len({each.revision_id for each in (first, second, third)}) == 3
    version = desk.call("describeModel", "GET", modelId=model["modelId"])["latestModelVersion"]
    assert version["codeSource"]["sourceCode"] == SOURCE


def test_a_large_source_is_left_out_of_lists_and_shown_alone(desk: Yard) -> None:
    large = SOURCE + "\n# " + "x" * 100_000
    model = make_model(desk, functionSourceCode=large)
    (listed,) = desk.call("listModels", "GET", projectId=model["projectId"])
    assert listed["sourceCode"] is None
    assert desk.call("describeModel", "GET", modelId=model["modelId"])["sourceCode"] == large
    (version,) = desk.call("listModelVersions", "GET", modelId=model["modelId"])
    assert version["codeSource"]["sourceCode"] is None
    found = desk.call("describeModelVersion", "GET", modelVersion=version["modelVersion"])
    assert found["codeSource"]["sourceCode"] == large


def test_the_training_config_can_be_set_alone(desk: Yard) -> None:
    group = make_table(desk, "for_config", {"x": [1]})
    model = make_model(desk)
    answer = desk.call(
        "setModelTrainingConfig", "PATCH", modelId=model["modelId"], trainingConfig={"LR": 2}, featureGroupIds=[group]
    )
    assert answer["modelConfig"]["LR"] == 2
    assert answer["trainingInputTables"] == ["for_config"]
