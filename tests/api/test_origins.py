"""What a browser on a hostile page could send: every action that changes anything is refused, whatever its verb."""

import pytest
import requests

from modelyard.app import all_actions
from tests.yard import Yard

ACTIONS = all_actions()
LANE = {"predict", "predictMultiple", "predictFromDatasets", "predictWithBinaryData", "lookupFeatures"}
WRITING = [name for name, action in ACTIONS.items() if action.writes]


def send(yard: Yard, name: str, **headers: str) -> requests.Response:
    action = ACTIONS[name]
    url = f"{yard.url}/api/v0/{name}"
    return requests.request(action.verb, url, headers={"apiKey": yard.key} | headers, timeout=30)


@pytest.mark.parametrize("name", WRITING)
def test_no_other_page_changes_anything(shared_yard: Yard, name: str) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Origin": f"{shared_yard.url}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = send(shared_yard, name, **headers)
        assert (answer.status_code, answer.json()["errorType"]) == (403, "GenericPermissionDeniedError")


def test_what_changes_anything_is_known_by_its_verb_or_says_so() -> None:
    assert {name for name, action in ACTIONS.items() if not action.writes and action.verb != "GET"} == {
        "describeAsyncFeatureGroupOperation",
        "getCustomTrainFunctionInfo",
        "getTrainingConfigOptions",
        "listProjectsDashboard",
        *LANE,
    }


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b", "[::1"]
)
@pytest.mark.parametrize("name", ["version", "createProject", "listProjects"])
def test_names_that_are_not_this_servers_are_not_answered(shared_yard: Yard, host: str, name: str) -> None:
    answer = send(shared_yard, name, Host=host)
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:8585", "192.168.0.7"])
def test_this_servers_own_names_and_addresses_are(shared_yard: Yard, host: str) -> None:
    assert send(shared_yard, "version", Host=host).status_code == 200


@pytest.mark.parametrize("path", ["/api/v0/version", "/api/v0/listProjects", "/healthz", "/openapi.json", "/nowhere"])
def test_no_answer_is_for_other_pages_or_to_be_taken_for_html(shared_yard: Yard, path: str) -> None:
    headers = {"apiKey": shared_yard.key, "Origin": "https://evil.example"}
    for verb in ("GET", "OPTIONS"):
        answer = requests.request(verb, shared_yard.url + path, headers=headers, timeout=30)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert "html" not in answer.headers.get("content-type", "")
        assert "set-cookie" not in answer.headers


def test_what_is_stored_comes_back_as_json_and_not_as_a_script(shared_yard: Yard) -> None:
    name = "<script>alert(1)</script>"
    project = shared_yard.call("createProject", name=name, useCase="PYTHON_MODEL")
    assert project["name"] == name
    headers = {"apiKey": shared_yard.key}
    for path in ("listProjects", f"describeProject?projectId={name}", name):
        answer = requests.get(f"{shared_yard.url}/api/v0/{path}", headers=headers, timeout=30)
        assert answer.headers["content-type"] == "application/json"
