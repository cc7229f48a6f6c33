"""Projects through the official client: tags, the dashboard, what use cases ask for."""

from typing import Any

import pytest

from tests.yard import CallFailed, Yard


@pytest.fixture(scope="module")
def project(shared_yard: Yard) -> str:
    return str(shared_yard.client().create_project(name="Tagged house", use_case="PYTHON_MODEL").project_id)


def refused(yard: Yard, action: str, verb: str, **parameters: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        yard.call(action, verb, **parameters)
    return failed.value


def test_tags_come_once_and_go(shared_yard: Yard, project: str) -> None:
    client = shared_yard.client()
    client.add_project_tags(project, ["blue", "green"])
    client.add_project_tags(project, ["green", " red "])
    assert client.describe_project(project).tags == ["blue", "green", "red"]
    client.remove_project_tags(project, ["blue", "never there"])
    assert client.describe_project(project).tags == ["green", "red"]


@pytest.mark.parametrize("tag", ["", "  ", "x" * 101])
def test_what_is_no_tag_is_refused(shared_yard: Yard, project: str, tag: str) -> None:
    error = refused(shared_yard, "addProjectTags", "POST", projectId=project, tags=[tag])
    assert error.error_type == "InvalidParameterError"
    unknown = refused(shared_yard, "addProjectTags", "POST", projectId="0000000000", tags=["a"])
    assert unknown.error_type == "DataNotFoundError"


def test_the_dashboard_filters_and_pages(shared_yard: Yard, project: str) -> None:
    client = shared_yard.client()
    others = [client.create_project(name=f"100%_{index}", use_case="PYTHON_MODEL").project_id for index in range(3)]
    client.add_project_tags(others[0], ["wanted", "also"])
    client.add_project_tags(others[1], ["wanted"])
    assert _ids(client.list_projects_dashboard(search="100%_")) == [others[1], others[0], others[2]]
    assert _ids(client.list_projects_dashboard(search="%")) == [others[1], others[0], others[2]]
    assert _ids(client.list_projects_dashboard(tags=["wanted", "also"])) == [others[0]]
    assert _ids(client.list_projects_dashboard(tag="wanted")) == [others[1], others[0]]
    assert project in _ids(client.list_projects_dashboard(search="python_model"))
    assert client.list_projects_dashboard(starred=True)["projects"] == []
    assert client.list_projects_dashboard(updated_filter=4_000_000_000)["projects"] == []
    first = client.list_projects_dashboard(limit=2)
    rest = client.list_projects_dashboard(since_project_id=first["nextProjectId"])
    assert len(_ids(first)) == 2
    assert not set(_ids(first)) & set(_ids(rest))
    assert {*_ids(first), *_ids(rest)} >= {project, *others}
    assert first["projects"][0]["createdByEmail"]
    assert refused(shared_yard, "listProjectsDashboard", "POST", limit=0).error_type == "InvalidParameterError"


def test_use_cases_ask_for_nothing_that_a_python_model_does_not(shared_yard: Yard) -> None:
    client = shared_yard.client()
    (requirement,) = client.describe_use_case_requirements("PYTHON_MODEL")
    assert requirement.dataset_type == "CUSTOM_TABLE"
    assert not requirement.required
    assert requirement.allowed_feature_mappings["TARGET"]["required"] is False
    described = client.describe_problem_type("trainable_plug_and_play")
    assert described.required_feature_group_type is None
    assert described.optional_feature_group_types == ["CUSTOM_TABLE"]
    wrong = refused(shared_yard, "describeUseCaseRequirements", "GET", useCase="PYTHON_MODELS")
    assert wrong.error_type == "InvalidEnumParameterError"
    assert "did you mean PYTHON_MODEL?" in wrong.error
    assert refused(shared_yard, "describeProblemType", "GET", problemType="x").error_type == "InvalidEnumParameterError"


def _ids(page: dict[str, Any]) -> list[str]:
    return [each["projectId"] for each in page["projects"]]
