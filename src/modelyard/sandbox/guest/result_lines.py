"""The result of a batch as lines of text: JSON, one object a row, or CSV. Inputs, prediction, metadata; or an error.

In JSON a line holds the inputs under their names and the prediction under `prediction`. In CSV a prediction that is an
object becomes a column for each of its fields, `prediction.<field>`, as readers of the JSON form name them too; fields
that no earlier row had become further columns at the end. Text that a spreadsheet would take for a formula gets an
apostrophe in front. Nothing is decoded here that the host would trust.
"""

import base64
import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import answers
from .failures import Refused

PREDICTION, ERROR = "prediction", "error"
#: In front of the name of an input that is called like something of ours.
_INPUT = "input_"
#: Columns that predictions may make of their fields; what spreadsheets take.
_MOST_COLUMNS = 16_384
#: What a spreadsheet takes for the beginning of a formula.
_RISKY = frozenset("=+-@\t\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Layout:
    """What a line holds, under which names."""

    #: Columns of the table that are shown, in order -> name in the result.
    names: dict[str, str]
    #: Those of them that hold bytes, which are shown as base64.
    binary: frozenset[str]
    #: The same in every line.
    metadata: dict[str, str]
    csv: bool = False
    prediction_prefix: str = ""
    #: Between the name of a prediction and those of its fields, where these become columns.
    separator: str = "."
    #: JSON whose objects hold no objects: what tables are made of.
    flat: bool = False

    @classmethod
    def of(cls, message: Mapping[str, Any], schema: Any) -> "Layout":
        """From a message with csv, flat, columns (or null for all), metadata and the prefixes."""
        import pyarrow.types as is_type

        wanted = message.get("columns")
        columns = [name for name in schema.names if wanted is None or name in wanted]
        prefix, metadata = message.get("input_prefix") or "", message.get("metadata") or {}
        prediction_prefix, separator = message.get("prediction_prefix") or "", message.get("separator") or "."
        own = prediction_prefix + PREDICTION
        taken = {own, ERROR, *metadata}
        names: dict[str, str] = {}
        for column in columns:
            name = prefix + column
            while name in taken or name.startswith(own + separator):
                name = _INPUT + name
            names[column] = name
            taken.add(name)
        kinds = {name: schema.field(name).type for name in columns}
        binary = frozenset(
            name
            for name, kind in kinds.items()
            if is_type.is_binary(kind) or is_type.is_large_binary(kind) or is_type.is_fixed_size_binary(kind)
        )
        is_csv, is_flat = bool(message.get("csv")), bool(message.get("flat"))
        return cls(names, binary, dict(metadata), is_csv, prediction_prefix, separator, is_flat)

    @property
    def columns(self) -> list[str]:
        """The table's columns that are shown."""
        return list(self.names)

    def flattened(self, prediction: object) -> dict[str, Any]:
        """The prediction, or each of its fields, by the name of its column."""
        found: dict[str, Any] = {}
        try:
            _flatten(answers.plain(prediction), self.prediction_prefix + PREDICTION, self.separator, found)
        except RecursionError:
            raise Refused("The result is nested too deeply, or holds itself.", "ValueError") from None
        return found

    def named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row under the names of the result."""
        named = {name: row[column] for column, name in self.names.items()}
        if not self.binary:
            return named
        for column in self.binary:
            value = row[column]
            named[self.names[column]] = None if value is None else base64.b64encode(value).decode()
        return named


class Lines:
    """JSON lines."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def columns(self) -> list[str] | None:
        """The names that stand above the lines, those of earlier lines first; None where there are none."""
        return None

    @property
    def width(self) -> int:
        """How many of these names there are; a line has as many cells as there were when it was written."""
        return 0

    def line(self, row: Mapping[str, Any], prediction: object) -> bytes:
        """A row with its prediction. Raises `failures.Refused` if that has no JSON form."""
        found = self.layout.flattened(prediction) if self.layout.flat else {PREDICTION: prediction}
        return answers.to_json({**self.layout.named(row), **found, **self.layout.metadata}) + b"\n"

    def error_line(self, row: Mapping[str, Any], error: str) -> bytes:
        """A row without a prediction."""
        return answers.to_json({**self.layout.named(row), **self.layout.metadata, ERROR: _clean(error)}) + b"\n"


@dataclass
class _Columns:
    """Names of columns in the order of their first appearance."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        if len(self.places) >= _MOST_COLUMNS and name not in self.places:
            raise Refused(f"The predictions have more than {_MOST_COLUMNS:,} different fields.", "ValueError")
        return self.places.setdefault(name, len(self.places))


class CsvLines(Lines):
    """CSV lines; the names stand in `columns`, for the host to write above them."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._fixed = [*layout.names.values(), *layout.metadata]
        self._found = _Columns()
        self._buffer = io.StringIO()
        self._writer = csv.writer(self._buffer, lineterminator="\n")

    @property
    def columns(self) -> list[str]:
        found = list(self._found.places) or [self.layout.prediction_prefix + PREDICTION]
        return [_cell(name) for name in [*self._fixed, *found]]

    @property
    def width(self) -> int:
        return len(self._fixed) + len(self._found.places)

    def line(self, row: Mapping[str, Any], prediction: object) -> bytes:
        return self._line(row, self.layout.flattened(prediction))

    def error_line(self, row: Mapping[str, Any], error: str) -> bytes:
        return self._line(row, {ERROR: error})

    def _line(self, row: Mapping[str, Any], found: Mapping[str, Any]) -> bytes:
        cells = [_cell(value) for value in self.layout.named(row).values()]
        cells += [_cell(value) for value in self.layout.metadata.values()]
        more = {name: _cell(value) for name, value in found.items()}
        placed = {self._found.place(name): cell for name, cell in more.items()}
        cells += [placed.get(place, "") for place in range(len(self._found.places))]
        self._buffer.seek(0)
        self._buffer.truncate()
        self._writer.writerow(cells)
        return self._buffer.getvalue().encode(errors="backslashreplace")


def lines_of(layout: Layout) -> Lines:
    """Who writes lines of that layout."""
    return CsvLines(layout) if layout.csv else Lines(layout)


def _flatten(value: Any, name: str, separator: str, found: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            _flatten(entry, f"{name}{separator}{key}", separator, found)
    else:
        found[name] = value


def _cell(value: Any) -> str:
    """The value as a CSV cell: nothing for null, JSON for lists, and no text that begins a formula."""
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


def _clean(text: str) -> str:
    """Text that has a UTF-8 form."""
    return text.encode(errors="backslashreplace").decode()
