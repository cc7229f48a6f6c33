"""Sheets of workbooks as tables, and workbooks that mean harm."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import workbooks
from tests.datasets.conftest import Files
from tests.datasets.test_formats import kept
from tests.yard import CallFailed

DAY, AT = dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 10, 30)  # noqa: DTZ001 - spreadsheets know no zones
HEADER = ["n", "x", "name", "flag", "day", "at"]
ROWS: workbooks.Rows = [
    HEADER,
    [1, 1.5, "a", True, DAY, AT],
    [2, 3, "007", False, DAY, DAY],
    [None] * 6,
    [None, None, "", None, None],
]
SHEETS: dict[str, workbooks.Rows] = {"First": [["other"], ["x"]], "Data": ROWS}
FORMATS = {"XLSX": workbooks.xlsx(SHEETS), "ODS": workbooks.ods(SHEETS)}
#: With the sheet, as by a client that knows it.
DATA: dict[str, Any] = {"parsingConfig": {"excelSheet": "Data"}}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("declared", [True, False])
def test_a_sheet_is_a_table_with_types(files: Files, kind: str, *, declared: bool) -> None:
    said = {"fileFormat": "ODS" if kind == "ODS" else "XLS"} if declared else {}
    version = files.upload(FORMATS[kind], **DATA, **said)
    rows, twin = kept(files, version)
    assert {field.name: str(field.type) for field in rows.schema} == {
        "n": "int64", "x": "double", "name": "string", "flag": "bool", "day": "date32[day]", "at": "timestamp[us]",
    }  # fmt: skip
    midnight = dt.datetime.combine(DAY, dt.time())
    assert rows.to_pylist() == [
        {"n": 1, "x": 1.5, "name": "a", "flag": True, "day": DAY, "at": AT},
        {"n": 2, "x": 3.0, "name": "007", "flag": False, "day": DAY, "at": midnight},
    ]
    assert twin.num_rows == 2
    found = version["fileInspectMetadata"]
    assert (found["sheet"], found["sheets"]) == ("Data", ["First", "Data"])


def test_a_sheet_of_an_old_workbook_is_a_table(files: Files) -> None:
    data = (Path(__file__).parent / "files" / "two_sheets.xls").read_bytes()
    rows, _ = kept(files, files.upload(data, fileFormat="XLS", **DATA))
    assert rows.to_pylist() == [
        {"n": 1, "x": 1.5, "name": "a", "flag": True, "day": dt.date(2024, 1, 1), "at": AT.replace(day=1)},
        {"n": 2, "x": None, "name": "007", "flag": False, "day": DAY, "at": None},
    ]


def test_without_a_name_it_is_the_first_sheet_that_is_shown(files: Files) -> None:
    data = workbooks.xlsx({"Notes": [["a"], [1]], "Shown": [["b"], [2]]}, hidden="Notes")
    rows, _ = kept(files, files.upload(data, fileFormat="XLS"))
    assert rows.to_pylist() == [{"b": 2}]


def test_an_unknown_sheet_is_refused_with_the_names_of_those_there_are(files: Files) -> None:
    version = files.upload(FORMATS["XLSX"], fileFormat="XLS", parsingConfig={"excelSheet": "Sheet7"})
    assert version["error"] == "The file has no sheet 'Sheet7'; its sheets are 'First', 'Data'."


def test_a_sheet_of_a_file_without_sheets_is_refused(files: Files) -> None:
    assert "no spreadsheet" in files.upload(b"a,b\n1,2\n", **DATA)["error"]
    with pytest.raises(CallFailed, match="files of the format PARQUET have none"):
        files.begin(fileFormat="PARQUET", **DATA)


def test_the_last_row_of_a_sheet_decides(files: Files) -> None:
    rows: list[list[Any]] = [["n", "s", "d", "e"], *([[1, 1, DAY, "#N/A"]] * 20_000), [2.5, "x", "soon", None]]
    table, _ = kept(files, files.upload(workbooks.xlsx({"S": rows}), fileFormat="XLS"))
    assert [str(kind) for kind in table.schema.types] == ["double", "string", "string", "string"]
    assert table.slice(19_999).to_pylist() == [
        {"n": 1.0, "s": "1", "d": "2024-01-02", "e": None},
        {"n": 2.5, "s": "x", "d": "soon", "e": None},
    ]


def test_columns_without_a_name_are_kept_where_they_hold_something(files: Files) -> None:
    rows: workbooks.Rows = [[None, None], ["a", None, "a", 2020, None], [1, 2, 3, 4, None]]
    table, _ = kept(files, files.upload(workbooks.xlsx({"S": rows}), fileFormat="XLS"))
    assert table.to_pylist() == [{"a": 1, "column_2": 2, "a_2": 3, "2020": 4}]


def test_a_type_that_somebody_said_holds_for_sheets_too(files: Files) -> None:
    upload = files.begin(fileFormat="XLS")
    assert files.finish(upload, workbooks.xlsx({"S": [["code"], [7]]}))["status"] == "COMPLETE"
    files.yard.call("setDatasetColumnDataType", datasetId=upload["datasetId"], column="code", dataType="DATE")
    again = files.yard.call("createDatasetVersionFromUpload", datasetId=upload["datasetId"])
    assert files.finish(again, workbooks.xlsx({"S": [["code"], ["2024-01-01"], ["x"]]}))["error"] == (
        "Row 2, column 'code': 'x' is no DATE."
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (workbooks.xlsx({"S": []}), "The sheet 'S' is empty"),
        (workbooks.xlsx({}), "holds no sheet"),
        (b"PK\x03\x04 nonsense", "can't be unpacked"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 4000, "can't be read as a spreadsheet"),
        (b"a,b\n1,2\n", "can't be read as a spreadsheet"),
        (FORMATS["XLSX"][:-400], "can't be unpacked"),
    ],
    ids=["empty", "no sheets", "zip", "ole", "csv", "cut"],
)
def test_what_is_wrong_with_a_workbook_is_said(files: Files, data: bytes, said: str) -> None:
    version = files.upload(data, fileFormat="XLS")
    assert (version["status"], said in version["error"]) == ("FAILED", True), version["error"]


def test_entities_are_not_followed(files: Files) -> None:
    lines = ["<!ENTITY e0 'entity'>", *(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 12))]
    prolog = f"<!DOCTYPE w [{''.join(lines)}<!ENTITY file SYSTEM 'file:///etc/passwd'>]>"
    for reference in ("&e11;", "&file;"):
        data = workbooks.xlsx({"S": [["a"], [reference]]}, prolog=prolog)
        version = files.upload(data, fileFormat="XLS")
        if version["status"] == "COMPLETE":
            rows, _ = kept(files, version)
            (value,) = rows.column("a").to_pylist()
            assert value in (None, reference)


def test_cells_that_lie_far_apart_end_the_guest_and_nothing_else(files: Files) -> None:
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    version = files.upload(workbooks.xlsx({"S": [["a"], [1]]}, extra=far), fileFormat="XLS")
    assert version["status"] == "FAILED"
    assert "memory" in version["error"]
    assert files.upload(b"a\n1\n", fileFormat="CSV")["status"] == "COMPLETE"
