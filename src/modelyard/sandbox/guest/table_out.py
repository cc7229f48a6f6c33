"""The task `export_table`: a table leaves the house as CSV, TSV, JSON lines, Avro, Parquet, or in a database's form.

The bytes go through a pipe to the host, which hands them on as they come: neither side ever holds more than some
megabytes, and nothing of the file lies on this machine. A frame is a letter and a length: D with that many bytes, N
where the next file begins, E at the end, so that the host can tell a whole file from one whose writer died.
"""

import json
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from . import arrow_types, avro_columns, cell_text, parts
from .avro import SYNC, container_header, varint

if TYPE_CHECKING:
    import pyarrow

    from .work import Work

_HEAD = struct.Struct(">cI")
_FRAME_BYTES = 1024**2
_BLOCK_ROWS = 32_768
_BLOCK_BYTES = 8 * 1024**2
_ROW_GROUP_BYTES = 64 * 1024**2


def export_table(work: "Work") -> dict[str, object]:
    """Message: format, columns ([name in the table, name outside]; null for all), formula_safe, part_bytes.

    The descriptors are those of the table's Parquet parts in order, and at last the pipe.
    """
    *sources, target = work.fds
    files = [parts.Columns(source) for source in parts.mapped(sources)]
    wanted: Any = work.message.get("columns")
    chosen = _Chosen(files, wanted)
    pipe = Pipe(target)
    writer = _writer(str(work.message["format"]), chosen, bool(work.message.get("formula_safe")), pipe)
    limit: Any = work.message.get("part_bytes")
    rows = 0
    writer.begin()
    for batch in chosen.batches():
        if limit and rows and pipe.written >= int(limit):
            writer.end()
            pipe.next_file()
            writer.begin()
        writer.write(batch)
        rows += batch.num_rows
    writer.end()
    pipe.finish()
    return {"rows": rows}


class Pipe:
    """The way to the host; a file for whoever only writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: Bytes of the file that is being written.
        self.written = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Sends the bytes."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _FRAME_BYTES):
            piece = view[start : start + _FRAME_BYTES]
            self._send(_HEAD.pack(b"D", len(piece)))
            self._send(piece)
        self.written += len(view)
        return len(view)

    def next_file(self) -> None:
        """What is written from now on belongs to another file."""
        self._send(_HEAD.pack(b"N", 0))
        self.written = 0

    def finish(self) -> None:
        """Says that all is there."""
        self._send(_HEAD.pack(b"E", 0))

    def flush(self) -> None:
        """Nothing waits."""

    def tell(self) -> int:
        return self.written

    def close(self) -> None:
        """Nothing: the file's end is said by the frames."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def _send(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


class _Chosen:
    """Those columns of the table that leave, under the names that they have outside."""

    def __init__(self, files: list[parts.Columns], wanted: list[list[str]] | None) -> None:
        self._files = files
        names = files[0].schema.names
        pairs = wanted or [[name, name] for name in names]
        self._at = [names.index(inside) for inside, _ in pairs]
        self.schema = _schema(files[0].schema, self._at, [outside for _, outside in pairs])
        # Of each file only the columns that leave are read.
        self.sources = files

    @property
    def places(self) -> list[int]:
        return self._at

    def batches(self) -> "Iterator[pyarrow.RecordBatch]":
        import pyarrow

        rows = max(256, min(_BLOCK_ROWS, _BLOCK_BYTES // (16 * max(len(self.schema), 1))))
        for file in self._files:
            plain = file.schema
            for batch in file.file.iter_batches(batch_size=rows):
                whole = arrow_types.convert(batch, plain)
                chosen = pyarrow.RecordBatch.from_arrays([whole.column(at) for at in self._at], schema=self.schema)
                yield from _small(chosen)


def _schema(schema: "pyarrow.Schema", places: list[int], names: list[str]) -> "pyarrow.Schema":
    import pyarrow

    return pyarrow.schema([(name, schema.field(at).type) for at, name in zip(places, names, strict=True)])


def _small(batch: "pyarrow.RecordBatch") -> "Iterator[pyarrow.RecordBatch]":
    """The batch in pieces whose text does not need hundreds of megabytes."""
    count = max(1, min(batch.num_rows, batch.nbytes // (2 * _BLOCK_BYTES)))
    step = -(-batch.num_rows // count) if batch.num_rows else 1
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


class _Writer(Protocol):
    """Writes one file after the other into the pipe."""

    def begin(self) -> None: ...

    def write(self, batch: "pyarrow.RecordBatch") -> None: ...

    def end(self) -> None: ...


def _writer(format_: str, chosen: _Chosen, formula_safe: bool, pipe: Pipe) -> _Writer:
    if format_ in ("CSV", "TSV"):
        return _Lines(chosen.schema, pipe, _Csv("," if format_ == "CSV" else "\t", formula_safe))
    if format_ == "JSON":
        return _Lines(chosen.schema, pipe, _Json())
    if format_ == "COPY":
        return _Lines(chosen.schema, pipe, _Copy())
    if format_ == "ROWS":
        return _Lines(chosen.schema, pipe, _Rows())
    if format_ == "AVRO":
        return _Avro(chosen, pipe)
    return _Parquet(chosen.schema, pipe)


class _Form(Protocol):
    """How the lines of a text format look."""

    def header(self, names: list[str]) -> bytes: ...

    def line(self, batch: "pyarrow.RecordBatch") -> list[Any]: ...


class _Lines:
    """A text format: a header, and a line for each row."""

    def __init__(self, schema: "pyarrow.Schema", pipe: Pipe, form: _Form) -> None:
        self._names, self._pipe, self._form = schema.names, pipe, form

    def begin(self) -> None:
        self._pipe.write(self._form.header(self._names))

    def write(self, batch: "pyarrow.RecordBatch") -> None:
        self._pipe.write(cell_text.joined(self._form.line(batch)))

    def end(self) -> None:
        """Lines have no end of their own."""


class _Csv:
    def __init__(self, delimiter: str, formula_safe: bool) -> None:
        self._delimiter, self._safe = delimiter, formula_safe

    def header(self, names: list[str]) -> bytes:
        return cell_text.csv_header(names, self._delimiter, formula_safe=self._safe)

    def line(self, batch: "pyarrow.RecordBatch") -> list[Any]:
        cells = [
            cell_text.as_csv(column, name, formula_safe=self._safe)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        if len(cells) == 1:  # an empty line would be no row
            from pyarrow import compute

            cells = [compute.replace_with_mask(cells[0], compute.equal(cells[0], ""), cell_text.scalar('""'))]
        return between(cells, "", self._delimiter, "\n")


class _Json:
    def header(self, _: list[str]) -> bytes:
        return b""

    def line(self, batch: "pyarrow.RecordBatch") -> list[Any]:
        pieces: list[Any] = []
        for at, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
            key = json.dumps(name, ensure_ascii=False)
            pieces += [cell_text.scalar(f"{',' if at else '{'}{key}:"), cell_text.as_json(column, name)]
        return [*pieces, cell_text.scalar("}\n")]


class _Copy:
    def header(self, _: list[str]) -> bytes:
        return b""

    def line(self, batch: "pyarrow.RecordBatch") -> list[Any]:
        names = batch.schema.names
        cells = [cell_text.as_copy(column, name) for name, column in zip(names, batch.columns, strict=True)]
        return between(cells, "", "\t", "\n")


class _Rows:
    """JSON arrays, which a driver's parameters are read from."""

    def header(self, _: list[str]) -> bytes:
        return b""

    def line(self, batch: "pyarrow.RecordBatch") -> list[Any]:
        names = batch.schema.names
        cells = [cell_text.as_json(column, name, exact=True) for name, column in zip(names, batch.columns, strict=True)]
        return between(cells, "[", ",", "]\n")


def between(cells: list[Any], opening: str, delimiter: str, closing: str) -> list[Any]:
    """The cells of a row with what stands around and between them."""
    pieces: list[Any] = [cell_text.scalar(opening)]
    for at, cell in enumerate(cells):
        pieces += [cell_text.scalar(delimiter), cell] if at else [cell]
    return [*pieces, cell_text.scalar(closing)]


class _Avro:
    """Object container files, whose types say all that Arrow's say."""

    def __init__(self, chosen: _Chosen, pipe: Pipe) -> None:
        schema = chosen.schema
        self._pipe = pipe
        self._encoders = avro_columns.encoders(schema, chosen.sources, chosen.places, exact=True)
        self._header = container_header(schema.names, self._encoders)

    def begin(self) -> None:
        self._pipe.write(self._header)

    def write(self, batch: "pyarrow.RecordBatch") -> None:
        data = avro_columns.rows(batch, self._encoders)
        self._pipe.write(varint(batch.num_rows) + varint(len(data)))
        self._pipe.write(data)
        self._pipe.write(SYNC)

    def end(self) -> None:
        """The last block is the end."""


class _Parquet:
    """zstd Parquet with row groups of some 64 MiB."""

    def __init__(self, schema: "pyarrow.Schema", pipe: Pipe) -> None:
        self._schema, self._pipe = schema, pipe
        self._pending: list[pyarrow.RecordBatch] = []
        self._bytes = 0
        self._open: Any = None

    def begin(self) -> None:
        import pyarrow.parquet

        self._open = pyarrow.parquet.ParquetWriter(self._pipe, self._schema, compression="zstd", version="2.6")

    def write(self, batch: "pyarrow.RecordBatch") -> None:
        self._pending.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def end(self) -> None:
        self._flush()
        self._open.close()

    def _flush(self) -> None:
        import pyarrow

        if self._pending:
            self._open.write_table(pyarrow.Table.from_batches(self._pending, schema=self._schema))
            self._pending, self._bytes = [], 0
