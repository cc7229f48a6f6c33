"""Types are those of the whole file: what only the last row says, far behind any sample, holds."""

import gzip
import json
from typing import Any

import pytest

from modelyard.sandbox.guest.text_types import SAMPLE_ROWS
from tests.datasets.conftest import Files
from tests.datasets.test_formats import kept

#: Behind the rows that the types are guessed by, and behind DuckDB's own sample.
ROWS = 3 * SAMPLE_ROWS
ROW = {"n": 7, "when": "2024-01-01", "flag": True, "gap": None}


def as_csv(last: dict[str, Any]) -> bytes:
    def line(row: dict[str, Any]) -> str:
        return ",".join("" if value is None else str(value) for value in row.values())

    return ("\n".join([",".join(ROW), *([line(ROW)] * ROWS), line(last)]) + "\n").encode()


def as_json_lines(last: dict[str, Any]) -> bytes:
    return ("\n".join([*([json.dumps(ROW)] * ROWS), json.dumps(last)]) + "\n").encode()


LAST = [
    ({"n": 2.5}, {"n": "double"}, 2.5),
    ({"n": "x1"}, {"n": "string"}, "x1"),
    ({"n": 10**20}, {"n": "decimal128(38, 0)"}, 10**20),
    ({"when": "2024-01-02 10:00:00"}, {"when": "timestamp[us]"}, None),
    ({"when": "2024-13-45"}, {"when": "string"}, "2024-13-45"),
    ({"flag": "maybe"}, {"flag": "string"}, "maybe"),
    ({"gap": 5}, {"gap": "int64"}, 5),
]


@pytest.mark.parametrize(("last", "types", "value"), LAST)
def test_the_last_row_of_a_csv_decides(files: Files, last: dict[str, Any], types: dict[str, str], value: Any) -> None:
    version = files.upload(as_csv(ROW | last), fileFormat="CSV")
    rows, twin = kept(files, version)
    expected = {"n": "int64", "when": "date32[day]", "flag": "bool", "gap": "string"} | types
    assert {field.name: str(field.type) for field in rows.schema} == expected
    assert rows.num_rows == twin.num_rows == version["rowCount"] == ROWS + 1
    (name,) = last
    assert value is None or rows.column(name)[-1].as_py() == value


def test_the_last_row_of_a_packed_csv_decides(files: Files) -> None:
    rows, _ = kept(files, files.upload(gzip.compress(as_csv(ROW | {"n": 2.5}), 1), fileFormat="GZ"))
    assert (str(rows.schema.field("n").type), rows.column("n")[-1].as_py()) == ("double", 2.5)


@pytest.mark.parametrize(("value", "kind"), [(2.5, "double"), ("x", "string")])
def test_the_last_row_of_json_lines_decides(files: Files, value: object, kind: str) -> None:
    rows, _ = kept(files, files.upload(as_json_lines(ROW | {"n": value}), fileFormat="JSON"))
    assert (str(rows.schema.field("n").type), rows.column("n")[-1].as_py()) == (kind, value)


def test_a_value_that_is_not_of_the_type_that_was_said_is_named_with_its_place(files: Files) -> None:
    upload = files.begin(fileFormat="CSV")
    assert files.finish(upload, as_csv(ROW))["status"] == "COMPLETE"
    files.yard.call("setDatasetColumnDataType", datasetId=upload["datasetId"], column="n", dataType="INTEGER")
    again = files.yard.call("createDatasetVersionFromUpload", datasetId=upload["datasetId"])
    ended = files.finish(again, as_csv(ROW | {"n": 2.5}))
    assert (ended["status"], ended["error"]) == ("FAILED", f"Row {ROWS + 1}, column 'n': '2.5' is no INTEGER.")


#: What two rows of a column hold, and its type: a number or a moment only where nothing of the text is lost.
COLUMNS = [
    (("007", "1"), "string"),
    (("+1", "2"), "string"),
    (("1_000", "2"), "string"),
    (("0x1F", "1"), "string"),
    (("1", " 2 "), "int64"),
    (("-0", "12"), "int64"),
    (("1", "1e5"), "double"),
    (("1", "nan"), "double"),
    (("-inf", "1.5"), "double"),
    ((".5", "-1."), "double"),
    (("1_0.5", "1"), "string"),
    (("true", "FALSE"), "bool"),
    (("true", "1"), "string"),
    (("2024-01-01T10:00", "2024-01-01"), "timestamp[us]"),
    (("2024-01-01 10:00:00.123456789", ""), "timestamp[ns]"),
    (("2024-01-01T10:00:00Z", "2024-01-01 10:00:00+02:00"), "timestamp[us, tz=UTC]"),
    (("2024-01-01 10:00:00Z", "2024-01-01 10:00:00"), "string"),
    (("2024/01/01", ""), "string"),
    (("20240101", "20240102"), "int64"),
    (("", ""), "string"),
]


@pytest.mark.parametrize("times", [1, SAMPLE_ROWS // 2 + 1])
def test_text_becomes_what_it_can_without_losing_anything(files: Files, times: int) -> None:
    lines = [",".join(["other", *(f"c{at}" for at in range(len(COLUMNS)))])]
    lines += [",".join(["1", *(values[at] for values, _ in COLUMNS)]) for at in (0, 1)] * times
    lines += [",".join(["1.5", *(values[0] for values, _ in COLUMNS)])]  # by which all types are looked at once more
    rows, _ = kept(files, files.upload("\n".join(lines).encode(), fileFormat="CSV"))
    assert [str(kind) for kind in rows.schema.types] == ["double", *(kind for _, kind in COLUMNS)]
    assert rows.num_rows == 2 * times + 1
