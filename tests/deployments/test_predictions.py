"""Predictions through the real lane, a real replica and the real sandbox."""

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import abacusai
import msgspec
import pytest
import requests

from tests.deployments.conftest import Workshop
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

#: Answers whatever expression the query names, which is how one deployment can give every kind of result.
ANY = """
import os, time, threading
import numpy as np
import pandas as pd

def train():
    return None

def predict(model, query, **kwargs):
    return eval(query["give"])
"""


@pytest.fixture(scope="module")
def anything(workshop: Workshop) -> tuple[str, str]:
    """Token and deployment of a model that returns what the query says."""
    return workshop.token(), workshop.deploy(workshop.make_version(ANY))


def ask(yard: Yard, anything: tuple[str, str], give: str, **more: object) -> requests.Response:
    token, deployment_id = anything
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    body = {"queryData": {"give": give}, **more}
    return requests.post(f"{yard.url}/api/v0/predict", params=target, json=body, timeout=60)


def test_the_official_client_predicts(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(artifact=7)), workshop.token()
    client = shared_yard.client()
    assert client.predict(token, deployment_id, {"x": 1}) == {"model": 7, "query": {"x": 1}}
    several = client.predict_multiple(token, deployment_id, [{"x": 1}, {"x": 2}])
    assert [each["query"]["x"] for each in several] == [1, 2]
    without_key = abacusai.PredictionClient(abacusai.ClientOptions(server=shared_yard.url))
    assert without_key.predict(token, deployment_id, {"x": 1})["model"] == 7
    # As the versions of a Python model say it: its algorithm is its own.
    described = client.describe_deployment(deployment_id)
    assert described.algorithm == described.model_id == client.describe_model(described.model_id).default_algorithm


def test_every_answer_carries_its_request_id(shared_yard: Yard, anything: tuple[str, str]) -> None:
    answers = [ask(shared_yard, anything, give) for give in ("1", "1 / 0")]
    for answer in answers:
        assert answer.headers["x-request-id"] == answer.json()["requestId"]
    assert len({answer.json()["requestId"] for answer in answers}) == 2


@pytest.mark.parametrize(
    ("give", "result"),
    [
        ("float('nan')", None),
        ("[float('inf'), 1.5]", [None, 1.5]),
        ("np.float32(0.5)", 0.5),
        ("np.int64(3)", 3),
        ("np.arange(3)", [0, 1, 2]),
        ("np.array([1.0, np.nan])", [1.0, None]),
        ("pd.DataFrame({'a': [1, 2]})", [{"a": 1}, {"a": 2}]),
        ("{1: 'a'}", {"1": "a"}),
        ("None", None),
        ("kwargs", {"depth": 3}),
    ],
)
def test_results_become_json(shared_yard: Yard, anything: tuple[str, str], give: str, result: object) -> None:
    assert ask(shared_yard, anything, give, depth=3).json()["result"] == result


def test_bytes_are_refused_with_what_to_do(shared_yard: Yard, anything: tuple[str, str]) -> None:
    answer = ask(shared_yard, anything, "b'abc'")
    assert (answer.status_code, answer.json()["success"]) == (500, False)
    assert "bytes" in answer.json()["error"]
    assert "base64" in answer.json()["error"]


def test_an_error_of_the_users_code_comes_with_its_traceback(shared_yard: Yard, anything: tuple[str, str]) -> None:
    answer = ask(shared_yard, anything, "1 / 0")
    error = answer.json()["error"]
    assert (answer.status_code, answer.json()["errorType"]) == (500, "InvalidRequest")
    assert error.startswith("ZeroDivisionError: division by zero\nTraceback")
    assert "in predict" in error
    assert "site-packages" not in error


def test_a_hundred_megabytes_come_back_whole(shared_yard: Yard, anything: tuple[str, str]) -> None:
    answer = ask(shared_yard, anything, "'x' * 100_000_000")
    assert len(answer.json()["result"]) == 100_000_000


def test_an_answer_over_its_limit_is_an_error_with_size_and_limit(shared_yard: Yard, anything: tuple[str, str]) -> None:
    answer = ask(shared_yard, anything, "'x' * 140_000_000")
    assert answer.status_code == 500
    assert "140,000,002 bytes" in answer.json()["error"]
    assert f"{shared_yard.settings.prediction_answer_limit:,}" in answer.json()["error"]
    assert ask(shared_yard, anything, "1").json()["result"] == 1


def test_a_body_over_its_limit_is_refused_before_it_is_read(shared_yard: Yard, anything: tuple[str, str]) -> None:
    token, deployment_id = anything
    host, port = "127.0.0.1", shared_yard.settings.port
    head = (
        f"POST /api/v0/predict?deploymentToken={token}&deploymentId={deployment_id} HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Length: {1024**3}\r\n\r\n"
    )
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(head.encode() + b"{" + b" " * 100_000)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"1,073,741,824" in answer


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"[1]", b"\xff\xfe{}"])
def test_what_is_no_json_object_is_refused(shared_yard: Yard, anything: tuple[str, str], body: bytes) -> None:
    token, deployment_id = anything
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    answer = requests.post(f"{shared_yard.url}/api/v0/predict", params=target, data=body, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (400, "InvalidRequest")
    assert ask(shared_yard, anything, "2").json()["result"] == 2


def test_a_body_that_is_neither_form_nor_json_is_refused(shared_yard: Yard, anything: tuple[str, str]) -> None:
    token, deployment_id = anything
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    url, as_curl_does = f"{shared_yard.url}/api/v0/predict", {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"[1, 2]", b"\xff\xfe{}", b"nonsense"):
        answer = requests.post(url, params=target, data=body, headers=as_curl_does, timeout=60)
        assert (answer.status_code, answer.json()["errorType"]) == (400, "InvalidRequest")
        assert "neither a form nor a JSON object" in answer.json()["error"]


@pytest.mark.parametrize("name", ["predict", "predictMultiple", "listProjects"])
def test_a_compressed_body_is_refused_by_name(shared_yard: Yard, anything: tuple[str, str], name: str) -> None:
    token, deployment_id = anything
    target = {"deploymentToken": token, "deploymentId": deployment_id} if name != "listProjects" else {}
    headers = {"apiKey": shared_yard.key, "content-type": "application/json", "content-encoding": "gzip"}
    url, body = f"{shared_yard.url}/api/v0/{name}", gzip.compress(b'{"queryData": {"give": "1"}}')
    verb = "GET" if name == "listProjects" else "POST"
    answer = requests.request(verb, url, params=target, data=body, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (400, "InvalidRequest")
    assert "Content-Encoding 'gzip'" in answer.json()["error"]


def test_query_data_in_a_url_that_is_broken_json_is_refused(shared_yard: Yard, anything: tuple[str, str]) -> None:
    token, deployment_id = anything
    target = {"deploymentToken": token, "deploymentId": deployment_id, "queryData": '{"give": "1"'}
    answer = requests.get(f"{shared_yard.url}/api/v0/predict", params=target, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (400, "InvalidRequest")
    assert answer.json()["error"].startswith("queryData is not JSON: ")


def test_an_argument_that_is_nearly_one_is_the_callers_mistake(shared_yard: Yard, workshop: Workshop) -> None:
    source = "def train():\n    return 1\n\n\ndef predict(model, query, top_k=3):\n    return top_k\n"
    deployment_id, token = workshop.deploy(workshop.make_version(source)), workshop.token()
    assert shared_yard.client().predict(token, deployment_id, {}, top_k=5) == 5
    with pytest.raises(abacusai.ApiException, match=r"takes no argument `topK`\. Did you mean `top_k`") as refused:
        shared_yard.client().predict(token, deployment_id, {}, topK=5)
    assert (refused.value.http_status, refused.value.exception) == (400, "InvalidParameterError")


def test_the_hundred_thousandfold_nested_body_harms_nobody(shared_yard: Yard, anything: tuple[str, str]) -> None:
    token, deployment_id = anything
    deep = b"[" * 100_000 + b"]" * 100_000
    for query, body in (
        ({"deploymentToken": token, "deploymentId": deployment_id}, b'{"queryData": ' + deep + b"}"),
        ({"deploymentToken": token}, b'{"deploymentId": "%s", "queryData": %s}' % (deployment_id.encode(), deep)),
    ):
        answer = requests.post(f"{shared_yard.url}/api/v0/predict", params=query, data=body, timeout=60)
        assert answer.status_code == 400
    assert ask(shared_yard, anything, "3").json()["result"] == 3


def test_get_takes_json_in_its_query(shared_yard: Yard, anything: tuple[str, str]) -> None:
    token, deployment_id = anything
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    url = f"{shared_yard.url}/api/v0/predict"
    answer = requests.get(url, params={**target, "queryData": json.dumps({"give": "kwargs"}), "n": "3"}, timeout=60)
    assert answer.json()["result"] == {"n": 3}
    answer = requests.get(url, params={**target, "give": "query", "tokens": "[[1, 2]]"}, timeout=60)
    assert answer.json()["result"] == {"give": "query", "tokens": [[1, 2]]}


def test_token_and_deployment_may_stand_in_the_body(shared_yard: Yard, anything: tuple[str, str]) -> None:
    token, deployment_id = anything
    body = {"deploymentToken": token, "deploymentId": deployment_id, "queryData": {"give": "sorted(kwargs)"}, "n": 1}
    url = f"{shared_yard.url}/api/v0/predict"
    assert requests.post(url, json=body, timeout=60).json()["result"] == ["n"]
    form = {**body, "queryData": json.dumps(body["queryData"])}
    assert requests.post(url, data=form, timeout=60).json()["result"] == ["n"]


def test_other_verbs_are_refused(shared_yard: Yard, anything: tuple[str, str]) -> None:
    answer = requests.put(f"{shared_yard.url}/api/v0/predict", json={}, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (405, "MethodNotAllowed")


def test_an_api_key_of_the_organisation_opens_too(shared_yard: Yard, anything: tuple[str, str]) -> None:
    url, target = f"{shared_yard.url}/api/v0/predict", {"deploymentId": anything[1]}
    body = {"queryData": {"give": "5"}}
    answer = requests.post(url, params=target, json=body, headers={"apiKey": shared_yard.key}, timeout=60)
    assert answer.json()["result"] == 5
    answer = requests.post(url, params=target, json=body, headers={"apiKey": "s2_wrong"}, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (403, "GenericPermissionDeniedError")


def test_callers_without_a_right_learn_nothing_else(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version()), workshop.token()
    other = shared_yard.call("createProject", name="other", useCase="PYTHON_MODEL")["projectId"]
    foreign = shared_yard.call("createDeploymentToken", projectId=other)["deploymentToken"]
    wrong = [
        ({"deploymentId": deployment_id}, 403, "GenericPermissionDeniedError"),
        ({"deploymentId": deployment_id, "deploymentToken": "0" * 32}, 403, "GenericPermissionDeniedError"),
        ({"deploymentId": deployment_id, "deploymentToken": foreign}, 403, "GenericPermissionDeniedError"),
        ({"deploymentId": "nowhere", "deploymentToken": token}, 404, "DataNotFoundError"),
        ({"deploymentToken": token}, 400, "MissingParameterError"),
    ]
    for target, status, error_type in wrong:
        answer = requests.post(f"{shared_yard.url}/api/v0/predict", params=target, json={"queryData": {}}, timeout=60)
        assert (answer.status_code, answer.json()["errorType"]) == (status, error_type), target


def test_a_revoked_token_stops_within_a_second(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version()), workshop.token()
    client = shared_yard.client()
    assert client.predict(token, deployment_id, {})["model"] == 1
    assert token in [each.deployment_token for each in client.list_deployment_tokens(workshop.project_id)]
    client.delete_deployment_token(token)
    wait_until(lambda: not ask(shared_yard, (token, deployment_id), "1").ok, 3)  # which leaves a busy machine some time
    with pytest.raises(abacusai.client.GenericPermissionDeniedError):
        client.predict(token, deployment_id, {})


@pytest.mark.parametrize("thread_safe", [True, False])
def test_calls_go_at_once_only_where_the_model_allows_it(
    shared_yard: Yard, workshop: Workshop, *, thread_safe: bool
) -> None:
    source = """
import threading, time
inside, most, lock = 0, 0, threading.Lock()

def train():
    return None

def predict(model, query):
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    time.sleep(0.05)
    with lock:
        inside -= 1
    return most
"""
    deployment_id = workshop.deploy(workshop.make_version(source, thread_safe=thread_safe))
    client, token = shared_yard.client(), workshop.token()
    with ThreadPoolExecutor(8) as pool:
        most = max(pool.map(lambda _: client.predict(token, deployment_id, {}), range(16)))
    assert (most > 1) if thread_safe else (most == 1)


def test_calls_per_second_are_limited(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version(), callsPerSecond=5), workshop.token()
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    url = f"{shared_yard.url}/api/v0/predict"
    answers = [requests.post(url, params=target, json={"queryData": {}}, timeout=60) for _ in range(30)]
    assert 5 <= sum(answer.status_code == 200 for answer in answers) <= 15
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["errorType"] == "TooManyRequestsError"
    assert int(refused.headers["retry-after"]) >= 1


def test_default_arguments_fill_in_and_override(shared_yard: Yard, anything: tuple[str, str]) -> None:
    for override, expected in ((False, {"n": 1, "m": 2}), (True, {"n": 9, "m": 2})):
        shared_yard.call(
            "setDefaultPredictionArguments",
            deploymentId=anything[1], predictionArguments={"n": 9, "m": 2}, setAsOverride=override,
        )  # fmt: skip
        wait_until(lambda: ask(shared_yard, anything, "kwargs", n=1).json()["result"] == expected)  # noqa: B023
    shared_yard.call("setDefaultPredictionArguments", deploymentId=anything[1], predictionArguments={})
    wait_until(lambda: ask(shared_yard, anything, "kwargs", n=1).json()["result"] == {"n": 1})


def test_a_client_that_leaves_disturbs_nobody(shared_yard: Yard, anything: tuple[str, str]) -> None:
    token, deployment_id = anything
    body = msgspec.json.encode({"queryData": {"give": "time.sleep(0.2)"}})
    head = f"POST /api/v0/predict?deploymentToken={token}&deploymentId={deployment_id} HTTP/1.1\r\nHost: x\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", shared_yard.settings.port), timeout=10) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert ask(shared_yard, anything, "4").json()["result"] == 4


def test_a_call_whose_client_left_before_a_replica_was_there_is_dropped(shared_yard: Yard, workshop: Workshop) -> None:
    source = """
import os, time
calls = []

def train():
    return None

def initialize(model):
    time.sleep(1)

def predict(model, query):
    if query.get("exit"):
        os._exit(3)
    calls.append(query)
    return calls
"""
    deployment_id, token = workshop.deploy(workshop.make_version(source, initialize=True)), workshop.token()
    target = f"/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
    requests.post(shared_yard.url + target, json={"queryData": {"exit": True}}, timeout=60)
    body = msgspec.json.encode({"queryData": {"from": "who left"}})
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", shared_yard.settings.port), timeout=10) as connection:
            connection.sendall(head.encode() + body)
            time.sleep(0.05)
    answer = requests.post(shared_yard.url + target, json={"queryData": {"from": "who stayed"}}, timeout=60)
    assert answer.json()["result"] == [{"from": "who stayed"}]


def test_many_callers_each_get_their_own_answer(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id, token = workshop.deploy(workshop.make_version()), workshop.token()
    target = {"deploymentToken": token, "deploymentId": deployment_id}
    wrong: list[object] = []

    def call(worker: int) -> None:
        with requests.Session() as session:
            for number in range(100):
                body = {"queryData": {"n": [worker, number]}}
                answer = session.post(f"{shared_yard.url}/api/v0/predict", params=target, json=body, timeout=60).json()
                if not answer["success"] or answer["result"]["query"]["n"] != [worker, number]:
                    wrong.append(answer)

    threads = [threading.Thread(target=call, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_door_lists_predictions_but_leaves_them_to_the_lane(shared_yard: Yard) -> None:
    paths = requests.get(f"{shared_yard.url}/openapi.json", timeout=60).json()["paths"]
    assert {"post", "get"} <= set(paths["/api/v0/predict"])
    with pytest.raises(CallFailed) as failed:
        shared_yard.call("predict", deploymentId="nowhere", queryData={})
    assert failed.value.status == 404
