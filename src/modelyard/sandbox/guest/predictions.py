"""Predictions of one chunk as a file: an Arrow stream of one column, then, where rows failed, a stream of errors.

Numbers, booleans and text that came in an array, a Series or a list of one kind keep their type, and so do the columns
of a table; they cost next to nothing, however many. All else is one JSON text a row, whatever its shape.
"""

import base64
import functools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import answers, failures
from .failures import Refused

if TYPE_CHECKING:
    import pyarrow

PREDICTION = "prediction"
#: In the schema's metadata where predictions are JSON texts.
JSON = {b"modelyard": b"json"}
#: Fields that predictions may have where they become columns, as the host says. One more means that there are more.
MOST_FIELDS = 16_384
_TOLD_LIMIT = 1000
#: JSON texts that are held before they are written.
_HELD_BYTES = 8 * 1024**2


class Failures:
    """Rows of a chunk that have an error instead of a prediction."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.rows: dict[int, str] = {}
        #: The first of them, as the host is told.
        self.first: dict[str, object] | None = None

    @property
    def count(self) -> int:
        return len(self.rows)

    def note(self, at: int, error: BaseException) -> None:
        """The row at that place of the chunk failed."""
        told = failures.describe(error)
        self.rows[at] = f"{told['type']}: {told['value']}"[:_TOLD_LIMIT]
        row = self._start + at
        if self.first is None or row < int(str(self.first["row"])):
            self.first = {"row": row, **told}


class Written(NamedTuple):
    """What a file of predictions holds."""

    #: Paths of the fields of predictions that are objects, in the order of their appearance; [] is the prediction.
    fields: list[list[str]]
    #: The Arrow schema for whoever unifies them, in base64; empty for JSON texts.
    schema: str


class Predictions(NamedTuple):
    """A file of predictions, mapped."""

    column: "pyarrow.ChunkedArray"
    is_json: bool
    #: Place in the chunk -> error.
    errors: dict[int, str]


def typed(found: Any) -> "pyarrow.Array | None":
    """Results that keep a type, as one array of it; None where each has to be looked at."""
    import pyarrow

    package = type(found).__module__.partition(".")[0]
    find = {"numpy": _of_numpy, "pandas": _of_pandas, "polars": _of_polars, "pyarrow": _of_arrow, "builtins": _of_list}
    try:
        array = find[package](found) if package in find else None
        return array if array is None or package == "numpy" else _kept(array)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError):
        return None


def write(file: Any, found: Any, failed: Failures, *, wants_fields: bool) -> Written:
    """Adds an array of `typed`, or a sequence of results, to a file; what has no JSON form is noted as failed."""
    import pyarrow

    array = found if isinstance(found, pyarrow.Array) else None
    if array is None and found and len(failed.rows) < len(found):
        array = typed(found)
    if array is None:
        fields, schema = _write_json(file, found, failed, wants_fields=wants_fields), ""
    else:
        described, schema = _described(array.type)
        with pyarrow.ipc.new_stream(file, described) as out:
            out.write_batch(pyarrow.RecordBatch.from_arrays([array], schema=described))
        fields = [[field.name] for field in array.type] if _is_struct(array.type) else [[]]
    if failed.rows:
        _write_errors(file, failed)
    return Written(fields if wants_fields else [], schema)


@functools.lru_cache
def _described(kind: "pyarrow.DataType") -> "tuple[pyarrow.Schema, str]":
    """The schema of predictions of that type, and the same in base64; most chunks have that of the one before."""
    import pyarrow

    schema = pyarrow.schema([(PREDICTION, kind)])
    return schema, base64.b64encode(schema.serialize()).decode()


def read(descriptor: int, offset: int, size: int) -> Predictions:
    """The predictions in those bytes of the file behind `descriptor`, which is closed."""
    import mmap

    import pyarrow

    try:
        mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
    source = pyarrow.BufferReader(pyarrow.py_buffer(mapping).slice(offset, size))
    stream = pyarrow.ipc.open_stream(source)
    table = stream.read_all()
    is_json = (stream.schema.metadata or {}).get(b"modelyard") == JSON[b"modelyard"]
    errors: dict[int, str] = {}
    if source.tell() < source.size():
        more = pyarrow.ipc.open_stream(source).read_all()
        errors = dict(zip(more.column(0).to_pylist(), more.column(1).to_pylist(), strict=True))
    return Predictions(table.column(0), is_json, errors)


def _write_json(file: Any, found: Sequence[Any], failed: Failures, *, wants_fields: bool) -> list[list[str]]:
    import pyarrow

    schema = pyarrow.schema([(PREDICTION, pyarrow.large_string())], metadata=JSON)
    fields: dict[tuple[str, ...], None] = {}
    with pyarrow.ipc.new_stream(file, schema) as out:
        for texts in _texts(found, failed, fields if wants_fields else None):
            array = pyarrow.array(texts, pyarrow.large_binary()).cast(pyarrow.large_string())
            out.write_batch(pyarrow.RecordBatch.from_arrays([array], schema=schema))
    return [list(path) for path in fields]


def _texts(
    found: Sequence[Any], failed: Failures, fields: dict[tuple[str, ...], None] | None
) -> Iterator[list[bytes | None]]:
    """The results as JSON, in pieces of bounded size; a row that failed has none."""
    texts: list[bytes | None] = []
    held = 0
    for at, result in enumerate(found):
        text = None if at in failed.rows else _text(at, result, failed, fields)
        texts.append(text)
        held += len(text or b"")
        if held >= _HELD_BYTES:
            yield texts
            texts, held = [], 0
    yield texts


def _text(at: int, result: Any, failed: Failures, fields: dict[tuple[str, ...], None] | None) -> bytes | None:
    try:
        text = answers.to_json(result)
        if fields is not None and len(fields) <= MOST_FIELDS:
            fields |= dict.fromkeys(path for path, _ in flattened(answers.plain(result)))
        return text
    except Refused as error:
        failed.note(at, error)
        return None


def flattened(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The value, or each field of an object that is one, however deep, with its path."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from flattened(entry, (*path, key))
    else:
        yield path, value


def _write_errors(file: Any, failed: Failures) -> None:
    import pyarrow

    texts = [text.encode(errors="backslashreplace").decode() for text in failed.rows.values()]
    batch = pyarrow.RecordBatch.from_pydict({"at": list(failed.rows), "error": texts})
    with pyarrow.ipc.new_stream(file, batch.schema) as out:
        out.write_batch(batch)


def _of_numpy(found: Any) -> "pyarrow.Array | None":
    import pyarrow

    kind = getattr(getattr(found, "dtype", None), "kind", "")
    if kind not in ("i", "u", "f", "b") or found.ndim not in (1, 2) or found.dtype.itemsize > 8:
        return None
    if found.dtype == "float16":
        found = found.astype("float32")
    if found.ndim == 1:
        return _numbers(found)
    if not found.shape[1]:
        return None
    return pyarrow.FixedSizeListArray.from_arrays(_numbers(found.reshape(-1)), found.shape[1])


def _numbers(found: Any) -> "pyarrow.Array":
    """An array of one dimension, with null for what is not a number; without a copy where it lies in one piece."""
    import numpy
    import pyarrow

    if type(found) is not numpy.ndarray:  # one with a mask, for instance
        return pyarrow.array(found, from_pandas=True)
    found = numpy.ascontiguousarray(found)
    unknown = numpy.isnan(found) if found.dtype.kind == "f" else None
    return pyarrow.array(found, mask=unknown if unknown is not None and unknown.any() else None)


def _of_pandas(found: Any) -> "pyarrow.Array | None":
    import pandas
    import pyarrow

    if isinstance(found, pandas.Series):
        array = _of_list(found.tolist()) if found.dtype == object else pyarrow.array(found, from_pandas=True)
        return array.combine_chunks() if isinstance(array, pyarrow.ChunkedArray) else array
    if isinstance(found, pandas.DataFrame) and all(isinstance(name, str) for name in found.columns):
        return _struct([(name, _of_pandas(found.iloc[:, at])) for at, name in enumerate(found.columns)])
    return None


def _of_polars(found: Any) -> "pyarrow.Array | None":
    name = type(found).__name__
    table = found.collect() if name == "LazyFrame" else found
    return _of_arrow(table.to_arrow()) if name in ("LazyFrame", "DataFrame", "Series") else None


def _of_arrow(found: Any) -> "pyarrow.Array | None":
    import pyarrow

    if isinstance(found, pyarrow.Table):
        columns = zip(found.column_names, found.columns, strict=True)
        return _struct([(name, _of_arrow(column)) for name, column in columns])
    if isinstance(found, pyarrow.ChunkedArray):
        found = found.combine_chunks()
    if isinstance(found, pyarrow.ChunkedArray):  # of more bytes than one array holds
        return None
    return _plain(found) if isinstance(found, pyarrow.Array) else None


def _of_list(found: Any) -> "pyarrow.Array | None":
    import pyarrow

    if not isinstance(found, list | tuple):
        return None
    kinds = set(map(type, found)) - {type(None)}
    types = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_(), str: pyarrow.large_string()}
    kind = types.get(kinds.pop()) if len(kinds) == 1 else None
    return None if kind is None else pyarrow.array(found, kind, from_pandas=True)


def _struct(columns: "list[tuple[str, pyarrow.Array | None]]") -> "pyarrow.Array | None":
    import pyarrow

    names = [name for name, _ in columns]
    arrays = [None if array is None else _plain(array) for _, array in columns]
    if not arrays or len(set(names)) < len(names) or any(array is None for array in arrays):
        return None
    return pyarrow.StructArray.from_arrays(arrays, names)


def _kept(array: "pyarrow.Array") -> "pyarrow.Array | None":
    import pyarrow.types as is_type

    if _is_struct(array.type) or is_type.is_fixed_size_list(array.type):
        return array
    return _plain(array)


def _plain(array: "pyarrow.Array") -> "pyarrow.Array | None":
    """An array of numbers, booleans or text, with null for what is not a number; None for any other."""
    import pyarrow
    import pyarrow.types as is_type
    from pyarrow import compute

    kind = array.type
    if is_type.is_floating(kind):
        array = array.cast(pyarrow.float32()) if is_type.is_float16(kind) else array
        unknown = compute.is_nan(array)
        return compute.if_else(unknown, None, array) if compute.any(unknown).as_py() else array
    if is_type.is_string(kind) or is_type.is_large_string(kind):
        return array.cast(pyarrow.large_string())
    return array if is_type.is_integer(kind) or is_type.is_boolean(kind) else None


def _is_struct(kind: Any) -> bool:
    import pyarrow.types as is_type

    return bool(is_type.is_struct(kind))
