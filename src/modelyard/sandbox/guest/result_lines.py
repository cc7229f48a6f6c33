"""The tasks `result_open` and `result_lines`: rows of a result as text, JSON, one object a row, or CSV.

In JSON a line holds the inputs under their names and the prediction under `prediction`. In CSV a prediction that is an
object becomes a column for each of its fields, `prediction.<field>`, as readers of the JSON form name them too. Text
that a spreadsheet would take for a formula gets an apostrophe in front. Inputs come from the table's twin, predictions
from the files that `predict_table` left. Values are made a column at a time; rows of objects would cost far more.
"""

import base64
import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import answers, cell_text, frames, result_csv
from .predictions import PREDICTION, Predictions, flattened, read

if TYPE_CHECKING:
    import pyarrow

    from .work import Work

ERROR = "error"
#: Where the newest lines lie, relative to the working directory.
FOLDER = ".modelyard/result"
PATH = f"{FOLDER}/lines"
#: In front of the name of an input that is called like something of ours.
_INPUT = "input_"
#: What a spreadsheet takes for the beginning of a formula.
_RISKY = frozenset("=+-@\t\r\n")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: Rows, and values, that are text at the same time.
_ROWS = 8_192
_VALUES = 200_000


@dataclass(frozen=True)
class Layout:
    """What a line holds, under which names."""

    #: Columns of the table that are shown, in order -> name in the result.
    names: dict[str, str]
    #: The same in every line.
    metadata: dict[str, str]
    csv: bool = False
    prediction_prefix: str = ""
    #: Between the name of a prediction and those of its fields, where these become columns.
    separator: str = "."

    @classmethod
    def of(cls, message: Mapping[str, Any], columns: Sequence[str]) -> "Layout":
        """From a message with csv, columns (or null for all), metadata, separator and the prefixes."""
        wanted = message.get("columns")
        shown = [name for name in columns if wanted is None or name in wanted]
        prefix, metadata = message.get("input_prefix") or "", message.get("metadata") or {}
        prediction_prefix, separator = message.get("prediction_prefix") or "", message.get("separator") or "."
        own = prediction_prefix + PREDICTION
        taken = {own, ERROR, *metadata}
        names: dict[str, str] = {}
        for column in shown:
            name = prefix + column
            while name in taken or name.startswith(own + separator):
                name = _INPUT + name
            names[column] = name
            taken.add(name)
        return cls(names, dict(metadata), bool(message.get("csv")), prediction_prefix, separator)

    def column(self, path: Sequence[str]) -> str:
        """The name of the column that a field of predictions becomes."""
        return self.separator.join([self.prediction_prefix + PREDICTION, *path])

    def fields(self, paths: Sequence[Sequence[str]]) -> list[str]:
        """The columns that predictions with those fields have, each once; without fields the prediction's own."""
        return list(dict.fromkeys(self.column(path) for path in paths or [[]]))


@dataclass
class _Result:
    """The one result of this guest."""

    table: "pyarrow.Table"
    layout: Layout
    fields: list[str]
    has_errors: bool


_results: list[_Result] = []


def result_open(work: "Work") -> dict[str, object]:
    """Message: layout, fields (paths), errors (whether any row failed); file: the table's twin."""
    message: dict[str, Any] = work.message
    table, _ = frames.read_arrow(work.fds[0])
    layout = Layout.of(message["layout"], table.column_names)
    fields = layout.fields(message["fields"])
    _results[:] = [_Result(table.select(list(layout.names)), layout, fields, bool(message["errors"]))]
    os.makedirs(FOLDER, exist_ok=True)
    return {}


def result_lines(work: "Work") -> dict[str, object]:
    """Message: start, rows, offset, size, head (whether names stand above); file: predictions, if there are rows."""
    message: dict[str, Any] = work.message
    result, start, rows = _results[0], int(message["start"]), int(message["rows"])
    if os.path.exists(PATH):
        os.unlink(PATH)  # the host may still read it
    with open(PATH, "wb") as target:
        if message.get("head") and result.layout.csv:
            target.write(head(result.layout, result.fields, has_errors=result.has_errors))
        if rows:
            found = read(work.fds[0], int(message["offset"]), int(message["size"]))
            target.writelines(_pieces(result, start, rows, found))
    return {"path": PATH, "size": os.path.getsize(PATH)}


def _pieces(result: _Result, start: int, rows: int, found: Predictions) -> Iterator[bytes]:
    if len(found.column) != rows:
        raise ValueError(f"there are {len(found.column)} predictions for {rows} rows")
    step = max(1, min(_ROWS, _VALUES // max(len(result.layout.names) + len(result.fields), 1)))
    for at in range(0, rows, step):
        inputs = result.table.slice(start + at, min(step, rows - at))
        piece = slice_of(found, at, inputs.num_rows)
        if result.layout.csv:
            yield csv_lines(result.layout, inputs, piece, result.fields, has_errors=result.has_errors)
        else:
            yield json_lines(result.layout, inputs, piece)


def slice_of(found: Predictions, at: int, rows: int) -> Predictions:
    """So many of the predictions, from that place on."""
    errors = {place - at: text for place, text in found.errors.items() if at <= place < at + rows}
    return Predictions(found.column.slice(at, rows), found.is_json, errors)


def json_lines(layout: Layout, inputs: "pyarrow.Table", found: Predictions) -> bytes:
    """The rows as objects."""
    import msgspec

    shown = {name: _plain_values(inputs.column(column)) for column, name in layout.names.items()}
    rows = inputs.num_rows
    predicted: list[Any] = (
        [msgspec.Raw(text.encode() if text is not None else b"null") for text in found.column.to_pylist()]
        if found.is_json
        else _plain_values(found.column)
    )
    columns = {**shown, PREDICTION: predicted, **{name: [text] * rows for name, text in layout.metadata.items()}}
    if found.errors:
        errors: list[Any] = [msgspec.UNSET] * rows
        for at, text in found.errors.items():
            predicted[at], errors[at] = msgspec.UNSET, text
        columns[ERROR] = errors
    fields = [f"f{at}" for at in range(len(columns))]
    row = msgspec.defstruct("Row", fields, rename=dict(zip(fields, columns, strict=True)), gc=False)
    return msgspec.json.Encoder().encode_lines(list(map(row, *columns.values())))


def head(layout: Layout, fields: Sequence[str], *, has_errors: bool) -> bytes:
    """The line of names above CSV lines."""
    names = [*layout.names.values(), *layout.metadata, *fields, *([ERROR] if has_errors else [])]
    return _csv_text([[_cell(name) for name in names]])


def csv_lines(
    layout: Layout, inputs: "pyarrow.Table", found: Predictions, fields: Sequence[str], *, has_errors: bool
) -> bytes:
    """The rows as comma-separated values, with a cell for each of the fields."""
    rows, there = inputs.num_rows, {} if found.is_json else _there(layout, found)
    if not layout.metadata and not has_errors and all(name in there for name in fields):
        shown = [inputs.column(column) for column in layout.names]
        if (lines := result_csv.joined([*shown, *(there[name] for name in fields)])) is not None:
            return bytes(lines)
    columns = [_csv_column(inputs.column(column)) for column in layout.names]
    columns += [[_cell(text)] * rows for text in layout.metadata.values()]
    columns += _field_columns(layout, found, fields, rows)
    if has_errors:
        columns.append([_cell(found.errors.get(at)) for at in range(rows)])
    return _csv_text(zip(*columns, strict=True))


def _field_columns(layout: Layout, found: Predictions, fields: Sequence[str], rows: int) -> list[list[Any]]:
    if found.is_json:
        return _json_columns(layout, found, fields, rows)
    there = _there(layout, found)
    return [_csv_column(there[name]) if name in there else [None] * rows for name in fields]


def _there(layout: Layout, found: Predictions) -> "dict[str, pyarrow.ChunkedArray]":
    """The columns of predictions that keep their types, by name."""
    import pyarrow.types as is_type

    if not is_type.is_struct(found.column.type):
        return {layout.column([]): found.column}
    children = zip((field.name for field in found.column.type), found.column.flatten(), strict=True)
    return {layout.column([name]): child for name, child in children}


def _json_columns(layout: Layout, found: Predictions, fields: Sequence[str], rows: int) -> list[list[Any]]:
    places = {name: at for at, name in enumerate(fields)}
    columns: list[list[Any]] = [[None] * rows for _ in fields]
    for row, text in enumerate(found.column.to_pylist()):
        if text is not None:
            for path, value in flattened(json.loads(text)):
                columns[places[layout.column(path)]][row] = _cell(value)
    return columns


def _csv_column(column: "pyarrow.ChunkedArray") -> list[Any]:
    """The column as cells: nothing for null, JSON for lists, and no text that begins a formula."""
    import pyarrow.types as is_type

    kind = column.type
    if is_type.is_floating(kind):
        texts: list[Any] = result_csv.fractions(column).to_pylist()
        return texts
    is_plain = is_type.is_integer(kind) or (cell_text.is_text(kind) and result_csv.is_safe(column))
    return _values(column) if is_plain else [_cell(each) for each in _plain_values(column)]


def _csv_text(rows: Any) -> bytes:
    written = _Rows()
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return "".join(written.rows).encode(errors="backslashreplace")


class _Rows:
    """Rows as a writer of CSV gives them. It puts a carriage return between quotes only where rows end in one."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def write(self, row: str) -> None:
        """Takes a row, and ends it as lines end."""
        self.rows.append(row.removesuffix("\r\n") + "\n")


def _values(column: "pyarrow.ChunkedArray") -> list[Any]:
    """The values as Python has them, numbers by the quick way."""
    import pyarrow.types as is_type

    kind = column.type
    if (is_type.is_floating(kind) or is_type.is_integer(kind)) and not column.null_count:
        listed: list[Any] = column.to_numpy().tolist()
        return listed
    found: list[Any] = column.to_pylist()
    return found


def _plain_values(column: "pyarrow.ChunkedArray") -> list[Any]:
    """The values as JSON has them: times as text, bytes as base64."""
    import pyarrow.types as is_type

    kind, values = column.type, _values(column)
    if is_type.is_binary(kind) or is_type.is_large_binary(kind) or is_type.is_fixed_size_binary(kind):
        return [None if value is None else base64.b64encode(value).decode() for value in values]
    return values if _is_simple(kind) else [answers.plain(value) for value in values]


def _is_simple(kind: Any) -> bool:
    import pyarrow.types as is_type

    tests = (is_type.is_floating, is_type.is_integer, is_type.is_boolean, is_type.is_string, is_type.is_large_string)
    return any(test(kind) for test in tests)


def _cell(value: Any) -> str:
    """One value as a CSV cell."""
    kind = type(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else ""
    if kind is str:
        return f"'{value}" if value[:1] in _RISKY and not _NUMBER.fullmatch(value) else value
    if value is None:
        return ""
    if kind is int or kind is bool:
        return str(value)
    value = answers.plain(value)
    return answers.to_json(value).decode() if isinstance(value, list | dict) else _cell(value)
