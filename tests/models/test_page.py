"""The page "updatePythonModel", word for word: its arguments, the types of its answer's keys, its exceptions.

`documented_page.json` holds what the page says. Each argument is given in every way in which a caller can give it.
"""

import json
from pathlib import Path
from typing import Any

import abacusai
import pytest
import requests
from abacusai.client import ApiException

from modelyard.app import all_actions
from tests.models.house import SOURCE, make_model, make_table, wait_for_end
from tests.models.test_keys import NESTED
from tests.yard import Yard

PAGE: dict[str, Any] = json.loads((Path(__file__).parent / "documented_page.json").read_text())
KEYS: dict[str, list[str]] = json.loads((Path(__file__).parent / "documented_keys.json").read_text())
MORE = f"""{SOURCE}

def start(model):
    return model


def predict_many(model, queries):
    return [1] * len(queries)
"""
PYTHON = {"str": str, "dict": dict, "bool": bool, "list": list, "int": int}
#: An argument, a value of the type that the page names, the answer's key that shows it, and what is shown.
GIVEN: list[tuple[str, Any, str, Any]] = [
    ("functionSourceCode", MORE, "sourceCode", MORE),
    ("trainFunctionName", "train", "trainFunctionName", "train"),
    ("predictFunctionName", "predict", "predictFunctionName", "predict"),
    ("predictManyFunctionName", "predict_many", "predictManyFunctionName", "predict_many"),
    ("initializeFunctionName", "start", "initializeFunctionName", "start"),
    ("trainingInputTables", ["page_rows"], "trainingInputTables", ["page_rows"]),
    ("cpuSize", "medium", "cpuSize", "medium"),
    ("memory", 6, "memory", 6),
    ("packageRequirements", ["numpy==1.2.3", "pandas>=1.4.0"], "", None),
    ("useGpu", True, "useGpu", True),
    ("isThreadSafe", 1, "isThreadSafe", True),
    ("trainingConfig", {"TIMEOUT_MINUTES": 9}, "", None),
]


def snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)


def given_by(desk: Yard, how: str, model_id: str, name: str, value: Any) -> dict[str, Any]:
    """The whole answer to the change, given in that way."""
    url, headers = f"{desk.url}/api/v0/updatePythonModel", {"apiKey": desk.key}
    text = value if isinstance(value, str) else str(value) if isinstance(value, bool) else json.dumps(value)
    if how == "json":
        return requests.post(url, json={"modelId": model_id, name: value}, headers=headers, timeout=30).json()  # type: ignore[no-any-return]
    if how == "form":
        return requests.post(url, data={"modelId": model_id, name: text}, headers=headers, timeout=30).json()  # type: ignore[no-any-return]
    if how == "query":
        return requests.post(url, params={"modelId": model_id, name: text}, headers=headers, timeout=30).json()  # type: ignore[no-any-return]
    read = desk.client().update_python_model(model_id, **{snake(name): value})
    assert isinstance(read, abacusai.Model)
    return {"success": True, "result": desk.call("describeModel", "GET", modelId=model_id)}


def test_the_arguments_are_those_of_the_page_and_no_others_are_required() -> None:
    parameters = {each.wire_name: each for each in all_actions()["updatePythonModel"].parameters}
    assert set(parameters) == set(PAGE["arguments"])
    assert {name for name, each in parameters.items() if each.required} == {
        name for name, each in PAGE["arguments"].items() if each["required"]
    }
    assert {name for name, *_ in GIVEN} | {"modelId"} == set(PAGE["arguments"])


@pytest.mark.parametrize("how", ["json", "form", "query", "sdk"])
@pytest.mark.parametrize(("name", "value", "key", "shown"), GIVEN, ids=[each[0] for each in GIVEN])
def test_each_argument_does_what_the_page_says(
    desk: Yard, how: str, name: str, value: Any, key: str, shown: Any
) -> None:
    documented = PAGE["arguments"][name]["type"]
    assert isinstance(value, PYTHON.get(documented, dict))
    if name == "trainingInputTables" and not desk.call("listFeatureGroups", "GET", limit=1):
        make_table(desk, "page_rows", {"x": [1]})
    model = make_model(desk, functionSourceCode=SOURCE if name == "functionSourceCode" else MORE)
    answer = given_by(desk, how, model["modelId"], name, value)
    assert answer["success"] is True, answer
    result = answer["result"]
    if key:
        assert result[key] == shown
    elif name == "packageRequirements":
        assert result["codeSource"]["packageRequirements"] == value
    else:
        assert result["modelConfig"]["TIMEOUT_MINUTES"] == 9
    # Nothing is executed: no version was made by it.
    assert len(desk.call("listModelVersions", "GET", modelId=model["modelId"])) == 1


def check_types(answer: dict[str, Any], kind: str) -> None:
    for name in KEYS[kind]:
        value, documented = answer.get(name), PAGE["types"][kind][name]
        if value is None:
            continue
        if name in NESTED:
            for each in value if isinstance(value, list) else [value]:
                if NESTED[name] != "TrainingConfig":
                    check_types(each, NESTED[name])
        elif documented in PYTHON:
            assert isinstance(value, PYTHON[documented]), f"{kind}.{name} is {type(value).__name__}, not {documented}"


@pytest.mark.sandbox
def test_every_value_has_the_type_that_the_page_names(shared_yard: Yard) -> None:
    make_table(shared_yard, "typed_page_rows", {"x": [1]})
    model = make_model(shared_yard, trainingInputTables=["typed_page_rows"], cpuSize="small", memory=2)
    policy = {"name": "weekly", "cron": "0 6 * * 1", "refreshType": "MODEL", "projectId": model["projectId"]}
    shared_yard.call("createRefreshPolicy", modelIds=[model["modelId"]], **policy)
    wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    answer = shared_yard.call("updatePythonModel", modelId=model["modelId"], memory=3)
    assert answer["latestModelVersion"]["deployableAlgorithms"]
    check_types(answer, "Model")


@pytest.mark.parametrize(
    ("changes", "exception", "status"),
    [
        ({"modelId": "0123456789"}, "DataNotFoundError", 404),
        ({"cpuSize": "huge"}, "InvalidEnumParameterError", 400),
        ({"functionSourceCode": "def train("}, "ConflictError", 409),
        ({"memory": 0}, "InvalidParameterError", 400),
    ],
)
def test_each_exception_of_the_page_reaches_the_caller_and_the_sdk(
    desk: Yard, changes: dict[str, Any], exception: str, status: int
) -> None:
    assert exception in PAGE["exceptions"]
    model_id = changes.get("modelId") or make_model(desk)["modelId"]
    answer = requests.post(
        f"{desk.url}/api/v0/updatePythonModel", json={"modelId": model_id} | changes, headers={"apiKey": desk.key},
        timeout=30,
    )  # fmt: skip
    assert (answer.status_code, answer.json()["errorType"], answer.json()["success"]) == (status, exception, False)
    named = {snake(name): value for name, value in changes.items() if name != "modelId"}
    with pytest.raises(ApiException) as raised:
        desk.client().update_python_model(model_id, **named)
    assert raised.value.exception == exception
