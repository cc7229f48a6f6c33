"""What leaves as text, line by line, for any value: read back by readers that are not ours."""

import csv
import datetime as dt
import io
import json
import os
import struct
import tempfile
import threading
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.sandbox.guest import cell_text, table_out
from modelyard.sandbox.guest.failures import Refused

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ROWS = st.lists(
    st.tuples(
        st.none() | TEXT, st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False), st.none() | st.booleans(),
        st.none() | st.lists(st.none() | TEXT, max_size=3),
    ),
    min_size=1, max_size=20,
)  # fmt: skip
NAMES = ["text", "whole", "float", "good", "list"]
SCHEMA = pa.schema(
    [("text", pa.string()), ("whole", pa.int64()), ("float", pa.float64()), ("good", pa.bool_()),
     ("list", pa.list_(pa.string()))]
)  # fmt: skip


class Asked:
    """As much of a task as the export looks at."""

    def __init__(self, message: dict[str, Any], fds: list[int]) -> None:
        self.message, self.fds = message, fds


def written(rows: pa.Table, form: str, **more: Any) -> bytes:
    """The bytes that come out of the pipe."""
    with tempfile.TemporaryFile() as parquet:
        pyarrow.parquet.write_table(rows, parquet)
        parquet.flush()
        reading, writing = os.pipe()
        found: list[bytes] = []

        def read() -> None:
            with os.fdopen(reading, "rb") as pipe:
                while (head := struct.unpack(">cI", pipe.read(5)))[0] == b"D":
                    found.append(pipe.read(head[1]))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        task: Any = Asked({"format": form, "columns": None, **more}, [os.dup(parquet.fileno()), writing])
        try:
            table_out.export_table(task)
        finally:
            os.close(writing)
        thread.join(30)
    return b"".join(found)


def as_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(ROWS)
def test_json_lines_say_every_value(rows: list[tuple[Any, ...]]) -> None:
    lines = written(as_table(rows), "JSON").decode().split("\n")[:-1]
    assert [tuple(json.loads(line).values()) for line in lines] == rows
    arrays = written(as_table(rows), "ROWS").decode().split("\n")[:-1]
    for line, row in zip(arrays, rows, strict=True):
        *plain, nested = json.loads(line)
        assert tuple(plain) == row[:-1]
        assert (None if nested is None else json.loads(nested)) == row[-1]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(ROWS, st.booleans())
def test_csv_says_every_value_but_null_and_a_formula(rows: list[tuple[Any, ...]], safe: bool) -> None:
    text = written(as_table(rows), "CSV", formula_safe=safe).decode()
    names, *found = csv.reader(io.StringIO(text, newline=""))
    assert names == NAMES
    assert len(found) == len(rows)
    for cells, row in zip(found, rows, strict=True):
        said = row[0] or ""
        risky = safe and said[:1] in tuple("=+-@\t\r\n") and said != ""
        assert cells[0] == ("'" + said if risky else said)
        assert cells[1] == ("" if row[1] is None else str(row[1]))
        assert (float(cells[2]) if cells[2] else None) == row[2]
        assert cells[3] == ("" if row[3] is None else str(row[3]).lower())
        assert (json.loads(cells[4]) if cells[4] else None) == row[4]


def unescaped(cell: str) -> str | None:
    """A cell of PostgreSQL's COPY, as its documentation reads it."""
    if cell == "\\N":
        return None
    out, chars = "", iter(cell)
    for char in chars:
        out += {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[next(chars)] if char == "\\" else char
    return out


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.lists(st.none() | TEXT, min_size=1, max_size=20))
def test_copy_has_one_line_a_row_whatever_is_in_it(values: list[str | None]) -> None:
    rows = pa.table({"a": pa.array(values, pa.string()), "b": pa.array(range(len(values)))})
    lines = written(rows, "COPY").decode().split("\n")[:-1]
    assert [unescaped(line.split("\t")[0]) for line in lines] == values


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([1.0, -0.0, 1e20, 1e-7, 0.1]), ["1.0", "-0.0", "1e+20", "1e-7", "0.1"]),
        (pa.array([0.1], pa.float32()), ["0.1"]),
        (pa.array([0], pa.timestamp("s", "Europe/Berlin")), ["1970-01-01T00:00:00Z"]),
        (pa.array([-1], pa.timestamp("ns")), ["1969-12-31 23:59:59.999999999"]),
        (pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)]), ["0001-01-01", "9999-12-31"]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['[["k",1]]']),
        (pa.array([{"at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}]), ['{"at":"2024-01-01T00:00:00Z"}']),
        (pa.array([[float("nan"), b"\xff"[0]]]), ["[null,255.0]"]),
    ],
)
def test_values_have_one_form(column: pa.Array, said: list[str]) -> None:
    assert cell_text.texts(column, "column").to_pylist() == said


def test_a_duration_that_is_no_whole_microseconds_is_refused_by_its_column() -> None:
    assert cell_text.texts(pa.array([-1_000], pa.duration("ns")), "d").to_pylist() == ["-1"]
    with pytest.raises(Refused, match="'d' holds durations"):
        cell_text.texts(pa.array([1], pa.duration("ns")), "d")
