"""Callers who send too much, too slowly or without end: each is refused, and nobody else waits for them."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from modelyard.api import bounded_head
from modelyard.settings import Settings
from tests.yard import Yard

#: Longest that a call beside an attack may take, on a machine that does other things as well.
PATIENCE_S = 1.5


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A gateway alone."""
    home = tmp_path_factory.mktemp("desk")
    with Yard(Settings.load({}, home=Path(home), port=0), with_agent=False) as opened:
        yield opened


@contextmanager
def others_are_served(desk: Yard) -> Iterator[None]:
    """Fails if a call that somebody else makes meanwhile has to wait."""
    slowest, done = [0.0], threading.Event()

    def call() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert requests.get(f"{desk.url}/api/v0/version", timeout=30).status_code == 200
            slowest[0] = max(slowest[0], time.monotonic() - began)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert slowest[0] < PATIENCE_S


def post(desk: Yard, body: bytes, kind: str = "application/json") -> requests.Response:
    headers = {"apiKey": desk.key, "content-type": kind}
    return requests.post(f"{desk.url}/api/v0/createProject", data=body, headers=headers, timeout=60)


def flood(desk: Yard, beginning: bytes, more: bytes) -> tuple[int, bytes]:
    """Sends without end; how many bytes were taken, and the answer."""
    sent = 0
    with socket.create_connection(("127.0.0.1", desk.settings.port), timeout=10) as connection:
        try:
            connection.sendall(beginning)
            while sent < 64 * 1024**2:
                connection.sendall(more)
                sent += len(more)
        except OSError:
            return sent, b""
        return sent, connection.recv(1000)


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"GET /api/v0/version?", b"a" * 65536),
        (b"GET /api/v0/version HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 65536),
        (b"GET /api/v0/version HTTP/1.1\r\nHost: localhost\r\n", b"X: 1\r\n" * 10_000),
    ],
    ids=["address", "header", "headers"],
)
def test_a_head_without_end_is_refused_soon(desk: Yard, beginning: bytes, more: bytes) -> None:
    with others_are_served(desk):
        sent, _ = flood(desk, beginning, more)
    assert sent < 32 * 1024**2


def test_a_url_that_is_too_long_is_told_its_length_and_the_limit(desk: Yard) -> None:
    answer = requests.get(f"{desk.url}/api/v0/listProjects", params={"name": "x" * 70_000}, timeout=20)
    assert answer.status_code == 400
    assert answer.text == "The URL has 70,026 bytes; at most 65,536 are allowed. Send what is long in the body."


def test_a_head_of_ordinary_length_is_taken_in_any_pieces(desk: Yard) -> None:
    head = f"GET /api/v0/version?{'&'.join('a' * 20 for _ in range(500))} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", desk.settings.port), timeout=10) as connection:
        for _ in range(3):
            for start in range(0, len(head), 1000):
                connection.sendall(head[start : start + 1000])
            assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_head_that_does_not_come_costs_its_sender_the_connection(monkeypatch: pytest.MonkeyPatch, desk: Yard) -> None:
    monkeypatch.setattr(bounded_head, "MOST_SECONDS", 0.2)
    for beginning in (b"", b"GET /api/v0/vers"):
        with socket.create_connection(("127.0.0.1", desk.settings.port), timeout=10) as connection:
            connection.sendall(beginning)
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
            assert connection.recv(1000) == b""


def test_hundreds_of_callers_that_dawdle_keep_nobody_waiting(desk: Yard) -> None:
    head = f"POST /api/v0/createProject HTTP/1.1\r\nHost: localhost\r\napiKey: {desk.key}\r\nContent-Length: 90\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", desk.settings.port), timeout=10) for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(head.encode())
        with others_are_served(desk):
            for letter in b'{"na':
                for connection in slow:
                    connection.sendall(bytes([letter]))
    finally:
        for connection in slow:
            connection.close()


def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_failure_of_ours(
    desk: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    head = (
        f"POST /api/v0/createProject HTTP/1.1\r\nHost: localhost\r\napiKey: {desk.key}\r\nContent-Length: 90\r\n\r\n{{"
    )
    with caplog.at_level("INFO", "modelyard.api.door"):
        with socket.create_connection(("127.0.0.1", desk.settings.port), timeout=10) as connection:
            connection.sendall(head.encode())
        deadline = time.monotonic() + 10
        while not [line for line in caplog.messages if "createProject 400" in line] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [line for line in caplog.messages if "createProject 400" in line]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


HUGE: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "a long list": (lambda: b'{"name":[' + b"1," * 5_000_000 + b"1]}", "application/json", "Invalid value for name"),
    "many keys": (
        lambda: json.dumps({f"a{number}": 1 for number in range(300_000)}).encode(),
        "application/json",
        "no parameter 'a0'",
    ),
    "a long key": (lambda: b'{"' + b"x" * 5_000_000 + b'":1}', "application/json", "has no parameter"),
    "a deep list": (lambda: b'{"name":' + b"[" * 10_000_000, "application/json", "nested too deeply"),
    "a huge number": (lambda: b'{"name":' + b"1" * 1_000_000 + b"}", "application/json", "out of range"),
    "many fields": (lambda: b"a=1&" * 500_000, "application/x-www-form-urlencoded", "Too many fields"),
    "many parts": (
        lambda: b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n' * 50_000 + b"--x--\r\n",
        "multipart/form-data; boundary=x",
        "Too many fields",
    ),
    "many files": (
        lambda: b'--x\r\ncontent-disposition: form-data; name="a"; filename="b"\r\n\r\n1\r\n' * 5_000 + b"--x--\r\n",
        "multipart/form-data; boundary=x",
        "Too many files",
    ),
    "no boundary": (lambda: b"--x\r\n", "multipart/form-data", "can't be read"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_body_that_is_hard_to_digest_is_refused_beside_others(desk: Yard, name: str) -> None:
    body, kind, said = HUGE[name]
    content = body()
    with others_are_served(desk):
        answer = post(desk, content, kind)
    assert answer.status_code == 400, answer.text[:300]
    assert said in answer.json()["error"]
    assert len(answer.content) < 2000


def test_bodies_that_never_say_their_length_are_counted(desk: Yard) -> None:
    answer = requests.post(
        f"{desk.url}/api/v0/createProject",
        data=(b" " * 1024**2 for _ in range(40)),
        headers={"apiKey": desk.key, "content-type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 413
    assert "33,554,432 are allowed" in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("deploymentToken=0&deploymentId=0", 403), ("deploymentId=0", 403), ("", 413)],
    ids=["wrong token", "no token", "in the body"],
)
def test_no_long_prediction_is_read_for_those_who_may_not_ask(desk: Yard, query: str, status: int) -> None:
    head = f"POST /api/v0/predict?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n{{"
    with socket.create_connection(("127.0.0.1", desk.settings.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(f"HTTP/1.1 {status}".encode())
