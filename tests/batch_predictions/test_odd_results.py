"""Results of every shape and kind, through the files that guests write and read; and inputs that are odd."""

import csv
import datetime
import io
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.sandbox.guest import predictions
from modelyard.sandbox.guest.result_lines import Layout, csv_lines, head, json_lines
from tests.batch_predictions.bench import ECHO, Bench

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS
VALUES = st.recursive(SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3))
RESULTS = st.one_of(
    st.lists(VALUES, max_size=8), st.lists(st.floats() | st.none(), max_size=8), st.lists(TEXTS, max_size=8),
    st.lists(st.booleans(), max_size=8),
)  # fmt: skip


def kept(found: Any, failed: predictions.Failures) -> tuple[predictions.Predictions, predictions.Written]:
    """The results as they are after a way through a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chunk"
        with pa.OSFile(str(path), "wb") as file:
            written = predictions.write(file, found, failed, wants_fields=True)
        return predictions.read(os.open(path, os.O_RDONLY), 0, path.stat().st_size), written


def finite(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [finite(each) for each in value]
    return {name: finite(each) for name, each in value.items()} if isinstance(value, dict) else value


@given(RESULTS)
def test_json_lines_hold_each_result_as_it_was(results: list[Any]) -> None:
    found, _ = kept(results, predictions.Failures(0))
    inputs = pa.table({"n": pa.array(range(len(results)), pa.int64())})
    lines = json_lines(Layout({"n": "n"}, {}), inputs, found).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"n": at, "prediction": finite(result)} for at, result in enumerate(results)
    ]


@given(RESULTS)
def test_csv_lines_have_a_cell_for_every_field_and_none_begins_a_formula(results: list[Any]) -> None:
    found, written = kept(results, predictions.Failures(0))
    layout = Layout({"n": "n"}, {}, csv=True)
    fields = layout.fields(written.fields)
    inputs = pa.table({"n": pa.array(range(len(results)), pa.int64())})
    text = head(layout, fields, has_errors=False) + csv_lines(layout, inputs, found, fields, has_errors=False)
    rows = list(csv.reader(io.StringIO(text.decode(), newline="")))
    assert len(rows) == len(results) + 1
    assert {len(row) for row in rows} == {1 + len(fields)}
    assert [row[0] for row in rows[1:]] == [str(at) for at in range(len(results))]
    for row in rows:
        for cell in row:
            assert cell[:1] not in ("=", "@", "\t", "\r", "\n")
            assert cell[:1] not in ("+", "-") or not math.isnan(float(cell))


@pytest.mark.parametrize(
    "found",
    [
        np.arange(3), np.array([1.5, np.nan, np.inf]), np.array([True, False]), np.array([[1.0, 2.0], [3.0, np.nan]]),
        np.array([1, 2], np.float16), pd.Series([1, 2]), pd.Series(["a", None]), pd.Series([1, None], dtype="Int64"),
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pa.array([1, None]), pa.chunked_array([[1], [2]]), pa.table({"a": ["x"]}), [1, 2, None], ["a"],
    ],
)  # fmt: skip
def test_what_has_a_type_keeps_it(found: Any) -> None:
    array = predictions.typed(found)
    assert array is not None
    assert len(array) == len(found)
    read, written = kept(array, predictions.Failures(0))
    assert written.schema
    assert not read.is_json
    nans = json.loads(json.dumps(finite(read.column.to_pylist())))
    assert nans == finite(array.to_pylist())


@pytest.mark.parametrize(
    "found",
    [
        [1, 2.5], [True, 1], [2**70], [{"a": 1}], [], [None], [datetime.date(2026, 1, 1)], pd.Series(["a", 1]),
        pd.Series(pd.to_datetime(["2026-01-01"])), np.array(["a"]), np.zeros((2, 2, 2)),
        pd.Series(["a"], dtype="category"),
        pd.DataFrame({"a": [[1]]}), pd.DataFrame([[1, 2]], columns=["a", "a"]), pa.array([datetime.date(2026, 1, 1)]),
        "text", None, 7,
    ],
)  # fmt: skip
def test_what_has_none_is_looked_at_row_by_row(found: Any) -> None:
    assert predictions.typed(found) is None


def test_rows_that_failed_have_their_errors_and_no_prediction() -> None:
    failed = predictions.Failures(100)
    failed.note(1, ValueError("no \ud800"))
    found, _ = kept([1.5, None, {"a": object()}], failed)
    assert failed.first is not None
    assert failed.first["row"] == 101
    assert set(found.errors) == {1, 2}
    assert "object of type object" in found.errors[2]
    inputs = pa.table({"n": [1, 2, 3]})
    lines = [json.loads(line) for line in json_lines(Layout({"n": "n"}, {}), inputs, found).splitlines()]
    assert lines[0] == {"n": 1, "prediction": 1.5}
    assert lines[1] == {"n": 2, "error": "ValueError: no \\ud800"}
    assert set(lines[2]) == {"n", "error"}


@pytest.mark.sandbox
def test_one_row_and_columns_of_every_kind_come_out_whole(bench: Bench) -> None:
    moment = datetime.datetime(2026, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    table = bench.table(
        x=[4], 名=["é"], none=[None], day=[datetime.date(2026, 1, 2)], when=[moment], raw=[b"\x00"], many=[[1, None]],
        inner=[{"a": 1, "b": None}], flag=[True],
    )  # fmt: skip
    [line] = bench.lines(bench.predict(bench.deploy(ECHO, table)))
    assert line == {
        "x": 4, "名": "é", "none": None, "day": "2026-01-02", "when": "2026-05-06T07:08:09+00:00", "raw": "AA==",
        "many": [1, None], "inner": {"a": 1, "b": None}, "flag": True, "prediction": 40,
    }  # fmt: skip


@pytest.mark.sandbox
def test_types_of_inputs_and_predictions_stay_in_a_feature_group(bench: Bench) -> None:
    source = "def train(*tables):\n    return 10\n\n\ndef predict_many(model, queries):\n    import pandas\n"
    source += "    return pandas.DataFrame({'score': queries['x'] / model, 'label': queries['名']})\n"
    moment = datetime.datetime(2026, 5, 6, tzinfo=datetime.UTC)
    table = bench.table(x=[1, 2], 名=["007", None], when=[moment, None])
    version = bench.predict(bench.deploy(source, table), tableName="typed", outputIncludesMetadata=True)
    assert version["status"] == "COMPLETE", version["error"]
    found = bench.yard.client().describe_feature_group_by_table_name("typed").load_as_pandas()
    assert found["prediction_score"].tolist() == [0.1, 0.2]
    assert found["prediction_label"].iloc[0] == "007", "text stays text"
    assert found["名"].iloc[0] == "007"
    assert str(found["when"].dtype).startswith("datetime64")
    assert set(found["model_version"]) == {version["modelVersion"]}


@pytest.mark.sandbox
def test_failed_rows_and_predictions_of_several_shapes_become_columns_too(bench: Bench) -> None:
    source = "def train(*tables):\n    return 1\n\n\ndef predict(model, query):\n    if query['x'] == 3:\n"
    source += (
        "        raise ValueError('three')\n    return {'a': query['x']} if query['x'] == 1 else {'b': {'c': 'two'}}\n"
    )
    version = bench.predict(bench.deploy(source, bench.table(x=[1, 2, 3])), tableName="shapes")
    assert version["status"] == "COMPLETE", version["error"]
    found = bench.yard.client().describe_feature_group_by_table_name("shapes").load_as_pandas()
    assert sorted(found.columns) == ["error", "prediction_a", "prediction_b_c", "x"]
    assert found["x"].tolist() == [1, 2, 3]
    assert found["error"].iloc[2] == "ValueError: three"
    assert found["prediction_b_c"].iloc[1] == "two"
    assert bench.csv(version)["prediction.a"].fillna(0).tolist() == [1, 0, 0]


@pytest.mark.sandbox
def test_polars_and_arrow_go_in_and_come_out(bench: Bench) -> None:
    for form, result in (
        ("polars.DataFrame", "queries.select(polars.col('x') * model, label=polars.lit('a'))"),
        ("pyarrow.Table", "pyarrow.table({'x': [x * model for x in queries['x'].to_pylist()], 'label': ['a', 'a']})"),
    ):
        source = "import polars\nimport pyarrow\n\n\ndef train(*tables):\n    return 10\n\n\n"
        source += f"def predict_many(model, queries: {form}):\n    return {result}\n"
        version = bench.predict(bench.deploy(source, bench.table(x=[1, 2])), resultInputColumns=["x"])
        assert [line["prediction"] for line in bench.lines(version)] == [
            {"x": 10, "label": "a"},
            {"x": 20, "label": "a"},
        ]
