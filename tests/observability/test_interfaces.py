"""How deployments want to be asked: what is said of their inputs, and that the examples really work when pasted."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate

from modelyard.api.openapi import document
from modelyard.app import all_actions
from modelyard.observability.interfaces.inferring import made_up, of_column, of_values
from modelyard.settings import Settings
from modelyard.source_code.check import Checker
from modelyard.source_code.interfaces import read_interface
from modelyard.storage import TableColumn
from tests.models.house import make_model, make_project, make_table, wait_for_end
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

SOURCE = '''
def train(mixes):
    return float(mixes["strength"].mean())


def predict(model, query, unit: str = "MPa", *, digits: int = 2):
    """The strength of a mix.

    In MPa unless `unit` says otherwise.
    """
    age = query.get("age", 28)
    return {"strength": round(model + query["cement"] * age, digits), "unit": unit}
'''
MIXES: dict[str, list[Any]] = {
    "cement": [540.0, 332.5, None], "age": [28, 270, 365], "label": ["it's a \"mix\"", "b", "c"],
    "strength": [79.9, 40.2, 41.0],
}  # fmt: skip


class Trained:
    """A deployed model that was trained on a real table."""

    def __init__(self, yard: Yard, source: str = SOURCE, tables: dict[str, dict[str, list[Any]]] | None = None) -> None:
        self.yard, self.project_id = yard, make_project(yard)
        self.tables = [
            name
            for base, columns in (tables or {"mixes": MIXES}).items()
            if (name := f"{base}_{uuid.uuid4().hex[:6]}") and make_table(yard, name, columns)
        ]
        model = make_model(
            yard, projectId=self.project_id, functionSourceCode=source, trainingInputTables=self.tables,
            trainingConfig={"TARGET": "strength"},
        )  # fmt: skip
        version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])
        assert version["status"] == "COMPLETE", version
        self.deployment_id = yard.call("createDeployment", modelVersion=version["modelVersion"])["deploymentId"]
        self.token = yard.call("createDeploymentToken", projectId=self.project_id)["deploymentToken"]
        wait_until(lambda: self.describe_deployment()["status"] == "ACTIVE", 60)

    def describe_deployment(self) -> Any:
        return self.yard.call("describeDeployment", "GET", deploymentId=self.deployment_id)

    def interface(self) -> Any:
        return self.yard.call("describeDeploymentInterface", "GET", deploymentId=self.deployment_id)

    def openapi(self) -> Any:
        return self.yard.call("getDeploymentOpenapi", "GET", deploymentId=self.deployment_id)

    def ask(self, body: object) -> Any:
        target = {"deploymentToken": self.token, "deploymentId": self.deployment_id}
        return requests.post(f"{self.yard.url}/api/v0/predict", params=target, json=body, timeout=30).json()


@pytest.fixture(scope="module")
def trained(shared_yard: Yard) -> Trained:
    """Shared: nobody calls it but the tests that come first in their order."""
    return Trained(shared_yard)


@pytest.mark.sandbox
def test_inputs_are_known_from_code_table_and_calls(shared_yard: Yard) -> None:
    trained = Trained(shared_yard)
    found = trained.interface()
    assert (found["action"], found["functionName"], found["callsSeen"]) == ("predict", "predict", 0)
    assert found["documentation"].startswith("The strength of a mix.")
    query = found["query"]
    assert query["properties"]["age"]["type"] == ["integer", "null"]
    assert query["properties"]["cement"]["type"] == ["number", "null"]
    assert query["properties"]["cement"]["description"] == f"Read by predict, column of {trained.tables[0]}"
    assert query["required"] == ["cement"]
    assert "strength" not in query["properties"]
    arguments = {each["name"]: (each["annotation"], each["default"], each["required"]) for each in found["arguments"]}
    assert arguments == {"unit": ("str", "'MPa'", False), "digits": ("int", "2", False)}
    assert found["takesAnyArgument"] is False
    # A real row of the table, not one that was made up.
    assert found["example"]["source"] == "row"
    assert found["example"]["body"] == {"queryData": {"age": 28, "cement": 540.0}}

    answers = [trained.ask({"queryData": {"cement": 1.5, "wet": wet}, "digits": 1}) for wet in (True, None)]
    assert answers[0]["success"], answers[0]
    wait_until(lambda: trained.interface()["callsSeen"] == 2)
    found = trained.interface()
    assert found["example"]["source"] == "call"
    assert found["example"]["body"] == {"queryData": {"cement": 1.5, "wet": None}, "digits": 1}
    assert found["example"]["result"] == answers[1]["result"]
    assert found["query"]["properties"]["wet"] == {
        "type": ["boolean", "null"], "description": "In 2 of the last 2 calls",
    }  # fmt: skip
    assert found["result"]["properties"] == {"strength": {"type": "number"}, "unit": {"type": "string"}}


BINARY_TOO = """
def train(mixes):
    return 1

def predict(model, query, digits: int = 2):
    if "blob" in query:
        return {"bytes": len(query["blob"])}
    return {"strength": round(query["cement"], digits)}
"""


@pytest.mark.sandbox
def test_what_calls_did_without_is_not_required_and_what_predict_ignores_is_in_no_example(shared_yard: Yard) -> None:
    trained = Trained(shared_yard, BINARY_TOO)
    found = trained.interface()
    assert list(found["query"]["properties"]) == ["blob", "cement"]
    assert "required" not in found["query"]
    assert found["example"]["body"] == {"queryData": {"cement": 540.0}}
    assert trained.ask({"queryData": {"cement": 1.25}, "digits": 1, "digit": 3})["success"]
    wait_until(lambda: trained.interface()["callsSeen"] == 1)
    found = trained.interface()
    assert found["example"]["body"] == {"queryData": {"cement": 1.25}, "digits": 1}
    assert "digit=" not in found["example"]["python"]


@pytest.mark.sandbox
def test_examples_work_when_they_are_pasted(trained: Trained) -> None:
    example = trained.interface()["example"]
    environment = os.environ | {"TOKEN": trained.token}
    if shutil.which("curl"):
        done = subprocess.run(
            ["sh", "-c", example["curl"]], env=environment, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["success"] is True, done.stdout
    done = subprocess.run(
        [sys.executable, "-c", example["python"]], env=environment, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(done.stdout)["unit"] == "MPa"


@pytest.mark.sandbox
def test_the_openapi_document_of_a_deployment_is_one(trained: Trained) -> None:
    found = trained.openapi()
    validate(found)
    operation = found["paths"]["/api/v0/predict"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"].keys() == {"queryData", "unit", "digits"}
    assert schema["additionalProperties"] is False
    several = found["paths"]["/api/v0/predictMultiple"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert several["properties"]["queryData"]["items"] == schema["properties"]["queryData"]
    assert found["servers"] == [{"url": trained.yard.url}]


@pytest.mark.sandbox
def test_where_the_code_reads_no_key_the_tables_columns_are_the_inputs(shared_yard: Yard) -> None:
    source = "def train(mixes):\n    return 1\n\ndef predict(model, query, mixes):\n    return len(mixes)\n"
    found = Trained(shared_yard, source).interface()
    assert list(found["query"]["properties"]) == ["cement", "age", "label"]
    assert found["arguments"] == []  # the third parameter gets the training's table
    assert found["example"]["body"]["queryData"] == {"cement": 540.0, "age": 28, "label": 'it\'s a "mix"'}


@pytest.mark.sandbox
def test_the_interface_of_a_feature_group_is_that_of_look_ups(shared_yard: Yard) -> None:
    project_id = make_project(shared_yard)
    group_id = make_table(shared_yard, f"people_{uuid.uuid4().hex[:6]}", {"name": ["ann"], "age": [30]})
    shared_yard.call("setFeatureGroupIndexingConfig", featureGroupId=group_id, lookupKeys=["name"])
    made = shared_yard.call("createDeployment", featureGroupId=group_id, projectId=project_id, start=False)
    found = shared_yard.call("describeDeploymentInterface", "GET", deploymentId=made["deploymentId"])
    assert found["action"] == "lookupFeatures"
    assert list(found["query"]["properties"]) == ["name"]
    assert found["result"]["items"]["properties"]["age"]["type"] == ["integer", "null"]
    assert 'client.lookup_features(os.environ["TOKEN"]' in found["example"]["python"]
    validate(shared_yard.call("getDeploymentOpenapi", "GET", deploymentId=made["deploymentId"]))


def test_the_platforms_own_document_is_one() -> None:
    validate(json.loads(json.dumps(document(all_actions()))))


# -- reading sources ----------------------------------------------------------------------------------------------


def test_a_function_is_described_by_its_last_definition() -> None:
    tree = ast.parse(
        "def predict(model, q): pass\n"
        "def predict(m, row, /, a, b: 'list[int]' = [1, 2], *, c=None, **more):\n"
        "    x = row['one'] + row.get('two') + row.get('three', 1) + row['three']\n"
        "    row['written'] = 1\n"
        "    return m['not the query']\n"
    )
    found = read_interface(tree, "predict")
    assert found is not None
    assert found.keys == {"one": True, "two": False, "three": True}
    assert [(each.name, each.default, each.required, each.keyword_only) for each in found.parameters] == [
        ("m", None, True, False), ("row", None, True, False), ("a", None, True, False),
        ("b", "[1, 2]", False, False), ("c", "None", False, True),
    ]  # fmt: skip
    assert found.takes_any_keyword
    assert read_interface(tree, "absent") is None


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ("return q['a'] if q['b'] else q['c']", {"b": True, "a": False, "c": False}),
        ("if q['a']:\n        return q['b']\n    return q['c']", {"a": True, "b": False, "c": False}),
        ("if q['a'] < 0:\n        raise ValueError\n    return q['b']", {"a": True, "b": True}),
        ("try:\n        x = q['a']\n    except KeyError:\n        x = q['b']\n    return x", {"a": False, "b": False}),
        ("x = q['a'] if 'a' in q else q['b']\n    return x + q['a']", {"a": False, "b": False}),
        ("return q['a'] and q['b']", {"a": True, "b": False}),
        ("return [q['a'] + each for each in q['b']]", {"a": True, "b": True}),
    ],
)
def test_what_is_read_under_a_condition_is_not_needed(body: str, keys: dict[str, bool]) -> None:
    found = read_interface(ast.parse(f"def predict(model, q):\n    {body}\n"), "predict")
    assert found is not None
    assert found.keys == keys


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    opened = Checker(Settings.load({}, home=tmp_path_factory.mktemp("home")))
    yield opened
    opened.close()


def test_describing_a_source_runs_none_of_it(checker: Checker, tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'run')!r}, 'w')"
    source = f"{trap}\n@{trap}\ndef predict(model, query, a={trap}) -> {trap}:\n    return query['x']\n"
    found = checker.describe(source, "predict")
    assert found is not None
    assert found.keys == {"x": True}
    assert found.parameters[2].default == trap
    assert not (tmp_path / "run").exists()


def test_a_default_that_is_nested_deeply_takes_nothing_along(checker: Checker) -> None:
    deep = "+".join(["1"] * 5_000)
    began = time.monotonic()
    found = checker.describe(f"def predict(model, query, a={deep}): return query['x']\n", "predict")
    assert found is None or found.keys == {"x": True}
    assert time.monotonic() - began < 20


# -- types from values --------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, min_size=1, max_size=5))
def test_all_values_fit_the_schema_that_was_made_of_them(values: list[Any]) -> None:
    from jsonschema import Draft202012Validator

    schema = of_values(values)
    Draft202012Validator.check_schema(schema)
    for value in values:
        Draft202012Validator(schema).validate(value)
    Draft202012Validator(schema).validate(made_up(schema))


@pytest.mark.parametrize(
    ("kind", "nullable", "schema"),
    [
        ("int64", False, {"type": "integer"}),
        ("double", True, {"type": ["number", "null"]}),
        ("timestamp[us]", False, {"type": "string", "format": "date-time"}),
        ("large_string", True, {"type": ["string", "null"]}),
        ("list<item: double>", False, {"type": "array"}),
    ],
)
def test_columns_have_the_types_of_json(kind: str, *, nullable: bool, schema: dict[str, Any]) -> None:
    assert of_column(TableColumn("x", kind, nullable)) == schema


def test_a_deployment_that_is_not_there_is_not_described(shared_yard: Yard) -> None:
    for action in ("describeDeploymentInterface", "getDeploymentOpenapi"):
        with pytest.raises(CallFailed) as failed:
            shared_yard.call(action, "GET", deploymentId="0123456789")
        assert failed.value.error_type == "DataNotFoundError"
