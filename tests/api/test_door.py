"""The door over real HTTP: who gets in, how parameters arrive, what errors look like."""

import io
import time

import abacusai
import pytest
import requests

from tests.waiting import wait_until
from tests.yard import CallFailed, Yard


def test_the_official_client_logs_in_and_lives_through_a_project(shared_yard: Yard) -> None:
    client = shared_yard.client()
    project = client.create_project("Concrete", "PYTHON_MODEL")
    assert project.problem_type == "trainable_plug_and_play"
    assert client.describe_project(project.project_id).name == "Concrete"
    client.rename_project(project.project_id, "Cement")
    assert "Cement" in [found.name for found in client.list_projects()]
    client.delete_project(project.project_id)
    with pytest.raises(abacusai.client.DataNotFoundError):
        client.describe_project(project.project_id)


@pytest.mark.parametrize("key", ["", "s2_" + "0" * 32, "ключ".encode().decode("latin-1")])
def test_a_wrong_key_is_refused_with_the_hosted_services_own_words(shared_yard: Yard, key: str) -> None:
    answer = requests.get(f"{shared_yard.url}/api/v0/listProjects", headers={"apiKey": key}, timeout=10)
    assert answer.status_code == 403
    assert answer.json()["errorType"] == "GenericPermissionDeniedError"
    assert answer.json()["error"] == "Invalid API Key"
    assert answer.json()["requestId"] == answer.headers["x-request-id"]


def test_a_missing_key_is_refused_and_says_where_to_send_it(shared_yard: Yard) -> None:
    answer = requests.get(f"{shared_yard.url}/api/v0/listProjects", timeout=10)
    assert answer.status_code == 403
    assert "header apiKey" in answer.json()["error"]


def test_every_answer_carries_a_request_id(shared_yard: Yard) -> None:
    answer = requests.get(f"{shared_yard.url}/api/v0/version", timeout=10)
    assert answer.json()["requestId"] == answer.headers["x-request-id"]


def test_null_means_left_out_and_an_unknown_null_is_ignored(shared_yard: Yard) -> None:
    assert isinstance(shared_yard.call("listProjects", "GET"), list)
    project = shared_yard.call("createProject", name="nulls", useCase="PYTHON_MODEL", colour=None)
    assert project["name"] == "nulls"


def test_an_unknown_parameter_with_a_value_is_refused_with_the_nearest_known_one(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed, match="has no parameter 'usecase'; did you mean useCase") as failed:
        shared_yard.call("createProject", name="x", usecase="PYTHON_MODEL")
    assert failed.value.error_type == "InvalidParameterError"


def test_a_missing_parameter_is_named(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed, match="Missing required parameter: useCase") as failed:
        shared_yard.call("createProject", name="x")
    assert failed.value.status == 400


def test_a_value_of_the_wrong_type_is_named(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed, match="Invalid value for name: 5") as failed:
        shared_yard.call("createProject", name=5, useCase="PYTHON_MODEL")
    assert failed.value.error_type == "InvalidParameterError"


def test_an_unknown_use_case_is_an_enum_error(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed, match="did you mean PYTHON_MODEL") as failed:
        shared_yard.call("createProject", name="x", useCase="PYTON_MODEL")
    assert failed.value.error_type == "InvalidEnumParameterError"


@pytest.mark.parametrize(
    ("body", "status", "error_type"),
    [
        (b"{", 400, "InvalidRequest"),
        (b"[1]", 400, "InvalidRequest"),
        (b'{"name": "\xff"}', 400, "InvalidRequest"),
        (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "InvalidRequest"),
    ],
)
def test_a_body_that_cannot_be_read_says_so(shared_yard: Yard, body: bytes, status: int, error_type: str) -> None:
    headers = {"apiKey": shared_yard.key, "content-type": "application/json"}
    answer = requests.post(f"{shared_yard.url}/api/v0/createProject", data=body, headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["errorType"]) == (status, error_type)


def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(shared_yard: Yard) -> None:
    headers = {"apiKey": shared_yard.key, "content-type": "application/json", "content-length": str(1024**3)}
    request = requests.Request("POST", f"{shared_yard.url}/api/v0/createProject", headers=headers, data=b"{}").prepare()
    request.headers["content-length"] = str(1024**3)
    answer = requests.Session().send(request, timeout=10)
    assert answer.status_code == 413
    assert "1,073,741,824 bytes" in answer.json()["error"]


def test_an_unknown_action_and_a_wrong_verb_have_their_own_errors(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed, match="There is no action 'makeCoffee'") as unknown:
        shared_yard.call("makeCoffee")
    assert (unknown.value.status, unknown.value.error_type) == (404, "Generic404Error")
    with pytest.raises(CallFailed, match="createProject is called by POST") as wrong:
        shared_yard.call("createProject", "GET")
    assert (wrong.value.status, wrong.value.error_type) == (405, "MethodNotAllowed")


def test_a_foreign_host_name_and_a_foreign_origin_are_refused(shared_yard: Yard) -> None:
    url, key = f"{shared_yard.url}/api/v0/createProject", shared_yard.key
    rebound = requests.post(url, json={}, headers={"apiKey": key, "Host": "evil.example"}, timeout=10)
    assert rebound.status_code == 403
    lured = requests.post(url, json={}, headers={"apiKey": key, "Origin": "https://evil.example"}, timeout=10)
    assert lured.status_code == 403


def test_json_is_json_although_curl_calls_every_body_a_form(shared_yard: Yard) -> None:
    headers = {"apiKey": shared_yard.key, "content-type": "application/x-www-form-urlencoded"}
    url = f"{shared_yard.url}/api/v0/createProject"
    for body in (b' {"name": "By curl", "useCase": "PYTHON_MODEL"}', b"name=By+form&useCase=PYTHON_MODEL"):
        answer = requests.post(url, data=body, headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
    broken = requests.post(url, data=b'{"name": "By', headers=headers, timeout=10)
    assert (broken.status_code, broken.json()["errorType"]) == (400, "InvalidRequest")
    assert "not valid JSON" in broken.json()["error"]


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/api/v0/predict", 405), ("/nowhere", 404)])
def test_head_is_answered_by_a_head_alone_and_the_connection_stays(shared_yard: Yard, path: str, status: int) -> None:
    with requests.Session() as session:
        for _ in range(2):
            answer = session.head(shared_yard.url + path, timeout=10)
            assert (answer.status_code, answer.content) == (status, b"")
            assert int(answer.headers["content-length"]) > 0


def test_health_says_that_runs_are_served(shared_yard: Yard) -> None:
    assert requests.get(f"{shared_yard.url}/healthz", timeout=10).json() == {"ok": True, "problems": []}


def test_a_revoked_key_stops_working_within_a_second(yard: Yard) -> None:
    keys = yard.call("listApiKeys", "GET")
    assert [key["apiKey"][-4:] for key in keys] == [yard.key[-4:]]
    yard.call("deleteApiKey", "DELETE", apiKeyId=keys[0]["apiKeyId"])
    deadline = time.monotonic() + 5
    status = 200
    while status == 200 and time.monotonic() < deadline:
        headers = {"apiKey": yard.key}
        status = requests.get(f"{yard.url}/api/v0/describeUser", headers=headers, timeout=10).status_code
    assert status == 403


def begin_import(yard: Yard, table_name: str) -> str:
    """The URL that tells how far the import of a small upload has come."""
    client = yard.client()
    upload = client.create_dataset_from_upload(table_name, file_format="CSV")
    client.upload_part(upload.upload_id, 1, io.BytesIO(b"a,b\n1,2\n"))
    client.mark_upload_complete(upload.upload_id)
    return f"{yard.url}/api/v0/describeDatasetVersion?datasetVersion={upload.dataset_version}"


def test_the_official_client_is_answered_when_what_it_asks_about_has_ended(shared_yard: Yard) -> None:
    headers = {"apiKey": shared_yard.key}
    official = headers | {"User-Agent": "python-abacusai-1.4.119"}

    def status(url: str, headers: dict[str, str]) -> object:
        return requests.get(url, headers=headers, timeout=30).json()["result"]["status"]

    first = begin_import(shared_yard, "warm")  # builds the environment, where no test has done so before
    wait_until(lambda: status(first, headers) == "COMPLETE", 100)
    url = begin_import(shared_yard, "held")
    assert requests.get(url, headers=headers, timeout=30).elapsed.total_seconds() < 1
    assert status(url, official) == "COMPLETE"
