"""What columns are made of at rest and in a twin, and what they are called.

At rest a column has the plainest Arrow type that holds its values: no dictionaries, no extension types, no views. A
twin has the wide forms of the same (`large_string`), so that one record batch holds any number of rows.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .failures import Refused

if TYPE_CHECKING:
    import pyarrow


def plain(kind: Any) -> Any:
    """The Arrow type in which a column of type `kind` is kept at rest."""
    import pyarrow
    import pyarrow.types as is_type

    if isinstance(kind, pyarrow.BaseExtensionType):
        return plain(kind.storage_type)
    if is_type.is_dictionary(kind):
        return plain(kind.value_type)
    return _nested(kind, plain) or _simple(kind)


def wide(kind: Any) -> Any:
    """The form of a plain type that one record batch of any length can hold."""
    import pyarrow
    import pyarrow.types as is_type

    if is_type.is_string(kind):
        return pyarrow.large_string()
    if is_type.is_binary(kind):
        return pyarrow.large_binary()
    if is_type.is_list(kind):
        return pyarrow.large_list(wide(kind.value_type))
    if is_type.is_struct(kind):
        return pyarrow.struct([(field.name, wide(field.type)) for field in kind])
    return kind


def plain_schema(schema: "pyarrow.Schema") -> "pyarrow.Schema":
    """The schema at rest: plain types, every column named and no name twice, no metadata."""
    import pyarrow

    names = unique_names(schema.names)
    return pyarrow.schema([(name, plain(field.type)) for name, field in zip(names, schema, strict=True)])


def convert(batch: "pyarrow.RecordBatch", schema: "pyarrow.Schema") -> "pyarrow.RecordBatch":
    """The batch with the names and types of `schema`, column by column; refuses, naming it, what can't be converted."""
    import pyarrow

    arrays = []
    for column, field in zip(batch.columns, schema, strict=True):
        try:
            arrays.append(column if column.type == field.type else _cast(column, field.type))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
            raise Refused(f"The column {field.name!r} can't be read as {field.type}: {error}", "ValueError") from None
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def unique_names(names: Iterable[str]) -> list[str]:
    """The names in order: an empty one becomes `column_N` (from 1), a repeated one gets `_2`, `_3` ..."""
    given = [name or f"column_{number}" for number, name in enumerate(names, 1)]
    taken = set(given)
    seen: set[str] = set()
    found = []
    for name in given:
        fresh, number = name, 2
        while fresh in seen or (fresh != name and fresh in taken):
            fresh, number = f"{name}_{number}", number + 1
        seen.add(fresh)
        found.append(fresh)
    return found


def _nested(kind: Any, inner: Any) -> Any:
    import pyarrow
    import pyarrow.types as is_type

    if is_type.is_map(kind):
        return pyarrow.map_(inner(kind.key_type), inner(kind.item_type))
    if is_type.is_struct(kind):
        if not kind.num_fields:
            return pyarrow.string()  # Parquet has no struct without fields; what they say is "nothing"
        return pyarrow.struct([(field.name, inner(field.type)) for field in kind])
    lists = (is_type.is_list, is_type.is_large_list, is_type.is_fixed_size_list)
    views = [found for name in ("is_list_view", "is_large_list_view") if (found := getattr(is_type, name, None))]
    if any(is_list(kind) for is_list in (*lists, *views)):
        return pyarrow.list_(inner(kind.value_type))
    return None


def _simple(kind: Any) -> Any:
    import pyarrow
    import pyarrow.types as is_type

    if is_type.is_large_string(kind) or str(kind) == "string_view":
        return pyarrow.string()
    if is_type.is_large_binary(kind) or is_type.is_fixed_size_binary(kind) or str(kind) == "binary_view":
        return pyarrow.binary()
    if is_type.is_float16(kind):
        return pyarrow.float32()
    if is_type.is_date64(kind):
        return pyarrow.date32()
    if is_type.is_timestamp(kind) and kind.unit == "s":
        return pyarrow.timestamp("ms", kind.tz)
    if str(kind).startswith(("decimal32", "decimal64")):
        return pyarrow.decimal128(kind.precision, kind.scale)
    return kind


def _cast(column: "pyarrow.Array", kind: Any) -> "pyarrow.Array":
    import pyarrow
    import pyarrow.types as is_type

    storage = getattr(column, "storage", None)
    if storage is not None:
        return _cast(storage, kind)
    if is_type.is_struct(column.type) and not column.type.num_fields:
        return pyarrow.array(["{}" if valid else None for valid in column.is_valid().to_pylist()], kind)
    if is_type.is_struct(column.type):
        children = [_cast(child, field.type) for child, field in zip(column.flatten(), kind, strict=True)]
        fields = list(kind)
        return pyarrow.StructArray.from_arrays(children, fields=fields, mask=column.is_null())
    if column.type == kind:
        return column
    return column.cast(kind)
