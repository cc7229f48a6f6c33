"""Modules through their actions: names, revisions, who imports them, and whose they are."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from modelyard.accounts.first_run import add_organization, add_user
from modelyard.accounts.keys import create_key
from modelyard.clock import utc_now
from modelyard.source_code.records import Module, ModuleRevision, SourceText
from tests.yard import CallFailed, Yard

SOURCE = "def twice(value):\n    return 2 * value\n"
Create = Callable[..., dict[str, Any]]


@pytest.fixture
def create(desk: Yard) -> Create:
    def make(name: str, source: str = SOURCE) -> dict[str, Any]:
        made: dict[str, Any] = desk.call("createModule", name=name, sourceCode=source)
        return made

    return make


def describe(desk: Yard, name: str) -> dict[str, Any]:
    found: dict[str, Any] = desk.call("describeModule", "GET", name=name)
    return found


def test_a_module_is_described_with_its_source(desk: Yard, create: Create) -> None:
    made = create("plain")
    assert made == describe(desk, "plain")
    assert set(made) == {"name", "createdAt", "notebookId", "hideModuleCode", "codeSource"}
    assert made["codeSource"] == {
        "sourceType": "TEXT", "sourceCode": SOURCE, "applicationConnectorId": None, "applicationConnectorInfo": None,
        "packageRequirements": [], "status": "COMPLETE", "error": None, "publishingMsg": {}, "moduleDependencies": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["", "Upper", "with2digits", "a-b", "a.b", "class", "json", "pandas", "__main", "modelyard_x", "ü", "_"]
)
def test_a_name_that_can_not_be_imported_or_means_something_else_is_refused(create: Create, name: str) -> None:
    with pytest.raises(CallFailed, match="can't be a module's name") as failed:
        create(name)
    assert failed.value.error_type == "InvalidParameterError"


def test_a_name_is_given_once(create: Create) -> None:
    create("only_one")
    with pytest.raises(CallFailed, match="There is a module only_one already") as failed:
        create("only_one")
    assert failed.value.error_type == "AlreadyExistsError"


def test_a_source_that_can_not_run_is_refused(desk: Yard, create: Create) -> None:
    with pytest.raises(CallFailed, match="`np` is not defined") as failed:
        create("broken", "x = np.zeros(3)\n")
    assert failed.value.status == 409
    create("sound")
    with pytest.raises(CallFailed, match="line 1, column"):
        desk.call("updateModule", "PATCH", name="sound", sourceCode="def f(:\n")
    assert describe(desk, "sound")["codeSource"]["sourceCode"] == SOURCE
    with pytest.raises(CallFailed, match="sourceCode"):
        desk.call("createModule", name="nothing")


def test_an_unknown_module_is_not_found_and_the_nearest_named(desk: Yard, create: Create) -> None:
    create("nearest")
    for action, verb in (("describeModule", "GET"), ("updateModule", "PATCH"), ("deleteModule", "DELETE")):
        more = {"sourceCode": SOURCE} if action == "updateModule" else {}
        with pytest.raises(CallFailed, match=r"Module nearst was not found; did you mean nearest\?"):
            desk.call(action, verb, name="nearst", **more)


def test_an_update_makes_a_revision_and_keeps_the_former(desk: Yard, create: Create) -> None:
    create("revised")
    desk.call("updateModule", "PATCH", name="revised", sourceCode=SOURCE)
    desk.call("updateModule", "PATCH", name="revised")
    changed = desk.call("updateModule", "PATCH", name="revised", sourceCode="x = 1\n")
    assert changed["codeSource"]["sourceCode"] == "x = 1\n"
    with desk.database.read() as session:
        query = select(ModuleRevision).where(ModuleRevision.name == "revised").order_by(ModuleRevision.created_at)
        former, newest = session.scalars(query).all()
        assert session.scalars(select(Module.head).where(Module.name == "revised")).one() == newest.revision_id
        assert session.get_one(SourceText, former.source_digest).content.decode() == SOURCE


def test_dependencies_are_told_all_the_way_down_and_circles_are_allowed(desk: Yard, create: Create) -> None:
    create("bottom")
    create("middle", "import bottom\n")
    assert create("top", "from middle import *\nx = bottom.twice\n")["codeSource"]["moduleDependencies"] == [
        "middle",
        "bottom",
    ]
    desk.call("updateModule", "PATCH", name="bottom", sourceCode="import top\n")
    assert describe(desk, "middle")["codeSource"]["moduleDependencies"] == ["bottom", "top"]
    desk.call("updateModule", "PATCH", name="bottom", sourceCode=SOURCE)
    with pytest.raises(CallFailed, match="The module bottom is used by module middle; change or delete those first"):
        desk.call("deleteModule", "DELETE", name="bottom")
    for name in ("top", "middle", "bottom"):
        desk.call("deleteModule", "DELETE", name=name)
    listed = {module["name"] for module in desk.call("listModules", "GET")}
    assert not {"top", "middle", "bottom"} & listed


def test_a_module_that_imports_itself_can_be_deleted(desk: Yard, create: Create) -> None:
    create("selfish", "import selfish\n")
    assert describe(desk, "selfish")["codeSource"]["moduleDependencies"] == []
    desk.call("deleteModule", "DELETE", name="selfish")


def test_a_model_holds_its_modules_as_long_as_it_imports_them(desk: Yard, create: Create) -> None:
    create("held")
    project_id = desk.call("createProject", name="Held", useCase="PYTHON_MODEL")["projectId"]
    source = "from held import *\n\ndef train():\n    return twice(1)\n\ndef predict(model, query):\n    return model\n"
    given = {"functionSourceCode": source, "trainFunctionName": "train", "predictFunctionName": "predict"}
    model = desk.call("createModelFromPython", projectId=project_id, name="Holder", **given)
    assert model["codeSource"]["moduleDependencies"] == ["held"]
    assert model["latestModelVersion"]["codeSource"]["moduleDependencies"] == ["held"]
    with pytest.raises(CallFailed, match=rf"used by model Holder \({model['modelId']}\)"):
        desk.call("deleteModule", "DELETE", name="held")
    desk.call("renameModel", "PATCH", modelId=model["modelId"], name="Keeper")
    with pytest.raises(CallFailed, match="used by model Keeper"):
        desk.call("deleteModule", "DELETE", name="held")
    without = source.replace("from held import *", "def twice(x): return x")
    desk.call("updatePythonModel", modelId=model["modelId"], functionSourceCode=without)
    desk.call("deleteModule", "DELETE", name="held")
    version = desk.call("describeModel", "GET", modelId=model["modelId"])["latestModelVersion"]
    assert version["codeSource"]["moduleDependencies"] == ["held"], "the version keeps what it was made with"


def test_a_deleted_model_holds_nothing(desk: Yard, create: Create) -> None:
    create("freed")
    project_id = desk.call("createProject", name="Freed", useCase="PYTHON_MODEL")["projectId"]
    source = "import freed\n\ndef train():\n    return 1\n"
    model = desk.call(
        "createModelFromPython", projectId=project_id, functionSourceCode=source, trainFunctionName="train"
    )
    desk.call("deleteModel", "DELETE", modelId=model["modelId"])
    desk.call("deleteModule", "DELETE", name="freed")


def test_another_organisation_has_modules_of_its_own(desk: Yard, create: Create) -> None:
    create("ours")
    with desk.database.write() as session:
        other = add_organization(session, "Other", utc_now)
        user = add_user(session, other, "Other", "other@localhost", utc_now)
        key = create_key(session, user.user_id, "test", utc_now())[1]
    assert desk.call("listModules", "GET", key=key) == []
    with pytest.raises(CallFailed, match=r"Module ours was not found$"):
        desk.call("describeModule", "GET", key=key, name="ours")
    with pytest.raises(CallFailed, match="Nothing provides `ours`"):
        desk.call("createModelFromPython", key=key, trainFunctionName="train",
                  projectId=desk.call("createProject", key=key, name="P", useCase="PYTHON_MODEL")["projectId"],
                  functionSourceCode="import ours\n\ndef train():\n    return 1\n")  # fmt: skip
    desk.call("createModule", key=key, name="ours", sourceCode="y = 1\n")
    assert describe(desk, "ours")["codeSource"]["sourceCode"] == SOURCE
