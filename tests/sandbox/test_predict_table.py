"""The tasks `predict_table` and `predict_chunks`: where a guest leaves predictions, and when it writes there again."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pytest

from modelyard.sandbox import Guest, Interpreter, Limits, Sandbox
from modelyard.sandbox.guest import predictions

pytestmark = pytest.mark.sandbox
ROWS = 1000
SOURCE = "def predict_many(model, queries):\n    return queries['x']{}\n"


@pytest.fixture
def table(tmp_path: Path) -> Iterator[int]:
    """The numbers from 0 on, as a table's twin, open."""
    path = tmp_path / "table.arrow"
    rows = pa.table({"x": pa.array(range(ROWS), pa.int64())})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def guest(sandbox: Sandbox, interpreter: Interpreter) -> Iterator[Guest]:
    started = sandbox.start(interpreter, Limits(memory_gib=1, timeout_s=60), preload=())
    yield started
    started.kill()


def opened(guest: Guest, table: int, body: str = "") -> None:
    """Brings a model to life in the guest."""
    message = {"source": SOURCE.format(body), "predict_many_function": "predict_many", "artifact": False}
    answer = guest.call("predict_table", {**message, "files": False}, [table])
    assert answer.result == {"rows": ROWS}, answer.error


def ask(guest: Guest, file: int, *chunks: tuple[int, int]) -> tuple[dict[str, Any], IO[bytes]]:
    """The guest's answer, and its file."""
    asked = {"chunks": list(chunks), "within_s": 30.0, "file": file}
    answer = guest.call("predict_chunks", asked)
    assert answer.result is not None, answer.error
    return answer.result, guest.open(answer.result["path"])


def values(answer: dict[str, Any], stream: IO[bytes]) -> list[list[Any]]:
    """The predictions of each chunk."""
    return [
        predictions.read(os.dup(stream.fileno()), part["offset"], part["size"]).column.to_pylist()
        for part in answer["done"]
    ]


def test_a_file_is_written_again_when_its_number_comes_again_and_not_before(guest: Guest, table: int) -> None:
    opened(guest, table)
    first, one = ask(guest, 1, (0, 300), (300, 200))
    second, two = ask(guest, 2, (500, 400))
    with one, two:
        assert values(first, one) == [list(range(300)), list(range(300, 500))]
        assert values(second, two) == [list(range(500, 900))]
        third, again = ask(guest, 1, (900, 100))  # fewer bytes than the file has already
        with again:
            assert os.path.samestat(os.fstat(again.fileno()), os.fstat(one.fileno()))
            assert values(third, again) == [list(range(900, 1000))]
        assert values(second, two) == [list(range(500, 900))]


def test_a_file_that_has_grown_large_makes_room_for_a_new_one(guest: Guest, table: int) -> None:
    opened(guest, table, ".map(lambda x: 'a' * (400_000 if x < 100 else 1))")
    first, one = ask(guest, 1, (0, 100))
    with one:
        second, two = ask(guest, 1, (100, 100))
        with two:
            assert [len(text) for text in values(first, one)[0]] == [400_000] * 100
            assert values(second, two) == [["a"] * 100]
            assert os.fstat(two.fileno()).st_size < 100_000


def test_chunks_before_one_that_fails_are_told_with_what_was_raised(guest: Guest, table: int) -> None:
    opened(guest, table, ".map(lambda x: 1 // (x - 600))")
    answer, stream = ask(guest, 1, (0, 500), (500, 500))
    with stream:
        assert values(answer, stream) == [[-1] * 500]
    assert answer["error"]["type"] == "ZeroDivisionError"
    failed = guest.call("predict_chunks", {"chunks": [(500, 500)], "within_s": 30.0, "file": 1})
    assert failed.error is not None
    assert failed.error.type == "ZeroDivisionError"
