"""Feature groups that are made by registered functions: bindings, and what they say when something does not fit."""

from typing import Any

import pytest

from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed

SOURCE = "def keep(table, least, label='none'):\n    return table[table.x > least].assign(label=label)\n"
VARIABLES: list[dict[str, Any]] = [
    {"name": "table", "variableType": "FEATURE_GROUP"},
    {"name": "least", "variableType": "INTEGER"},
    {"name": "label", "variableType": "STRING", "isRequired": False},
]
LEAST = {"name": "least", "value": 1}


@pytest.fixture(scope="module")
def registered(shared: Tables) -> Tables:
    """A house with a table and a registered function."""
    shared.put("numbers", x=[1, 2, 3])
    shared.yard.call("createPythonFunction", name="keep", sourceCode=SOURCE, functionVariableMappings=VARIABLES)
    shared.yard.call("createPythonFunction", name="bare", sourceCode=SOURCE, functionName="keep")
    shared.yard.call(
        "createPythonFunction", name="figure", sourceCode=SOURCE, functionName="keep", functionType="PLOTLY_FIG"
    )
    return shared


def make(house: Tables, name: str, *bindings: dict[str, Any], **more: Any) -> str:
    given: dict[str, Any] = {"pythonFunctionName": "keep", "pythonFunctionBindings": list(bindings)} | more
    return str(house.yard.call("createFeatureGroupFromFunction", tableName=name, **given)["featureGroupId"])


def table(name: str = "numbers") -> dict[str, Any]:
    return {"name": "table", "value": name}


@pytest.mark.parametrize(
    ("bindings", "more", "error_type", "words"),
    [
        ([], {}, "MissingParameterError", "gives no value to table, least, which the function requires"),
        ([table()], {}, "MissingParameterError", "gives no value to least"),
        ([table(), {"name": "least", "value": "1"}], {}, "InvalidParameterError", "INTEGER is a whole number"),
        ([table("nombers"), LEAST], {}, "InvalidParameterError", "did you mean numbers"),
        ([table(), LEAST, {"name": "labels", "value": "x"}], {}, "InvalidParameterError", r"did you mean label\?"),
        ([table(), {**LEAST, "variableType": "FLOAT"}], {}, "InvalidParameterError", "the function declares INTEGER"),
        ([LEAST], {"inputFeatureGroups": ["numbers"] * 2}, "InvalidParameterError", "has 1 variables for tables"),
        ([table(), LEAST], {"pythonFunctionName": "kept"}, "DataNotFoundError", "did you mean keep"),
        ([table(), LEAST], {"pythonFunctionName": "figure"}, "InvalidParameterError", "PLOTLY_FIG"),
        ([table(), LEAST], {"packageRequirements": ["numpy"]}, "InvalidParameterError", "updatePythonFunction"),
        ([], {"pythonFunctionName": "bare"}, "ConflictError", "`keep` takes"),
    ],
)  # fmt: skip
def test_bindings_that_do_not_fit_are_refused(
    registered: Tables, bindings: list[dict[str, Any]], more: dict[str, Any], error_type: str, words: str
) -> None:
    with pytest.raises(CallFailed, match=words) as failed:
        make(registered, "misfit", *bindings, **more)
    assert failed.value.error_type == error_type


def test_input_tables_go_to_the_variables_for_tables(registered: Tables) -> None:
    group = registered.describe(make(registered, "by_position", LEAST, inputFeatureGroups=["numbers"]))
    assert group["sourceTables"] == ["numbers"]
    assert (group["functionSourceCode"], group["functionName"]) == (SOURCE, "keep")
    assert (group["codeSource"]["sourceType"], group["codeSource"]["sourceCode"]) == ("PYTHON", SOURCE)


def test_a_function_without_declared_variables_takes_tables_by_position(registered: Tables) -> None:
    group_id = make(
        registered, "undeclared", {"name": "least", "variableType": "INTEGER", "value": 2},
        pythonFunctionName="bare", inputFeatureGroups=["numbers"],
    )  # fmt: skip
    version = registered.materialize(group_id)
    assert (version["status"], version["error"]) == ("COMPLETE", None)
    assert registered.rows(version)["x"].tolist() == [3]
    assert version["codeSource"]["sourceType"] == "PYTHON"


def test_a_source_counts_before_the_name_that_comes_with_it(registered: Tables) -> None:
    """The client's create_feature_group_from_python_function sends both."""
    source = "def keep(rows):\n    return rows.head(1)\n"
    group_id = make(registered, "own_source", functionSourceCode=source, functionName="keep",
                    inputFeatureGroups=["numbers"], pythonFunctionName="anything")  # fmt: skip
    group = registered.describe(group_id)
    assert (group["pythonFunctionName"], group["functionSourceCode"]) == (None, source)


def test_a_group_is_given_another_function_and_other_bindings(registered: Tables) -> None:
    call = registered.yard.call
    group_id = make(registered, "changed", table(), LEAST)
    assert registered.rows(registered.materialize(group_id))["x"].tolist() == [2, 3]
    call("updateFeatureGroupPythonFunctionBindings", "PATCH", featureGroupId=group_id,
         pythonFunctionBindings=[table(), {"name": "least", "value": 2}])  # fmt: skip
    assert registered.describe(group_id)["latestVersionOutdated"]
    assert registered.rows(registered.materialize(group_id))["x"].tolist() == [3]
    call("createPythonFunction", name="mirror", functionVariableMappings=VARIABLES[:2],
         sourceCode="def mirror(table, least):\n    return -table[table.x > least]\n")  # fmt: skip
    call("updateFeatureGroupPythonFunction", "PATCH", featureGroupId=group_id, pythonFunctionName="mirror",
         cpuSize="medium")  # fmt: skip
    group = registered.describe(group_id)
    assert (group["pythonFunctionName"], group["cpuSize"]) == ("mirror", "medium")
    assert registered.rows(registered.materialize(group_id))["x"].tolist() == [-3]
    assert [each["tableName"] for each in call("listPythonFunctionFeatureGroups", "GET", name="mirror")] == ["changed"]


def test_only_groups_made_by_functions_are_given_others(registered: Tables) -> None:
    group_id = registered.sql("by_query", "SELECT * FROM numbers")
    with pytest.raises(CallFailed, match="is made from SQL, not by a function"):
        registered.yard.call(
            "updateFeatureGroupPythonFunction", "PATCH", featureGroupId=group_id, pythonFunctionName="keep"
        )


def test_a_group_can_not_be_bound_to_its_own_rows(registered: Tables) -> None:
    group_id = make(registered, "circular", table(), LEAST)
    with pytest.raises(CallFailed, match="would make circular read itself: circular -> circular"):
        registered.yard.call("updateFeatureGroupPythonFunctionBindings", "PATCH", featureGroupId=group_id,
                             pythonFunctionBindings=[table("circular"), LEAST])  # fmt: skip


def test_modules_of_the_same_name_as_the_shown_file_keep_their_own_lines(registered: Tables) -> None:
    registered.yard.call("createModule", name="function", sourceCode="\n\ndef fail():\n    raise ValueError('mine')\n")
    source = "import function\n\ndef make():\n    return function.fail()\n"
    version = registered.materialize(registered.function("shadowed", source, "make", []))
    assert version["status"] == "FAILED"
    [logs] = registered.yard.call(
        "getMaterializationLogs", "GET", featureGroupVersion=version["featureGroupVersion"], stderr=True
    )
    assert "raise ValueError('mine')" in logs["exception"]["traceback"]
    assert "return function.fail()" in logs["exception"]["traceback"]


def test_modules_that_import_each_other_run(registered: Tables) -> None:
    call = registered.yard.call
    call("createModule", name="ping", sourceCode="def ping(): return 1\n")
    call("createModule", name="pong", sourceCode="import ping\n\ndef pong(): return ping.ping() + 1\n")
    call("updateModule", "PATCH", name="ping",
         sourceCode="import pong\n\ndef ping(): return 1\n\ndef both(): return pong.pong()\n")  # fmt: skip
    source = "import pandas\nfrom ping import both\n\ndef make():\n    return pandas.DataFrame({'x': [both()]})\n"
    group_id = registered.function("circles", source, "make", [])
    version = registered.materialize(group_id)
    assert registered.rows(version)["x"].tolist() == [2]
    assert registered.describe(group_id)["codeSource"]["moduleDependencies"] == ["ping", "pong"]
    assert version["codeSource"]["moduleDependencies"] == ["ping", "pong"]
    assert version["codeSource"]["sourceType"] == "TEXT"
