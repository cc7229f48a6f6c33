"""Columns as somebody said they are: every value is converted, and one that does not fit is named with its row.

Text is read as people write it: surrounding space does not count, and nothing at all is null. Moments with an offset
become UTC. A fraction is no integer, and only 0 and 1 are booleans.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .failures import Refused
from .uploads import Found

if TYPE_CHECKING:
    import pyarrow

_SHOWN = 100


def applied(found: Found, types: Mapping[str, str]) -> Found:
    """The table with those columns converted, as its rows come; columns that it lacks are passed over."""
    wanted = {name: _arrow(kind) for name, kind in types.items() if name in found.schema.names}
    if not wanted:
        return found
    schema = found.schema
    for name, kind in wanted.items():
        schema = schema.set(schema.get_field_index(name), schema.field(name).with_type(kind))
    return Found(schema, _batches(found, schema, wanted, types), found.inspected | {"columnTypes": dict(types)})


def _batches(
    found: Found, schema: "pyarrow.Schema", wanted: Mapping[str, Any], types: Mapping[str, str]
) -> Iterator["pyarrow.RecordBatch"]:
    import pyarrow

    rows = 0
    for batch in found.batches:
        columns = list(batch.columns)
        for name, kind in wanted.items():
            at = schema.get_field_index(name)
            columns[at] = _converted(columns[at], kind, name, types[name], rows)
        yield pyarrow.RecordBatch.from_arrays(columns, schema=schema)
        rows += batch.num_rows


def _converted(column: "pyarrow.Array", kind: Any, name: str, said: str, before: int) -> "pyarrow.Array":
    import pyarrow

    try:
        return _cast(column, kind)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        for at in range(len(column)):
            try:
                _cast(column.slice(at, 1), kind)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
                value = repr(column[at].as_py())[:_SHOWN]
                raise Refused(f"Row {before + at + 1}, column {name!r}: {value} is no {said}.", "ValueError") from None
        raise


def _cast(column: "pyarrow.Array", kind: Any) -> "pyarrow.Array":
    import pyarrow
    from pyarrow import compute

    is_text = pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)
    if column.type == kind or (is_text and pyarrow.types.is_large_string(kind)):
        return column.cast(kind)
    if is_text:
        trimmed = compute.utf8_trim_whitespace(column)
        column = compute.if_else(compute.equal(trimmed, ""), pyarrow.scalar(None, trimmed.type), trimmed)
    elif (
        pyarrow.types.is_boolean(kind)
        and not compute.all(compute.is_in(column, value_set=pyarrow.array([0, 1], column.type)), min_count=0).as_py()
    ):
        raise pyarrow.ArrowInvalid("only 0 and 1 are booleans")
    if not pyarrow.types.is_timestamp(kind):
        return column.cast(kind)
    try:
        return column.cast(kind)
    except pyarrow.ArrowInvalid:
        return column.cast(pyarrow.timestamp("us", "UTC")).cast(kind)


def _arrow(kind: str) -> Any:
    import pyarrow

    return {
        "INTEGER": pyarrow.int64(),
        "FLOAT": pyarrow.float64(),
        "STRING": pyarrow.large_string(),
        "BOOLEAN": pyarrow.bool_(),
        "DATE": pyarrow.date32(),
        "DATETIME": pyarrow.timestamp("us"),
    }[kind]
