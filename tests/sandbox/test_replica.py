"""The task `replica`: a model initialised once, answering many calls in the form that the gateway speaks."""

import io
import json
import os
import pickle
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.deployments.calls.frames import HEADER
from modelyard.sandbox import Guest, GuestError, Interpreter, Limits, Sandbox

Serve = Callable[..., "Replica"]


class Replica:
    """A guest that serves, and a connection to it."""

    def __init__(self, guest: Guest, path: Path) -> None:
        self.guest, self.path = guest, path
        self.socket = self.connect()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        connection.settimeout(20)
        return connection

    def send(self, number: int, call: object, kind: int = 1) -> None:
        body = call if isinstance(call, bytes) else json.dumps(call).encode()
        self.socket.sendall(HEADER.pack(len(body), number, kind) + body)

    def receive(self) -> tuple[int, int, Any]:
        length, number, status = HEADER.unpack(self._exactly(HEADER.size))
        return number, status, json.loads(self._exactly(length))

    def call(self, query: object, kind: int = 1, **arguments: object) -> tuple[int, Any]:
        self.send(1, {"queryData": query, **arguments}, kind)
        return self.receive()[1:]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "the replica closed the connection"
            data += part
        return data


@pytest.fixture
def serve(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path) -> Iterator[Serve]:
    """Starts a replica of a source: `serve(source, model=..., files={...}, predict_many=True, ...)`."""
    opened: list[Replica] = []

    def start(source: str, model: object = None, files: dict[str, bytes] | None = None, **message: Any) -> Replica:
        path = tmp_path / f"{len(opened)}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        descriptors = [
            _file(tmp_path / "model.pkl", pickle.dumps(model)),
            _file(tmp_path / "files.tar", _tar(files or {})),
        ]
        guest = sandbox.start(interpreter, Limits(memory_gib=2), preload=(), name="replica")
        functions = {
            f"{name}_function": name for name in ("predict", "predict_many", "initialize") if f"def {name}(" in source
        }
        reply = guest.call("replica", {"source": source, **functions, **message}, [listener.fileno(), *descriptors])
        listener.close()
        for descriptor in descriptors:
            os.close(descriptor)
        assert reply.error is None, reply.error
        opened.append(Replica(guest, path))
        return opened[-1]

    yield start
    for replica in opened:
        replica.socket.close()
        replica.guest.kill()


def _file(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY)


def _tar(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def test_initialize_runs_once_over_the_model_and_its_files(serve: Serve) -> None:
    replica = serve(
        "calls = []\ndef initialize(model):\n  calls.append(1)\n"
        "  return model['w'] + float(open('deep/bias.txt').read())\n"
        "def predict(model, query):\n  return {'y': model * query['x'], 'calls': len(calls)}\n",
        model={"w": 2.0}, files={"deep/bias.txt": b"0.5"},
    )  # fmt: skip
    assert replica.call({"x": 2}) == (0, {"y": 5.0, "calls": 1})
    assert replica.call({"x": 4}) == (0, {"y": 10.0, "calls": 1})


def test_arguments_reach_the_function_as_far_as_it_takes_them(serve: Serve) -> None:
    replica = serve("def predict(model, query, scale=1): return query * scale\n", arguments={"scale": 3})
    assert replica.call(2) == (0, 6)
    assert replica.call(2, scale=5, other=1, deploymentId="x") == (0, 10)
    assert replica.call(2, scale=None) == (0, 6)


@pytest.mark.parametrize(
    ("given", "meant"), [("scal", "scale"), ("topK", "top_k"), ("TOP_K", "top_k"), ("treshold", "threshold")]
)
def test_an_argument_whose_name_is_nearly_right_is_refused(serve: Serve, given: str, meant: str) -> None:
    replica = serve("def predict(model, query, scale=1, top_k=1, *, threshold=0.5): return 'asked'\n")
    expected = f"The model takes no argument `{given}`. Did you mean `{meant}`?"
    for kind, query in ((1, 2), (2, [2])):
        status, failure = replica.call(query, kind, **{given: 3})
        assert (status, failure["type"], failure["value"]) == (2, "InvalidParameterError", expected)
    assert replica.call(2, **{given: 3, meant: 4}) == (0, "asked")
    assert replica.call(2, explain_predictions=True) == (0, "asked")


def test_names_are_those_that_either_function_takes(serve: Serve) -> None:
    replica = serve(
        "def predict(model, query, scale=1): return scale\n"
        "def predict_many(model, rows: list, scales=2): return [scales]\n"
    )
    assert replica.call(2, scales=5) == (0, 1)
    assert replica.call([2], kind=2, scale=5) == (0, [2])
    assert replica.call(2, scaling=5) == (0, 1)
    free = serve("def predict(model, query, scale=1, **more): return more\n")
    assert free.call(2, scal=5) == (0, {"scal": 5})


def test_a_query_that_is_sent_as_arguments_is_refused_with_its_place(serve: Serve) -> None:
    replica = serve("def predict(model, query, scale=1): return scale\n")
    replica.send(1, {"age": 41, "plan": "gold"})
    _, status, failure = replica.receive()
    assert (status, failure["type"]) == (2, "InvalidRequest")
    assert "no queryData, but `age`, `plan`" in failure["value"]
    replica.send(2, {"queryData": None, "scale": 3})
    assert replica.receive() == (2, 0, 3)
    replica.send(3, {})
    assert replica.receive() == (3, 0, 1)


def test_a_failing_call_tells_the_users_lines_and_the_replica_goes_on(serve: Serve) -> None:
    replica = serve("import sys\ndef predict(model, query):\n  if query == 2: sys.exit(1)\n  return 1 / query\n")
    status, failure = replica.call(0)
    assert status == 1
    assert failure["type"] == "ZeroDivisionError"
    assert 'File "model.py", line 4, in predict' in failure["traceback"]
    assert replica.call(2)[0] == 1
    assert replica.call(4) == (0, 0.25)


def test_what_is_no_call_is_refused(serve: Serve) -> None:
    replica = serve("def predict(model, query): return query\n")
    for body in (b"{", b"[1]", b"\xff", b"[" * 100_000):
        replica.send(9, body)
        number, status, failure = replica.receive()
        assert (number, status, failure["type"]) == (9, 2, "InvalidRequest")
    assert replica.call(1, kind=2)[0] == 2
    assert replica.call(1, kind=39)[0] == 2
    assert replica.call(None, kind=3) == (0, None)


def test_many_queries_go_through_predict_many_as_a_frame_or_a_list(serve: Serve) -> None:
    queries = [{"x": 1}, {"x": 2}]
    frames = serve("def predict_many(model, queries):\n  return queries['x'] * 2\n")
    assert frames.call(queries, kind=2) == (0, [2, 4])
    assert frames.call({"x": 5}) == (0, 10)
    assert frames.call([], kind=2) == (0, [])
    lists = serve(
        "def predict_many(model, queries: list[dict]): return [q['x'] for q in queries]\n"
        "def predict(m, q): return 'one'\n"
    )
    assert lists.call(queries, kind=2) == (0, [1, 2])
    assert lists.call({"x": 1}) == (0, "one")
    plain = serve("def predict(model, query): return query['x']\n")
    assert plain.call(queries, kind=2) == (0, [1, 2])


@pytest.mark.parametrize("result", ["[1]", "None", "{'a': 1}", "'text'", "queries.iloc[:0]", "5"])
def test_predict_many_must_give_one_result_per_query(serve: Serve, result: str) -> None:
    replica = serve(f"def predict_many(model, queries): return {result}\n")
    status, failure = replica.call([{"x": 1}, {"x": 2}], kind=2)
    assert status == 1
    assert "one" in failure["value"]
    assert "per query" in failure["value"]


def test_a_model_that_is_not_thread_safe_is_called_once_at_a_time(serve: Serve) -> None:
    source = """
import threading, time
inside = most = 0
lock = threading.Lock()
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
    for thread_safe, expected in ((False, 1), (True, 4)):
        replica = serve(source, thread_safe=thread_safe, threads=4)
        for number in range(8):
            replica.send(number, {"queryData": 1})
        answers = [replica.receive() for _ in range(8)]
        assert sorted(number for number, _, _ in answers) == list(range(8))
        assert max(most for _, _, most in answers) == expected
        replica.socket.close()


def test_a_client_that_leaves_disturbs_nobody(serve: Serve) -> None:
    replica = serve("def predict(model, query): return 'x' * query\n")
    leaving = replica.connect()
    body = json.dumps({"queryData": 10_000_000}).encode()
    leaving.sendall(HEADER.pack(len(body), 1, 1) + body)
    leaving.close()
    assert replica.call(3) == (0, "xxx")


def test_the_host_hears_of_a_crash(serve: Serve) -> None:
    replica = serve("import os\ndef predict(model, query): os._exit(5)\n")
    heard = threading.Event()
    reasons: list[str] = []

    def hear(error: GuestError) -> None:
        reasons.append(error.value)
        heard.set()

    replica.guest.on_exit(hear)
    replica.send(1, {"queryData": 1})
    assert heard.wait(10)
    assert "status 5" in reasons[0]
    assert not replica.guest.alive
    assert replica.guest.wait(0) is not None


def test_a_damaged_model_is_not_unpickled(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path) -> None:
    guest = sandbox.start(interpreter, Limits(), preload=())
    listener = socket.socket(socket.AF_UNIX)
    descriptor = _file(tmp_path / "model.pkl", pickle.dumps(1))
    message = {"source": "def predict(m, q): return m", "predict_function": "predict", "artifact_digest": "0" * 64}
    reply = guest.call("replica", message, [listener.fileno(), descriptor])
    guest.kill()
    listener.close()
    os.close(descriptor)
    assert reply.error is not None
    assert "damaged" in reply.error.value


def test_calls_are_answered_without_polling(serve: Serve) -> None:
    replica = serve("def predict(model, query): return query\n")
    replica.call(1)
    took_s = []
    for _ in range(300):
        begin = time.monotonic()
        replica.call(1)
        took_s.append(time.monotonic() - begin)
    assert sorted(took_s)[75] < 0.01  # the quickest quarter, since the machine is shared


SLOW = """
import time
seen = []

def predict(model, query):
    seen.append(query["x"])
    time.sleep(query.get("sleep", 0))
    return list(seen)
"""


@pytest.mark.parametrize("threads", [0, 1])
def test_a_cancelled_call_that_has_not_begun_never_does(serve: Serve, threads: int) -> None:
    replica = serve(SLOW, thread_safe=bool(threads), threads=threads)
    for number in range(4):
        replica.send(number, {"queryData": {"x": number, "sleep": 0.5 if number == 0 else 0}})
    replica.send(2, b"", kind=7)
    replica.send(77, b"", kind=7)  # there is none
    answers = {}
    for _ in range(4):
        length, number, status = HEADER.unpack(replica._exactly(HEADER.size))
        answers[number] = (status, json.loads(replica._exactly(length) or b"null"))
    assert answers == {0: (0, [0]), 1: (0, [0, 1]), 2: (3, None), 3: (0, [0, 1, 3])}


def test_connections_take_turns_although_one_always_has_calls(serve: Serve) -> None:
    replica = serve(SLOW)
    other = Replica(replica.guest, replica.path)
    for number in range(50):
        replica.send(number, {"queryData": {"x": number, "sleep": 0.02}})
    other.send(1, {"queryData": {"x": -1}})
    for number in range(50, 100):
        replica.send(number, {"queryData": {"x": number, "sleep": 0.02}})
    seen = other.receive()[2]
    other.socket.close()
    assert -1 in seen
    assert len(seen) < 100


@pytest.mark.parametrize("threads", [0, 4])
def test_a_forked_copy_that_comes_back_answers_nothing_and_reads_nothing(serve: Serve, threads: int) -> None:
    replica = serve(
        "import os\n"
        "def predict(model, query):\n"
        "  if query == 'which':\n    return os.getpid()\n"
        "  child = os.fork()\n"
        "  if query == 'await' and child:\n    os.waitpid(child, 0)\n"
        "  return os.getpid()\n",
        thread_safe=bool(threads), threads=threads,
    )  # fmt: skip
    _, own = replica.call("which")
    for query in ("await", "leave") * 3:
        assert replica.call(query) == (0, own)
    for number in range(50):
        replica.send(number, {"queryData": "which"})
    assert sorted(replica.receive() for _ in range(50)) == [(number, 0, own) for number in range(50)]
