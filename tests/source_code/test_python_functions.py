"""Python functions through their actions: what is kept, what is checked, and what is refused."""

from typing import Any

import pytest

from tests.yard import CallFailed, Yard

SOURCE = "def keep(table, least=1):\n    return table[table.x > least]\n"
VARIABLES: list[dict[str, Any]] = [
    {"name": "table", "variableType": "FEATURE_GROUP"},
    {"name": "least", "variableType": "INTEGER", "isRequired": False, "value": 3},
]


def create(desk: Yard, name: str, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"sourceCode": SOURCE, "functionName": "keep", "functionVariableMappings": VARIABLES} | more
    made: dict[str, Any] = desk.call("createPythonFunction", name=name, **given)
    return made


def test_a_function_is_described_as_the_client_reads_it(desk: Yard) -> None:
    made = create(desk, "described", description="Keeps", packageRequirements=["numpy>=2"], examples={"positive": []})
    assert made == desk.call("describePythonFunction", "GET", name="described")
    assert set(made) == {
        "notebookId", "name", "createdAt", "functionVariableMappings", "outputVariableMappings", "functionName",
        "pythonFunctionId", "functionType", "packageRequirements", "description", "examples", "connectors",
        "configurations", "codeSource",
    }  # fmt: skip
    table, least = made["functionVariableMappings"]
    assert (table["name"], table["variable_type"], table["is_required"]) == ("table", "FEATURE_GROUP", True)
    assert (least["variableType"], least["isRequired"], least["value"]) == ("INTEGER", False, 3)
    assert (made["functionType"], made["functionName"]) == ("FEATURE_GROUP", "keep")
    assert made["codeSource"]["packageRequirements"] == ["numpy>=2"]


def test_without_a_function_name_it_is_the_functions_own(desk: Yard) -> None:
    made = desk.call("createPythonFunction", name="keep", sourceCode=SOURCE)
    assert (made["functionName"], made["functionVariableMappings"]) == ("keep", [])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"functionName": "kept"}, "Did you mean `keep`"),
        ({"functionVariableMappings": [{"name": "other", "variableType": "STRING"}]}, "the keyword `other`"),
        ({"functionVariableMappings": [{**VARIABLES[0], "isRequired": False}]}, "is called with"),
        ({"sourceCode": "import nothing_such\n" + SOURCE}, "Nothing provides `nothing_such`"),
    ],
)
def test_a_function_that_can_not_be_called_as_it_says_is_refused(desk: Yard, more: dict[str, Any], words: str) -> None:
    with pytest.raises(CallFailed, match=words) as failed:
        create(desk, "refused", **more)
    assert failed.value.error_type == "ConflictError"


@pytest.mark.parametrize(
    ("more", "error_type"),
    [
        ({"sourceCode": None}, "MissingParameterError"),
        ({"name": "not a name"}, "InvalidParameterError"),
        ({"name": "class"}, "InvalidParameterError"),
        ({"functionType": "PICTURE"}, "InvalidEnumParameterError"),
        ({"functionType": "CONNECTOR_TOOL"}, "InvalidParameterError"),
        ({"userLevelConnectors": {"GMAIL": []}}, "InvalidParameterError"),
        ({"orgLevelConnectors": ["slack"]}, "InvalidParameterError"),
        ({"timeout": 5}, "InvalidParameterError"),
        ({"functionVariableMappings": [{"name": "table"}]}, "InvalidParameterError"),
        ({"functionVariableMappings": [{"name": "table", "variableType": "TABLE"}]}, "InvalidEnumParameterError"),
        ({"packageRequirements": ["git+https://example.com/x"]}, "InvalidParameterError"),
    ],
)
def test_what_can_not_be_registered_is_refused(desk: Yard, more: dict[str, Any], error_type: str) -> None:
    name = more.pop("name", "unwanted")
    with pytest.raises(CallFailed) as failed:
        create(desk, name, **more)
    assert failed.value.error_type == error_type


def test_functions_are_listed_by_type(desk: Yard) -> None:
    create(desk, "for_groups")
    create(desk, "for_figures", functionType="PLOTLY_FIG", functionVariableMappings=VARIABLES[:1])
    create(desk, "for_tools", functionType="USERCODE_TOOL", timeout=5)
    listed = {each["name"] for each in desk.call("listPythonFunctions", "GET")}
    assert "for_groups" in listed
    assert not {"for_figures", "for_tools"} & listed
    assert [each["name"] for each in desk.call("listPythonFunctions", "GET", functionType="PLOTLY_FIG")] == [
        "for_figures"
    ]
    [tool] = desk.call("listPythonFunctions", "GET", functionType="USERCODE_TOOL")
    assert tool["configurations"] == {"timeout": 5}


def test_an_update_changes_what_is_given_and_keeps_the_rest(desk: Yard) -> None:
    made = create(desk, "changing", description="before")
    changed = desk.call("updatePythonFunction", "PATCH", name="changing", description="after")
    assert changed == made | {"description": "after"}
    other = SOURCE.replace("keep", "keep_other").replace("least", "most")
    with pytest.raises(CallFailed, match="The function `keep` is not in the source code"):
        desk.call("updatePythonFunction", "PATCH", name="changing", sourceCode=other)
    with pytest.raises(CallFailed, match="the keyword `least`"):
        desk.call("updatePythonFunction", "PATCH", name="changing", sourceCode=other, functionName="keep_other")
    changed = desk.call(
        "updatePythonFunction", "PATCH", name="changing", sourceCode=other, functionName="keep_other",
        functionVariableMappings=VARIABLES[:1],
    )  # fmt: skip
    assert changed["codeSource"]["sourceCode"] == other
    assert [each["name"] for each in changed["functionVariableMappings"]] == ["table"]


def test_a_function_holds_its_modules_until_it_is_deleted(desk: Yard) -> None:
    desk.call("createModule", name="for_functions", sourceCode="LEAST = 1\n")
    create(desk, "holding", sourceCode="from for_functions import LEAST\n" + SOURCE)
    with pytest.raises(CallFailed, match="used by Python function holding;"):
        desk.call("deleteModule", "DELETE", name="for_functions")
    desk.call("deletePythonFunction", "DELETE", name="holding")
    desk.call("deleteModule", "DELETE", name="for_functions")
    with pytest.raises(CallFailed, match="Python function holding was not found"):
        desk.call("describePythonFunction", "GET", name="holding")


def test_a_name_is_given_once(desk: Yard) -> None:
    create(desk, "unique")
    with pytest.raises(CallFailed, match="There is a Python function unique already"):
        create(desk, "unique")
