"""Traces arrive at a receiver that speaks OTLP over HTTP: what is in them, whose they are, and that off means off."""

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from modelyard.deployments.calls.frames import TIMED, TIMES, Answer, Status, read_answer
from modelyard.observability.traces import Trace, find_tracing
from tests.deployments.conftest import Workshop, open_workshop
from tests.models.house import make_model, wait_for_end
from tests.waiting import wait_until
from tests.yard import Yard

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SLOW = """
import time

def train():
    return None

def predict(model, query):
    if query.get("raise"):
        raise ValueError("no such concrete")
    time.sleep(query.get("sleep", 0))
    return 1
"""


class Receiver:
    """Takes spans as a collector does, and really reads what was sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, sent: ExportTraceServiceRequest) -> None:
        for resource in sent.resource_spans:
            self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def of(self, trace_id: str, count: int) -> dict[str, Any]:
        """The spans of one trace by their names, as soon as there are so many."""
        wait_until(lambda: len([each for each in self.spans if each.trace_id.hex() == trace_id]) >= count)
        return {each.name: each for each in self.spans if each.trace_id.hex() == trace_id}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Ready before the house is put together, which asks the environment then."""
    opened = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", opened.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "concrete")
    yield opened
    opened.close()


@pytest.fixture
def traced(receiver: Receiver, request: pytest.FixtureRequest) -> Yard:
    """A house that sends traces."""
    yard: Yard = request.getfixturevalue("yard")
    return yard


def ask(yard: Yard, workshop: Workshop, deployment_id: str, query: object, traceparent: str) -> requests.Response:
    target = {"deploymentToken": workshop.token(), "deploymentId": deployment_id}
    headers = {"traceparent": traceparent} if traceparent else {}
    return requests.post(
        f"{yard.url}/api/v0/predict", params=target, json={"queryData": query}, headers=headers, timeout=30
    )


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@pytest.mark.sandbox
def test_a_call_is_traced_from_the_gateway_to_the_work_in_the_guest(
    receiver: Receiver, traced: Yard, base_lock: str
) -> None:
    workshop = open_workshop(traced, base_lock)
    deployment_id = workshop.deploy(workshop.make_version(SLOW))
    answer = ask(traced, workshop, deployment_id, {"sleep": 0.2}, f"00-{TRACE_ID}-{PARENT_ID}-01")
    assert answer.json()["result"] == 1
    spans = receiver.of(TRACE_ID, 3)
    call, waited, worked = spans["predict"], spans["wait for replica"], spans["work of replica"]
    assert call.parent_span_id.hex() == PARENT_ID
    assert {waited.parent_span_id, worked.parent_span_id} == {call.span_id}
    assert call.kind == 2  # SERVER
    assert attributes(call)["modelyard.deployment_id"] == deployment_id
    assert attributes(call)["modelyard.request_id"] == answer.json()["requestId"]
    assert attributes(call)["http.response.status_code"] == 200
    assert receiver.resources[0]["service.name"] == "concrete"
    took_s = (worked.end_time_unix_nano - worked.start_time_unix_nano) / 1e9
    assert 0.2 <= took_s < 5
    moments = [
        call.start_time_unix_nano, waited.start_time_unix_nano, waited.end_time_unix_nano,
        worked.end_time_unix_nano, call.end_time_unix_nano,
    ]  # fmt: skip
    assert moments == sorted(moments)
    assert waited.end_time_unix_nano == worked.start_time_unix_nano

    assert ask(traced, workshop, deployment_id, {"raise": True}, "").status_code == 500
    wait_until(lambda: any(each.name == "predict" and each.status.code == 2 for each in receiver.spans))
    failed = next(each for each in receiver.spans if each.name == "predict" and each.status.code == 2)
    assert failed.parent_span_id == b""
    assert failed.status.message == "InvalidRequest"


@pytest.mark.sandbox
def test_calls_whose_caller_sampled_them_out_are_not_traced(receiver: Receiver, traced: Yard, base_lock: str) -> None:
    workshop = open_workshop(traced, base_lock)
    deployment_id = workshop.deploy(workshop.make_version(SLOW))
    assert ask(traced, workshop, deployment_id, {}, f"00-{TRACE_ID}-{PARENT_ID}-00").ok
    other = TRACE_ID[::-1]
    assert ask(traced, workshop, deployment_id, {}, f"00-{other}-{PARENT_ID}-01").ok
    receiver.of(other, 3)
    assert [each for each in receiver.spans if each.trace_id.hex() == TRACE_ID] == []


@pytest.mark.sandbox
def test_a_training_is_a_span(receiver: Receiver, traced: Yard) -> None:
    version = make_model(traced)["latestModelVersion"]["modelVersion"]
    wait_for_end(traced, version)
    wait_until(lambda: any(each.name == "run models.train" for each in receiver.spans))
    span = next(each for each in receiver.spans if each.name == "run models.train")
    assert attributes(span)["modelyard.target"] == version
    assert span.end_time_unix_nano > span.start_time_unix_nano


def test_nothing_is_imported_while_nobody_wants_traces() -> None:
    script = """
import sys
from modelyard import app
from modelyard.observability.traces import find_tracing
assert find_tracing({}) is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_the_environment_turns_traces_off(environ: dict[str, str]) -> None:
    assert find_tracing(environ) is None


def test_without_the_extra_it_is_said_that_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "modelyard.observability.otlp", None)
    assert find_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
    assert "pip install modelyard[otel]" in caplog.text


def test_what_a_replica_says_of_its_times_is_believed_only_between_question_and_answer() -> None:
    now, trace = time.time_ns(), Trace(None)
    for told in ((now - 10**12, now), (0, 2**64 - 1), (now + 10**12, now + 10**13)):
        trace.sent()
        trace.answered(told)
        assert trace.worked_ns is None
    trace.answered((trace.sent_ns, trace.sent_ns))
    assert trace.worked_ns == (trace.sent_ns, trace.sent_ns)


@pytest.mark.parametrize(
    ("status", "body", "read"),
    [
        (0, b"1", Answer(0, b"1")),
        (Status.USER_ERROR | TIMED, TIMES.pack(3, 4) + b"{}", Answer(1, b"{}", (3, 4))),
        (TIMED, b"short", Answer(TIMED, b"short")),
        (255, b"x" * 20, Answer(255, b"x" * 20)),
    ],
)
def test_answers_with_and_without_times_are_read(status: int, body: bytes, read: Answer) -> None:
    assert read_answer(status, body) == read
