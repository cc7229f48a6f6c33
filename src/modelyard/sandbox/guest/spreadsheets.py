"""XLS, XLSX, XLSB and ODS: one sheet as a table, read by calamine; in a guest, for workbooks are XML of strangers.

The first row that holds anything names the columns. Cells have types of their own, so text that looks like a number
stays text; a column has the type that all its cells have, and where they differ it is text. Empty cells and those that
show an error (`#N/A`) are null, rows without any value are passed over. Formulas count as what they last gave.
"""

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import arrow_types
from .failures import Refused
from .uploads import Found, Options, Source

if TYPE_CHECKING:
    import pyarrow

#: Cells of a batch.
_CELLS = 500_000
#: Whole numbers up to here are exact in a spreadsheet, where every number is a fraction.
_EXACT = 2**53
_SHOWN = 20


def read(source: Source, options: Options) -> Found:
    """The table on the sheet that was asked for, else on the first one that is shown."""
    import python_calamine

    try:
        with source.open() as file, python_calamine.CalamineWorkbook.from_filelike(file) as workbook:
            name = _chosen(workbook, source, options.sheet)
            sheet = workbook.get_sheet_by_name(name)
    except python_calamine.CalamineError as error:
        raise _unreadable(source, error) from None
    names, width = _header(sheet, name)
    fresh = arrow_types.unique_names(names)
    kinds = _kinds(sheet, width)
    kept = [at for at in range(width) if names[at] or kinds[at]]
    import pyarrow

    schema = pyarrow.schema([(fresh[at], _type(kinds[at])) for at in kept])
    renamed = {fresh[at]: names[at] for at in kept if fresh[at] != names[at]}
    inspected = {"format": options.format or "XLS", "sheet": name, "sheets": workbook.sheet_names}
    return Found(schema, _batches(sheet, kept, schema), inspected | ({"renamedColumns": renamed} if renamed else {}))


def _chosen(workbook: Any, source: Source, asked: str | None) -> str:
    names = workbook.sheet_names
    if asked is not None and asked not in names:
        shown = ", ".join(map(repr, names[:_SHOWN])) + (" ..." if len(names) > _SHOWN else "")
        raise Refused(f"{source.name} has no sheet {asked!r}; its sheets are {shown}.", "ValueError")
    if not names:
        raise Refused(f"{source.name} holds no sheet.", "ValueError")
    shown_first = [each.name for each in workbook.sheets_metadata if str(each.visible).endswith(".Visible")]
    return asked or str((shown_first or names)[0])


def _rows(sheet: Any) -> Iterator[list[Any]]:
    """The rows that hold anything."""
    return (row for row in sheet.iter_rows() if any(cell != "" for cell in row))


def _header(sheet: Any, name: str) -> tuple[list[str], int]:
    first = next(_rows(sheet), None)
    if first is None:
        raise Refused(f"The sheet {name!r} is empty.", "ValueError")
    return ["" if cell == "" else _text(cell) for cell in first], len(first)


def _body(sheet: Any) -> Iterator[list[Any]]:
    rows = _rows(sheet)
    next(rows)
    return rows


def _kinds(sheet: Any, width: int) -> list[set[str]]:
    """What kinds of values each column holds, over all its rows."""
    kinds: list[set[str]] = [set() for _ in range(width)]
    for row in _body(sheet):
        for found, cell in zip(kinds, row, strict=True):
            if cell != "":
                found.add(_kind(cell))
    return kinds


def _kind(cell: Any) -> str:
    if isinstance(cell, float):
        return "whole" if cell.is_integer() and abs(cell) <= _EXACT else "number"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return "whole"
    return type(cell).__name__


def _type(kinds: set[str]) -> Any:
    import pyarrow

    for holds, kind in (
        ({"bool"}, pyarrow.bool_()),
        ({"whole"}, pyarrow.int64()),
        ({"whole", "number"}, pyarrow.float64()),
        ({"date"}, pyarrow.date32()),
        ({"date", "datetime"}, pyarrow.timestamp("us")),
        ({"timedelta"}, pyarrow.duration("us")),
    ):
        if kinds and kinds <= holds:
            return kind
    return pyarrow.string()


def _batches(sheet: Any, kept: list[int], schema: "pyarrow.Schema") -> "Iterator[pyarrow.RecordBatch]":
    import pyarrow

    rows, most = [], max(_CELLS // max(len(kept), 1), 1)
    for row in _body(sheet):
        rows.append(row)
        if len(rows) == most:
            yield pyarrow.RecordBatch.from_arrays(_columns(rows, kept, schema), schema=schema)
            rows = []
    if rows:
        yield pyarrow.RecordBatch.from_arrays(_columns(rows, kept, schema), schema=schema)


def _columns(rows: list[list[Any]], kept: list[int], schema: "pyarrow.Schema") -> "list[pyarrow.Array]":
    import pyarrow

    found = []
    for at, field in zip(kept, schema, strict=True):
        cells = [None if row[at] == "" else row[at] for row in rows]
        if pyarrow.types.is_string(field.type):
            cells = [None if cell is None else _text(cell) for cell in cells]
        elif pyarrow.types.is_timestamp(field.type):
            cells = [_moment(cell) for cell in cells]
        elif pyarrow.types.is_integer(field.type):
            cells = [None if cell is None else int(cell) for cell in cells]
        found.append(pyarrow.array(cells, field.type))
    return found


def _moment(cell: Any) -> Any:
    return datetime.datetime.combine(cell, datetime.time()) if type(cell) is datetime.date else cell


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and _kind(cell) == "whole":
        return str(int(cell))
    return cell.isoformat() if isinstance(cell, datetime.date | datetime.time) else str(cell)


def _unreadable(source: Source, error: Exception) -> Refused:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "password" in said.lower():
        return Refused(f"{source.name} is protected by a password; save it without one.", "ValueError")
    return Refused(f"{source.name} can't be read as a spreadsheet: {said}.", "ValueError")
