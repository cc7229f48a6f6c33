"""Values as text, a column at a time: what CSV, JSON lines and databases' own formats are put together from.

Nothing is cut or bent: a fraction keeps its point (1.0 is no integer), a moment with a zone is told in UTC
(`2024-01-01T00:00:00Z`) and one without as `2024-01-01 00:00:00`, by which readers tell them apart; bytes are
hexadecimal digits, what is nested is JSON. A duration is whole microseconds, and one that is none is refused.
"""

import datetime
import decimal
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .failures import Refused

if TYPE_CHECKING:
    import pyarrow

_WHOLE = r"^-?[0-9]+$"
_MORE_CONTROLS = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"
#: Cells that a spreadsheet would run. Source: OWASP, "CSV Injection".
_FORMULA = r"^[=+\-@\t\r\n]"


def is_text(kind: Any) -> bool:
    """Whether values of the type are text that somebody wrote."""
    import pyarrow.types as is_type

    return bool(is_type.is_string(kind) or is_type.is_large_string(kind))


def is_number(kind: Any) -> bool:
    """Whether JSON has a literal for values of the type: numbers, true and false."""
    import pyarrow.types as is_type

    tests = (is_type.is_integer, is_type.is_floating, is_type.is_decimal, is_type.is_boolean, is_type.is_duration)
    return any(test(kind) for test in tests)


def is_nested(kind: Any) -> bool:
    """Whether values of the type hold others."""
    import pyarrow.types as is_type

    return bool(is_type.is_nested(kind))


def texts(column: "pyarrow.Array", name: str) -> "pyarrow.Array":
    """The column's values as text, null where they are null."""
    import pyarrow
    import pyarrow.types as is_type

    kind, wide = column.type, pyarrow.large_string()
    if is_text(kind) or is_type.is_null(kind):
        return column.cast(wide)
    if is_type.is_floating(kind):
        return _fractions(column)
    if is_type.is_timestamp(kind) and kind.tz is not None:
        return _moments(column)
    if is_type.is_duration(kind):
        return microseconds(column, name).cast(pyarrow.string()).cast(wide)
    if is_type.is_binary(kind) or is_type.is_large_binary(kind):
        return _each(column, bytes.hex)
    if is_nested(kind):
        return _each(column, _json)
    try:
        return column.cast(pyarrow.string()).cast(wide)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return _each(column, str)


def as_csv(column: "pyarrow.Array", name: str, *, formula_safe: bool) -> "pyarrow.Array":
    """Cells: text between quotes, all else as it is, nothing for null. Text can be told from a formula if asked for."""
    from pyarrow import compute

    found, empty = texts(column, name), scalar("")
    if not is_text(column.type) and not is_nested(column.type):
        return compute.fill_null(found, empty)
    if formula_safe:
        found = _defused(found)
    quoted = compute.replace_substring(found, '"', '""')
    return compute.fill_null(compute.binary_join_element_wise(scalar('"'), quoted, scalar('"'), empty), empty)


def csv_header(names: list[str], delimiter: str, *, formula_safe: bool) -> bytes:
    """The line of names."""
    import pyarrow

    cells = as_csv(pyarrow.array(names, pyarrow.large_string()), "", formula_safe=formula_safe).to_pylist()
    return delimiter.join(cells).encode() + b"\n"


def as_json(column: "pyarrow.Array", name: str, *, exact: bool = False) -> "pyarrow.Array":
    """JSON values. `exact`: decimals, and floats that JSON has no word for, become text instead of a float or null."""
    import pyarrow.types as is_type
    from pyarrow import compute

    kind, found, null = column.type, texts(column, name), scalar("null")
    if is_nested(kind):
        # As an object a nested value is a value; within rows for a driver it is the text of a document.
        return compute.fill_null(_quoted(found) if exact else found, null)
    if is_type.is_floating(kind):
        fits = compute.is_finite(column)
        return compute.fill_null(compute.if_else(fits, found, _quoted(found) if exact else null), null)
    if is_number(kind) and not (exact and is_type.is_decimal(kind)):
        return compute.fill_null(found, null)
    return compute.fill_null(_quoted(found), null)


def as_copy(column: "pyarrow.Array", name: str) -> "pyarrow.Array":
    r"""Cells of PostgreSQL's COPY: `\N` for null, backslashes before what would end a cell."""
    import pyarrow.types as is_type
    from pyarrow import compute

    found = texts(column, name)
    if is_type.is_binary(column.type):
        found = compute.binary_join_element_wise(scalar("\\\\x"), found, scalar(""))
    elif is_text(column.type) or is_nested(column.type):
        for char, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            found = compute.replace_substring(found, char, escaped)
    return compute.fill_null(found, scalar("\\N"))


def joined(pieces: "list[pyarrow.Array | pyarrow.Scalar]") -> memoryview:
    """The pieces of every row, one after the other: the rows' bytes in one run."""
    from pyarrow import compute

    lines = compute.binary_join_element_wise(*pieces, scalar(""))
    _, offsets, data = lines.buffers()
    if data is None or not len(lines):
        return memoryview(b"")
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def scalar(text: str) -> Any:
    """The text as Arrow's, of the type that all pieces of a row have."""
    import pyarrow

    return pyarrow.scalar(text, pyarrow.large_string())


def _each(column: "pyarrow.Array", write: Callable[[Any], str]) -> "pyarrow.Array":
    import pyarrow

    texts = [None if value is None else write(value) for value in column.to_pylist()]
    return pyarrow.array(texts, pyarrow.large_string())


def _fractions(column: "pyarrow.Array") -> "pyarrow.Array":
    import pyarrow
    from pyarrow import compute

    found = column.cast(pyarrow.string()).cast(pyarrow.large_string())
    bare = compute.match_substring_regex(found, _WHOLE)
    return compute.if_else(bare, compute.binary_join_element_wise(found, scalar(".0"), scalar("")), found)


def _moments(column: "pyarrow.Array") -> "pyarrow.Array":
    import pyarrow
    from pyarrow import compute

    found = column.cast(pyarrow.timestamp(column.type.unit, "UTC")).cast(pyarrow.string())
    return compute.replace_substring(found, " ", "T", max_replacements=1).cast(pyarrow.large_string())


def _defused(column: "pyarrow.Array") -> "pyarrow.Array":
    from pyarrow import compute

    runs = compute.match_substring_regex(column, _FORMULA)
    return compute.if_else(runs, compute.binary_join_element_wise(scalar("'"), column, scalar("")), column)


def _quoted(column: "pyarrow.Array") -> "pyarrow.Array":
    """Text as JSON writes it."""
    import pyarrow
    from pyarrow import compute

    if compute.any(compute.match_substring_regex(column, _MORE_CONTROLS), min_count=0).as_py():
        values = column.to_pylist()
        return pyarrow.array([None if each is None else _json(each) for each in values], pyarrow.large_string())
    for char, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        column = compute.replace_substring(column, char, escaped)
    return compute.binary_join_element_wise(scalar('"'), column, scalar('"'), scalar(""))


def microseconds(column: "pyarrow.Array", name: str) -> "pyarrow.Array":
    """Durations as whole numbers; refuses, naming the column, one that is none."""
    import pyarrow

    try:
        return column.cast(pyarrow.duration("us")).cast(pyarrow.int64())
    except pyarrow.ArrowInvalid:
        raise Refused(
            f"The column {name!r} holds durations that are no whole microseconds, for which there is no form outside; "
            "cast it to a number first.",
            "ValueError",
        ) from None


def _json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """A value within a nested one, in JSON's words. A map is a list of its entries, since keys need not be text."""
    for kind, convert in _WORDS:
        if isinstance(value, kind):
            return convert(value)
    return str(value)


def _moment(value: datetime.datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat(" ")
    return value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() + "Z"


def _number(value: decimal.Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


#: In this order: a bool is an int, a datetime a date.
_WORDS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (type(None), lambda value: value),
    ((bool, int, str), lambda value: value),
    (float, lambda value: value if math.isfinite(value) else None),
    (dict, lambda value: {str(name): _plain(each) for name, each in value.items()}),
    ((list, tuple), lambda value: [_plain(each) for each in value]),
    (bytes, bytes.hex),
    (datetime.datetime, _moment),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value // datetime.timedelta(microseconds=1)),
    (decimal.Decimal, _number),
)
