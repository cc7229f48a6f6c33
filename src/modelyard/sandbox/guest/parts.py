"""Tables on their way out of a guest: zstd Parquet parts, and the Arrow IPC twin that other guests map.

Written by imports and SQL alike, batch by batch: only a row group is ever held in memory, and for the twin of a large
table one column. Every file lies in the guest's own corner of its working directory; the host collects it.
"""

import itertools
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import arrow_types

if TYPE_CHECKING:
    import pyarrow

#: Where results lie, relative to the working directory.
FOLDER = ".modelyard/table"
TWIN = f"{FOLDER}/twin.arrow"
_GROUP_ROWS = 1_000_000
_GROUP_BYTES = 128 * 1024**2
_PART_BYTES = 2 * 1024**3 - _GROUP_BYTES
#: Tables whose columns take more than this together are put into their twin column by column.
_WHOLE_BYTES = 192 * 1024**2


def write_table(schema: "pyarrow.Schema", batches: Iterable["pyarrow.RecordBatch"]) -> dict[str, object]:
    """Writes the batches as Parquet parts and as a twin; gives the host's description of the table."""
    os.makedirs(FOLDER, exist_ok=True)
    target = arrow_types.plain_schema(schema)
    writer = _PartWriter(target)
    for batch in batches:
        if batch.num_rows:
            writer.add(arrow_types.convert(batch, target))
    parts = writer.finish()
    write_twin([str(part["path"]) for part in parts], TWIN)
    columns = [
        {"name": field.name, "type": str(field.type), "nullable": bool(nulls)}
        for field, nulls in zip(target, writer.nulls, strict=True)
    ]
    return {"parts": parts, "twin": TWIN, "columns": columns, "rows": sum(part["rows"] for part in parts)}


def write_twin(sources: Sequence[Any], target: str) -> None:
    """Writes the Parquet files (paths or seekable files) as one uncompressed Arrow record batch to `target`."""
    import pyarrow

    files = [Columns(source) for source in sources]
    schema = files[0].schema
    large = sum(file.bytes for file in files) > _WHOLE_BYTES
    columns = []
    for index, field in enumerate(schema):
        column = _column(files, index, field.type)
        if large:
            column = _spill(column, f"{target}.{index}")
        columns.append(column)
    fields = [pyarrow.field(field.name, column.type) for field, column in zip(schema, columns, strict=True)]
    batch = pyarrow.RecordBatch.from_arrays(columns, schema=pyarrow.schema(fields))
    with pyarrow.ipc.new_file(target, batch.schema) as out:
        out.write_batch(batch)


class _PartWriter:
    """Collects batches to row groups and row groups to files."""

    def __init__(self, schema: "pyarrow.Schema") -> None:
        self._schema = schema
        self._pending: list[pyarrow.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self._open: Any = None
        self._rows = 0
        self._parts: list[dict[str, Any]] = []
        self.nulls = [0] * len(schema)

    def add(self, batch: "pyarrow.RecordBatch") -> None:
        self.nulls = [count + column.null_count for count, column in zip(self.nulls, batch.columns, strict=True)]
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= _GROUP_ROWS or self._pending_bytes >= _GROUP_BYTES:
            self._flush()

    def finish(self) -> list[dict[str, Any]]:
        """Closes the last file; a table without rows has one file too."""
        if self._pending or not (self._parts or self._open):
            self._flush()
        self._close()
        return self._parts

    def _flush(self) -> None:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_batches(self._pending, schema=self._schema)
        if self._open is None:
            path = f"{FOLDER}/part-{len(self._parts):05}.parquet"
            self._parts.append({"path": path, "rows": 0, "size": 0})
            self._open = pyarrow.parquet.ParquetWriter(
                path, self._schema, compression="zstd", compression_level=1, version="2.6"
            )
        for start in range(0, max(table.num_rows, 1), _GROUP_ROWS):
            self._open.write_table(table.slice(start, _GROUP_ROWS), row_group_size=_GROUP_ROWS)
        self._parts[-1]["rows"] += table.num_rows
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if os.path.getsize(self._parts[-1]["path"]) >= _PART_BYTES:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
            self._parts[-1]["size"] = os.path.getsize(self._parts[-1]["path"])


def mapped(descriptors: list[int]) -> list[Any]:
    """The files behind the descriptors, mapped for reading."""
    import mmap

    import pyarrow

    views = []
    for descriptor in descriptors:
        mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        os.close(descriptor)
        views.append(pyarrow.BufferReader(pyarrow.py_buffer(mapping)))
    return views


def _column(files: "Sequence[Columns]", index: int, kind: Any) -> "pyarrow.Array":
    """One column of all files as one array in its wide form."""
    import pyarrow

    target = arrow_types.wide(kind)
    chunks = []
    for file in files:
        chunks += [chunk if chunk.type == target else chunk.cast(target) for chunk in file.read(index).chunks]
    if not chunks:
        return pyarrow.array([], target)
    return chunks[0] if len(chunks) == 1 and not chunks[0].offset else pyarrow.concat_arrays(chunks)


class Columns:
    """One Parquet file, read a column at a time; by position, since a name may hold dots or come twice."""

    def __init__(self, source: Any) -> None:
        import pyarrow.parquet

        self.file = pyarrow.parquet.ParquetFile(source)
        self.schema = self.file.schema_arrow
        metadata = self.file.metadata
        self.bytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        # Parquet numbers the primitive columns below nested ones: where each column's begin.
        self._leaves = [0, *itertools.accumulate(_leaf_count(field.type) for field in self.schema)]
        self._all: pyarrow.Table | None = None

    def read(self, index: int) -> "pyarrow.ChunkedArray":
        """The column at that position. A small file is read once, whole."""
        if self.bytes <= _WHOLE_BYTES:
            self._all = self.file.read() if self._all is None else self._all
            return self._all.column(index)
        leaves = range(self._leaves[index], self._leaves[index + 1])
        return self.file.reader.read_all(column_indices=list(leaves)).column(0)


def _leaf_count(kind: Any) -> int:
    count = getattr(kind, "num_fields", 0)
    if not count or hasattr(kind, "index_type"):
        return 1
    return sum(_leaf_count(kind.field(at).type) for at in range(count))


def _spill(column: "pyarrow.Array", path: str) -> "pyarrow.Array":
    """The same column, mapped from a file that has no name any more, so that its memory can be taken back."""
    import pyarrow

    batch = pyarrow.RecordBatch.from_arrays([column], names=["column"])
    with pyarrow.ipc.new_file(path, batch.schema) as out:
        out.write_batch(batch)
    with pyarrow.memory_map(path) as source:
        mapped = pyarrow.ipc.open_file(source).get_batch(0).column(0)
    os.unlink(path)
    return mapped
