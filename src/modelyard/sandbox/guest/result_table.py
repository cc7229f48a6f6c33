"""The tasks `table_open`, `table_add` and `table_close`: a result as a table, inputs beside predictions.

Chunks come one after the other. Where the predictions of all chunks have types that go together, they keep them; else
they are JSON, which is read again as a whole, as an uploaded file would be, before it is put beside the inputs.
"""

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import answers, frames, json_text, parts
from .predictions import Predictions, flattened, read
from .result_lines import ERROR, Layout
from .uploads import Options, Source

if TYPE_CHECKING:
    import pyarrow

    from .work import Work

#: Where predictions wait that are JSON, relative to the working directory.
FOLDER = ".modelyard/result"
_JSON_PATH = f"{FOLDER}/predictions.jsonl"


@dataclass
class _Making:
    """The one table of this guest."""

    inputs: "pyarrow.Table"
    layout: Layout
    has_errors: bool
    #: Columns of predictions that keep their types, by name; None where they are JSON.
    kept: "pyarrow.Schema | None"
    writer: "parts.TableWriter | None" = None
    rows: int = 0


_making: list[_Making] = []


def table_open(work: "Work") -> dict[str, object]:
    """Message: layout, errors (whether any row failed), schemas (of the chunks' predictions); file: the twin."""
    message: dict[str, Any] = work.message
    table, _ = frames.read_arrow(work.fds[0])
    layout = Layout.of(message["layout"], table.column_names)
    inputs = table.select(list(layout.names)).rename_columns(list(layout.names.values()))
    making = _Making(inputs, layout, bool(message["errors"]), _unified(layout, message["schemas"]))
    if making.kept is not None:
        fields = [*_inputs(making, 0, 0).schema, *making.kept, *_error_field(making)]
        making.writer = parts.TableWriter(_schema(fields))
    os.makedirs(FOLDER, exist_ok=True)
    _making[:] = [making]
    return {}


def table_add(work: "Work") -> dict[str, object]:
    """Message: start, rows, offset, size; file: predictions."""
    message: dict[str, Any] = work.message
    making, start, rows = _making[0], int(message["start"]), int(message["rows"])
    found = read(work.fds[0], int(message["offset"]), int(message["size"]))
    if len(found.column) != rows or start != making.rows:
        raise ValueError(f"there are {len(found.column)} predictions for {rows} rows")
    making.rows += rows
    if making.writer is None:
        _append(making.layout, found)
        return {}
    for batch in _beside(making, start, found):
        making.writer.add(batch)
    return {}


def table_close(work: "Work") -> dict[str, object]:
    """Message: memory_gib, scratch_gib and threads, for the engine. The answer describes the table."""
    making = _making[0]
    if making.writer is not None:
        return making.writer.finish()
    with open(_JSON_PATH, "rb") as file:
        found = json_text.read(Source.of(file.fileno()), Options.of(work.message))
        fields = [*_inputs(making, 0, 0).schema, *found.schema]
        writer, at = parts.TableWriter(_schema(fields)), 0
        for batch in found.batches:
            inputs = _inputs(making, at, batch.num_rows)
            at += batch.num_rows
            for piece in _joined(inputs, list(zip(batch.schema.names, batch.columns, strict=True))).to_batches():
                writer.add(piece)
    if at != making.rows:
        raise ValueError(f"{at} predictions were read for {making.rows} rows")
    return writer.finish()


def _unified(layout: Layout, schemas: list[str]) -> "pyarrow.Schema | None":
    """The columns of all chunks' predictions; None where there is no type for all."""
    import pyarrow

    if not all(schemas):
        return None
    if not schemas:
        return pyarrow.schema([(layout.column([]), pyarrow.string())])
    read_schema, each = pyarrow.ipc.read_schema, []
    for text in schemas:
        kind = read_schema(pyarrow.py_buffer(base64.b64decode(text))).field(0).type
        fields = [(layout.column([field.name]), field.type) for field in kind] if _is_struct(kind) else []
        each.append(_schema([pyarrow.field(*field) for field in fields or [(layout.column([]), kind)]]))
    try:
        return pyarrow.unify_schemas(each, promote_options="permissive")
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        return None


def _beside(making: _Making, start: int, found: Predictions) -> "Iterator[pyarrow.RecordBatch]":
    """The rows of a chunk, whose predictions keep their types."""
    import pyarrow

    assert making.kept is not None
    rows = len(found.column)
    if _is_struct(found.column.type):
        names = [making.layout.column([field.name]) for field in found.column.type]
        there = dict(zip(names, found.column.flatten(), strict=True))
    else:
        there = {making.layout.column([]): found.column}
    columns: list[tuple[str, Any]] = [
        (field.name, there[field.name].cast(field.type) if field.name in there else pyarrow.nulls(rows, field.type))
        for field in making.kept
    ]
    if making.has_errors:
        columns.append((ERROR, pyarrow.array([found.errors.get(at) for at in range(rows)], pyarrow.string())))
    yield from _joined(_inputs(making, start, rows), columns).to_batches()


def _append(layout: Layout, found: Predictions) -> None:
    """Adds the predictions to those that wait as JSON, an object a line, each of whose fields is a column."""
    with open(_JSON_PATH, "ab") as target:
        for at, value in enumerate(found.column.to_pylist()):
            error = found.errors.get(at)
            plain = json.loads(value) if found.is_json and value is not None else answers.plain(value)
            fields = {layout.column(path): entry for path, entry in flattened(plain)}
            line = fields if error is None else {ERROR: error}
            target.write(answers.to_json(line) + b"\n")


def _joined(inputs: "pyarrow.Table", columns: "list[tuple[str, Any]]") -> "pyarrow.Table":
    import pyarrow

    pairs = [*zip(inputs.column_names, inputs.columns, strict=True), *columns]
    fields = [pyarrow.field(name, column.type) for name, column in pairs]
    return pyarrow.Table.from_arrays([column for _, column in pairs], schema=pyarrow.schema(fields)).combine_chunks()


def _error_field(making: _Making) -> "list[pyarrow.Field]":
    import pyarrow

    return [pyarrow.field(ERROR, pyarrow.string())] if making.has_errors else []


def _schema(fields: "list[pyarrow.Field]") -> "pyarrow.Schema":
    import pyarrow

    return pyarrow.schema([(field.name, field.type) for field in fields])


def _inputs(making: _Making, start: int, rows: int) -> "pyarrow.Table":
    """The inputs of some rows, and what is the same in every row."""
    import numpy
    import pyarrow

    inputs = making.inputs.slice(start, rows)
    for name, text in making.layout.metadata.items():
        first = pyarrow.array(numpy.zeros(rows, numpy.int32))
        inputs = inputs.append_column(name, pyarrow.DictionaryArray.from_arrays(first, pyarrow.array([text])))
    return inputs


def _is_struct(kind: Any) -> bool:
    import pyarrow.types as is_type

    return bool(is_type.is_struct(kind))
