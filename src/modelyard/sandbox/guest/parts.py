"""Tables on their way out of a guest: zstd Parquet parts, and the Arrow IPC twin that other guests map.

Written by imports and SQL alike, batch by batch: only a row group is ever held in memory, and for the twin of a large
table one column. Every file lies in the guest's own corner of its working directory; the host collects it.
"""

import functools
import itertools
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import arrow_types

if TYPE_CHECKING:
    import pyarrow

#: Where results lie, relative to the working directory.
FOLDER = ".modelyard/table"
TWIN = f"{FOLDER}/twin.arrow"
#: What a value of no fixed width is reckoned to take beside its own bytes.
_LOOSE_BYTES = 16


class Sizes(NamedTuple):
    """How large what is written, and what is held in memory, may become."""

    #: Rows, and bytes in memory, of a row group.
    group_rows: int = 1_000_000
    group_bytes: int = 128 * 1024**2
    #: A part that has grown to this is closed, and the next one begun.
    part_bytes: int = 2 * 1024**3 - 128 * 1024**2
    #: Tables that take more than this in memory are put into their twin column by column.
    whole_bytes: int = 192 * 1024**2


SIZES = Sizes()


def write_table(
    schema: "pyarrow.Schema", batches: Iterable["pyarrow.RecordBatch"], sizes: Sizes = SIZES
) -> dict[str, object]:
    """Writes the batches as Parquet parts and as a twin; gives the host's description of the table."""
    os.makedirs(FOLDER, exist_ok=True)
    target = arrow_types.plain_schema(schema)
    writer = _PartWriter(target, sizes)
    for batch in batches:
        if batch.num_rows:
            writer.add(arrow_types.convert(batch, target))
    parts = writer.finish()
    write_twin([str(part["path"]) for part in parts], TWIN, sizes)
    columns = [
        {"name": field.name, "type": str(field.type), "nullable": bool(nulls)}
        for field, nulls in zip(target, writer.nulls, strict=True)
    ]
    return {"parts": parts, "twin": TWIN, "columns": columns, "rows": sum(part["rows"] for part in parts)}


def write_twin(sources: Sequence[Any], target: str, sizes: Sizes = SIZES) -> None:
    """Writes the Parquet files (paths or seekable files) as one uncompressed Arrow record batch to `target`."""
    import pyarrow

    files = [Columns(source) for source in sources]
    schema = files[0].schema
    large = sum(file.bytes for file in files) > sizes.whole_bytes
    columns = []
    for index, field in enumerate(schema):
        column = _column(files, index, field.type, one_by_one=large)
        if large:
            column = _spill(column, f"{target}.{index}")
        columns.append(column)
    fields = [pyarrow.field(field.name, column.type) for field, column in zip(schema, columns, strict=True)]
    batch = pyarrow.RecordBatch.from_arrays(columns, schema=pyarrow.schema(fields))
    with pyarrow.ipc.new_file(target, batch.schema) as out:
        out.write_batch(batch)


class _PartWriter:
    """Collects batches to row groups and row groups to files."""

    def __init__(self, schema: "pyarrow.Schema", sizes: Sizes) -> None:
        self._schema, self._sizes = schema, sizes
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
        if self._pending_rows >= self._sizes.group_rows or self._pending_bytes >= self._sizes.group_bytes:
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
        rows = self._sizes.group_rows
        for start in range(0, max(table.num_rows, 1), rows):
            self._open.write_table(table.slice(start, rows), row_group_size=rows)
        self._parts[-1]["rows"] += table.num_rows
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if os.path.getsize(self._parts[-1]["path"]) >= self._sizes.part_bytes:
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


def _column(files: "Sequence[Columns]", index: int, kind: Any, *, one_by_one: bool) -> "pyarrow.Array":
    """One column of all files as one array in its wide form."""
    import pyarrow

    target = arrow_types.wide(kind)
    chunks = []
    for file in files:
        found = file.read_alone(index) if one_by_one else file.read(index)
        chunks += [chunk if chunk.type == target else chunk.cast(target) for chunk in found.chunks]
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
        encoded = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        #: What the file's columns take in memory; values that repeat take little in the file.
        self.bytes = encoded + metadata.num_rows * sum(_width(field.type) for field in self.schema)
        # Parquet numbers the primitive columns below nested ones: where each column's begin.
        self._leaves = [0, *itertools.accumulate(_leaf_count(field.type) for field in self.schema)]

    @functools.cached_property
    def _whole(self) -> "pyarrow.Table":
        return self.file.read()

    def read(self, index: int) -> "pyarrow.ChunkedArray":
        """The column at that position; a small file is read once, whole."""
        return self._whole.column(index) if self.bytes <= SIZES.whole_bytes else self.read_alone(index)

    def read_alone(self, index: int) -> "pyarrow.ChunkedArray":
        """The column at that position; nothing else is read, and nothing kept."""
        leaves = range(self._leaves[index], self._leaves[index + 1])
        return self.file.reader.read_all(column_indices=list(leaves)).column(0)


def _leaf_count(kind: Any) -> int:
    count = getattr(kind, "num_fields", 0)
    if not count or hasattr(kind, "index_type"):
        return 1
    return sum(_leaf_count(kind.field(at).type) for at in range(count))


def _width(kind: Any) -> int:
    """Bytes that a value takes in memory, as far as its type says."""
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return _LOOSE_BYTES * _leaf_count(kind)


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
