"""Predictions of files, and of rows that come as the datasets of the training do; by the official client."""

import hashlib
import io
import json
import os
import uuid
from typing import Any

import abacusai
import pandas as pd
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from modelyard.deployments.calls.frames import binary_body
from modelyard.sandbox.guest import form_data
from modelyard.sandbox.guest.replies import BadRequest
from tests.batch_predictions.bench import Bench
from tests.deployments.test_tables import Priced
from tests.waiting import wait_until
from tests.yard import Yard

FILES = """
import hashlib


def train(*tables):
    return 7


def predict(model, query, note=None, size=0, **more):
    if "blob" not in query:
        return query
    digest = hashlib.sha256(query["blob"]).hexdigest()
    return {"digest": digest, "filename": query["filename"], "type": query["contentType"], "note": note, "size": size}
"""


class Asked:
    """A deployed model, asked by whoever has its token."""

    def __init__(self, yard: Yard, source: str, *tables: str) -> None:
        self.yard, self.bench = yard, Bench(yard)
        self.deployment_id = self.bench.deploy(source, *tables)
        self.token = yard.call("createDeploymentToken", projectId=self.bench.project_id)["deploymentToken"]
        Priced.start(self)  # type: ignore[arg-type]  # of the same shape

    @property
    def target(self) -> dict[str, str]:
        return {"deploymentToken": self.token, "deploymentId": self.deployment_id}

    def client(self) -> abacusai.PredictionClient:
        return abacusai.PredictionClient(abacusai.ClientOptions(server=self.yard.url))


@pytest.mark.sandbox
def test_a_file_reaches_predict_byte_for_byte(shared_yard: Yard) -> None:
    asked = Asked(shared_yard, FILES)
    content = os.urandom(300_000) + b"\r\n--boundary--\r\n\x00"
    found = asked.client().predict_with_binary_data(asked.token, asked.deployment_id, io.BytesIO(content))
    assert found["digest"] == hashlib.sha256(content).hexdigest()
    url = f"{shared_yard.url}/api/v0/predictWithBinaryData"
    files = {"blob": ("größe.png", content, "image/png")}
    fields = {"note": "a note", "size": "3", "deploymentId": "0"}
    answer = requests.post(url, params=asked.target, files=files, data=fields, timeout=60).json()
    told = {"digest": hashlib.sha256(content).hexdigest(), "filename": "größe.png", "type": "image/png"}
    assert answer["result"] == told | {"note": "a note", "size": 3}
    shared_yard.call("setDefaultPredictionArguments", deploymentId=asked.deployment_id, predictionArguments={"size": 9})

    def empty() -> dict[str, Any]:
        sent = requests.post(url, params=asked.target, files={"blob": ("none", b"")}, timeout=60)
        answered: dict[str, Any] = sent.json()["result"]
        return answered

    wait_until(lambda: empty()["size"] == 9)
    assert empty()["digest"] == hashlib.sha256(b"").hexdigest()


@pytest.mark.sandbox
def test_a_form_without_a_file_and_one_that_is_too_large_are_refused(shared_yard: Yard) -> None:
    asked = Asked(shared_yard, FILES)
    url = f"{shared_yard.url}/api/v0/predictWithBinaryData"
    for given_, status, kind in (
        ({"files": {"other": b"x"}}, 400, "InvalidParameterError"),
        ({"json": {"blob": "x"}}, 400, "InvalidRequest"),
        ({"data": b"--x--", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400, "InvalidRequest"),
        ({"files": {"blob": bytes(shared_yard.settings.prediction_body_limit + 1)}}, 413, "InvalidRequest"),
    ):  # fmt: skip
        answer = requests.post(url, params=asked.target, timeout=60, **given_)
        assert (answer.status_code, answer.json()["errorType"]) == (status, kind), answer.text
    answer = requests.post(url, params=asked.target | {"deploymentToken": "0"}, files={"blob": b"x"}, timeout=60)
    assert answer.status_code == 403
    assert asked.client().predict(asked.token, asked.deployment_id, {"x": 1}) == {"x": 1}


@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(["a", "b"]), st.text(max_size=20)))
def test_whatever_a_client_sends_as_a_form_is_read_as_it_was(content: bytes, fields: dict[str, str]) -> None:
    sent = requests.Request("POST", "http://a/", files={"blob": ("f", content, "a/b")}, data=fields).prepare()
    body = sent.body
    assert isinstance(body, bytes)
    query, arguments = form_data.read(binary_body(sent.headers["content-type"], body, {"c": 1}, override=False))
    assert query == {"blob": content, "filename": "f", "contentType": "a/b"}
    assert arguments.pop("c") == 1
    assert {name: value if isinstance(value, str) else fields[name] for name, value in arguments.items()} == fields


@given(st.binary(max_size=200))
def test_bytes_that_are_no_form_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        form_data.read(binary_body("multipart/form-data; boundary=x", body, None, override=False))


MANY = "def train(*tables):\n    return 100\n\n\ndef predict_many(model, queries):\n"
MANY += "    return (queries['total'] * model).tolist()\n"


@pytest.mark.sandbox
def test_rows_of_datasets_go_through_the_queries_of_the_training(shared_yard: Yard) -> None:
    bench, suffix = Bench(shared_yard), uuid.uuid4().hex[:8]
    orders_id, orders = bench.dataset(pd.DataFrame({"who": ["a", "a", "b"], "price": [1.0, 2.0, 4.0]}))
    _, people = bench.dataset(pd.DataFrame({"who": ["a", "b"], "since": pd.to_datetime(["2026-01-01", "2026-02-01"])}))
    sums = f"SELECT who, SUM(price) AS total FROM {orders} GROUP BY who"
    shared_yard.call("createFeatureGroup", tableName=f"sums_{suffix}", sql=sums)
    joined = f"SELECT p.who, s.total FROM sums_{suffix} s JOIN {people} p ON s.who = p.who WHERE year(p.since) = 2026"
    shared_yard.call("createFeatureGroup", tableName=f"joined_{suffix}", sql=joined + " ORDER BY p.who")
    asked = Asked(shared_yard, MANY, f"joined_{suffix}")
    rows = {"who": ["x", "y", "x"], "price": [0.5, 3, 1]}
    records = pd.DataFrame(rows).to_dict("records")
    data: dict[str, Any] = {
        orders: records,
        people: [{"who": "y", "since": "2026-03-04"}, {"who": "x", "since": "2026-05-06"}],
    }
    assert asked.client().predict_from_datasets(asked.token, asked.deployment_id, data) == [150.0, 300.0]
    by_id = {orders_id: records, people: [{"who": "y", "since": "2025-03-04"}, {"who": "z", "since": None}]}
    assert asked.client().predict_from_datasets(asked.token, asked.deployment_id, by_id) == []
    for wrong, words in (
        ({orders: records}, f"no rows for dataset {people}"),
        ({**data, "else": []}, "names 'else', which the model does not read"),
        ({**data, orders: [{"cost": 1}]}, "has no column 'cost'"),
        ({**data, orders: [{"price": "dear"}]}, "Column 'price' of dataset"),
        ({**data, orders: 3}, "must map datasets to lists of rows"),
    ):  # fmt: skip
        url = f"{shared_yard.url}/api/v0/predictFromDatasets"
        answer = requests.post(url, params=asked.target, json={"queryData": wrong}, timeout=60)
        assert (answer.status_code, answer.json()["errorType"]) == (400, "InvalidParameterError"), answer.text
        assert words in answer.json()["error"]


@pytest.mark.sandbox
def test_a_table_that_a_function_makes_has_no_way_from_its_datasets(shared_yard: Yard) -> None:
    bench = Bench(shared_yard)
    asked = Asked(shared_yard, MANY, bench.table(total=[1.0]))
    url = f"{shared_yard.url}/api/v0/predictFromDatasets"
    answer = requests.post(url, params=asked.target, data=json.dumps({"queryData": {}}), timeout=60)
    assert answer.status_code == 400
    assert "predictFromDatasets can't be answered" in answer.json()["error"]
