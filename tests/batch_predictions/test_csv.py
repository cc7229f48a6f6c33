"""CSV results: columns from predictions, prefixes, and text that a spreadsheet would run."""

import string
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.sandbox.guest import result_lines
from modelyard.sandbox.guest.predictions import Predictions
from modelyard.sandbox.guest.result_lines import Layout, csv_lines
from tests.batch_predictions.bench import ECHO, Bench

OBJECTS = "def train(*tables):\n    return 1\n\n\ndef predict(model, query):\n"
OBJECTS += "    return {'score': query['x'] / 2, 'why': {'first': query['name']}, 'all': [1, 2]}\n"


@pytest.mark.sandbox
def test_a_prediction_that_is_an_object_becomes_columns_with_their_prefixes(bench: Bench) -> None:
    deployment_id = bench.deploy(OBJECTS, bench.table(x=[1, 2], name=["a", 'b,\n"c"']))
    version = bench.predict(deployment_id, outputFormat="csv", csvInputPrefix="in_", csvPredictionPrefix="out_")
    assert version["fileOutputFormat"] == "CSV"
    found = bench.csv(version)
    assert list(found.columns) == [
        "in_x", "in_name", "out_prediction.score", "out_prediction.why.first", "out_prediction.all",
    ]  # fmt: skip
    assert found["in_name"].tolist() == ["a", 'b,\n"c"']
    assert found["out_prediction.score"].tolist() == [0.5, 1.0]
    assert found["out_prediction.all"].tolist() == ["[1,2]", "[1,2]"]


@pytest.mark.sandbox
def test_failed_rows_have_their_own_column(bench: Bench) -> None:
    source = ECHO.replace(
        "    return query", "    if query['x'] == 2:\n        raise ValueError('two')\n    return query"
    )
    found = bench.csv(bench.predict(bench.deploy(source, bench.table(x=[1, 2, 3])), outputFormat="CSV"))
    assert list(found.columns) == ["x", "prediction", "error"]
    assert found["prediction"].fillna(0).tolist() == [10, 0, 30]
    assert found["error"].fillna("").tolist() == ["", "ValueError: two", ""]


@pytest.mark.sandbox
def test_text_that_begins_a_formula_is_disarmed_and_numbers_are_left_alone(bench: Bench) -> None:
    source = "def train(*tables):\n    return 1\n\n\ndef predict(model, query):\n    return query['=x()']\n"
    texts = ["=cmd|' /C calc'!A0", "+1", "-2.5e3", "@sum", "\tx", "plain"]
    rows: dict[str, list[Any]] = {"=x()": texts, "n": [-1, -2, -3, 4, 5, 6]}
    table = bench.table(**rows)
    text = bench.raw(bench.predict(bench.deploy(source, table), outputFormat="CSV")).decode()
    assert text.splitlines()[0] == "'=x(),n,prediction"
    found = [line.split(",") for line in text.splitlines()[1:]]
    assert [cells[0] for cells in found] == ["'=cmd|' /C calc'!A0", "+1", "-2.5e3", "'@sum", "'\tx", "plain"]
    assert [cells[1] for cells in found] == ["-1", "-2", "-3", "4", "5", "6"]
    assert [cells[2] for cells in found] == [cells[0] for cells in found]


@given(st.text(string.printable, max_size=20))
def test_no_cell_of_text_begins_like_a_formula(text: str) -> None:
    inputs = pa.table({"a": pa.array([text], pa.large_string())})
    found = Predictions(pa.chunked_array([pa.array([None], pa.float64())]), False, {})
    lines = csv_lines(Layout({"a": "a"}, {}, csv=True), inputs, found, ["prediction"], has_errors=False)
    cell = lines.decode().lstrip('"')
    number = cell.rstrip(",\n").lstrip("+-").replace(".", "").replace("e", "").replace("E", "")
    assert cell[:1] not in ("=", "@", "\t", "\r")
    assert cell[:1] not in ("+", "-") or number.replace("+", "").replace("-", "").isdigit()


NUMBERS = st.one_of(st.integers(-9, 9).map(float), st.floats(), st.none())
PLAIN = st.one_of(st.sampled_from(["a", "", "x y", "+1", "=1", 'q"', "c,", "l\n"]), st.none())


@given(st.lists(st.tuples(NUMBERS, st.one_of(st.integers(-(2**63), 2**63 - 1), st.none()), PLAIN), min_size=1))
def test_columns_put_together_as_a_whole_give_the_bytes_that_cells_give(rows: list[tuple[Any, ...]]) -> None:
    numbers, whole, texts = (list(column) for column in zip(*rows, strict=True))
    columns = [
        pa.chunked_array([pa.array(numbers, pa.float64())]), pa.chunked_array([pa.array(whole, pa.int64())]),
        pa.chunked_array([pa.array(texts, pa.large_string())]),
    ]  # fmt: skip
    found = Predictions(columns[0], False, {})
    for shown in (columns, columns[:2], columns[1:], []):
        names = {str(at): str(at) for at in range(len(shown))}
        inputs = pa.table(dict(zip(names, shown, strict=True))) if shown else pa.table({"n": whole}).select([])
        lines = csv_lines(Layout(names, {}, csv=True), inputs, found, ["prediction"], has_errors=False)
        cells = [result_lines._csv_column(column) for column in [*shown, columns[0]]]
        assert lines == result_lines._csv_text(zip(*cells, strict=True))


@pytest.mark.sandbox
def test_columns_that_come_late_leave_no_row_short(bench: Bench) -> None:
    source = OBJECTS.split("    return {", maxsplit=1)[0] + "    return {query['key']: 1}\n"
    table = bench.table(key=["a", "b", "a", "c\n"])
    text = bench.raw(bench.predict(bench.deploy(source, table), outputFormat="CSV"))
    names = b'key,prediction.a,prediction.b,"prediction.c\n"\n'
    assert text == names + b'a,1,,\nb,,1,\na,1,,\n"c\n",,,1\n'
