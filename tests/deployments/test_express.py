"""A prediction taken straight from the parser and one that went through ASGI: the same answers to the same calls."""

import json
import re
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from modelyard.api.express import ExpressCall
from tests.deployments.conftest import Workshop
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SOURCE = """
import os
import time


def train():
    return 1


def predict(model, query, **kwargs):
    if query.get("wait"):
        time.sleep(query["wait"])
    if query.get("end"):
        os._exit(3)
    if query.get("large"):
        return "x" * query["large"]
    return {"answer": 100 / query["x"], **kwargs}


def predict_many(model, queries):
    return [100 / x for x in queries["x"]]
"""
#: Sends the same call the longer way: only calls without this header are taken straight from the parser.
LONG_WAY = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n"


class Answered(NamedTuple):
    """An HTTP answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: Any


class Caller:
    """Sends bytes as they are, and reads answers one by one."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
        self._rest = b""

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self) -> Answered:
        while (head := self._rest.find(b"\r\n\r\n")) < 0:
            self._rest += self._more()
        status, *lines = self._rest[:head].decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        end = head + 4 + int(headers["content-length"])
        while len(self._rest) < end:
            self._rest += self._more()
        body, self._rest = self._rest[head + 4 : end], self._rest[end:]
        return Answered(int(status.split()[1]), headers, json.loads(body))

    def is_closed(self) -> bool:
        return self.socket.recv(1) == b""

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        assert data, "the connection was closed"
        return data


@pytest.fixture(scope="module")
def target(workshop: Workshop) -> str:
    """The query string of a deployment."""
    version = workshop.make_version(SOURCE, predict_many=True)
    return f"deploymentToken={workshop.token()}&deploymentId={workshop.deploy(version)}"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each call that is taken straight from the parser."""
    found, send = list[int](), ExpressCall.send

    def counting(call: ExpressCall) -> None:
        found.append(1)
        send(call)

    monkeypatch.setattr(ExpressCall, "send", counting)
    return found


def request(target: str, body: bytes, action: str = "predict", more: str = "", version: str = "1.1") -> bytes:
    head = (
        f"POST /api/v0/{action}?{target} HTTP/{version}\r\nhost: 127.0.0.1\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def asked(**query: object) -> bytes:
    return json.dumps({"queryData": query}).encode()


def comparable(answer: Answered) -> tuple[int, list[str], Any]:
    """What must be the same both ways: all but ids, times, and what depends on them."""
    text = re.sub(r"0x[0-9a-f]+|\d+ ms", "", json.dumps({**answer.body, "requestId": ""}))
    return answer.status, sorted({*answer.headers} - {"date", "server", "content-length"}), json.loads(text)


FORM = "content-type: application/x-www-form-urlencoded\r\n"
CALLS = {
    "a result": request("{target}", asked(x=4)),
    "a keyword": request("{target}", json.dumps({"queryData": {"x": 4}, "unit": "cm"}).encode()),
    "an error of the user's": request("{target}", asked(x=0)),
    "a large result": request("{target}", asked(large=300_000)),
    "several": request("{target}", b'{"queryData": [{"x": 1}, {"x": 2}]}', "predictMultiple"),
    "no JSON": request("{target}", b"{broken"),
    "a list": request("{target}", b"[1, 2]"),
    "spaces before": request("{target}", b"  " + asked(x=5)),
    "a form": request("{target}", b"queryData=%7B%22x%22%3A+2%7D", more=FORM),
    "no query data": request("{target}", b"{}"),
    "a wrong token": request("deploymentToken=wrong&deploymentId={deployment}", asked(x=4)),
    "an unknown deployment": request("deploymentToken={token}&deploymentId=0123456789", asked(x=4)),
    "no deployment": request("deploymentToken={token}", asked(x=4)),
}  # fmt: skip


@pytest.mark.parametrize("what", CALLS)
def test_both_ways_answer_the_same(shared_yard: Yard, target: str, taken: list[int], what: str) -> None:
    token, deployment = (part.partition("=")[2] for part in target.split("&"))
    call = CALLS[what].replace(b"{target}", target.encode())
    call = call.replace(b"{token}", token.encode()).replace(b"{deployment}", deployment.encode())
    longer = call.replace(b"host: ", LONG_WAY.encode() + b"host: ", 1)
    with Caller(shared_yard.url) as caller:
        caller.socket.sendall(call)
        express = caller.read()
        assert bool(taken) is (what not in ("a wrong token", "an unknown deployment", "no deployment"))
        taken.clear()
        caller.socket.sendall(longer)
        ordinary = caller.read()
        assert not taken
    assert comparable(express) == comparable(ordinary)
    assert express.headers["x-request-id"] == express.body["requestId"]


def test_calls_that_are_sent_without_waiting_are_answered_in_their_order(shared_yard: Yard, target: str) -> None:
    with Caller(shared_yard.url) as caller:
        caller.socket.sendall(b"".join(request(target, asked(x=x)) for x in (1, 2, 4, 5)))
        assert [caller.read().body["result"]["answer"] for _ in range(4)] == [100, 50, 25, 20]
        caller.socket.sendall(request(target, asked(x=10)))
        assert caller.read().body["result"]["answer"] == 10


def test_a_call_may_come_byte_by_byte(shared_yard: Yard, target: str, taken: list[int]) -> None:
    with Caller(shared_yard.url) as caller:
        for byte in request(target, asked(x=8)):
            caller.socket.sendall(bytes((byte,)))
        assert caller.read().body["result"]["answer"] == 12.5
    assert taken


def test_a_caller_who_says_that_it_is_the_last_call_finds_the_connection_closed(
    shared_yard: Yard, target: str, taken: list[int]
) -> None:
    with Caller(shared_yard.url) as caller:
        caller.socket.sendall(request(target, asked(x=4), more="connection: close\r\n"))
        answer = caller.read()
        assert answer.headers["connection"] == "close"
        assert caller.is_closed()
    assert taken


@pytest.mark.parametrize(("more", "version"), [("expect: 100-continue\r\n", "1.1"), ("", "1.0")])
def test_unusual_calls_go_the_longer_way(
    shared_yard: Yard, target: str, taken: list[int], more: str, version: str
) -> None:
    with Caller(shared_yard.url) as caller:
        caller.socket.sendall(request(target, asked(x=4), more=more, version=version))
        if "expect" in more:
            assert caller.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert caller.read().body["result"]["answer"] == 25
    assert not taken


def test_a_body_past_the_limit_goes_the_longer_way(shared_yard: Yard, target: str, taken: list[int]) -> None:
    with Caller(shared_yard.url) as caller:
        caller.socket.sendall(request(target, asked(x=4, much="y" * 70_000)))
        assert caller.read().body["result"]["answer"] == 25
    assert not taken


def test_a_caller_who_leaves_disturbs_nobody(shared_yard: Yard, target: str, taken: list[int]) -> None:
    with Caller(shared_yard.url) as leaving:
        leaving.socket.sendall(request(target, asked(x=4, wait=0.5)))
        wait_until(lambda: bool(taken))
    with Caller(shared_yard.url) as half:
        half.socket.sendall(request(target, asked(x=4))[:-3])
    with Caller(shared_yard.url) as staying:
        staying.socket.sendall(request(target, asked(x=4)))
        assert staying.read().body["result"]["answer"] == 25


def test_a_replica_that_ends_gives_a_clear_error_and_the_connection_stays(shared_yard: Yard, target: str) -> None:
    with Caller(shared_yard.url) as caller:
        caller.socket.sendall(request(target, asked(x=4, end=True)))
        answer = caller.read()
        assert (answer.status, answer.body["success"]) == (500, False)
        assert "process ended" in answer.body["error"]
        caller.socket.sendall(request(target, asked(x=4)))
        assert caller.read().body["result"]["answer"] == 25
