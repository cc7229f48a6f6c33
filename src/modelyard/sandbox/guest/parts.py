"""Tables on their way out of a guest: zstd Parquet parts, and the Arrow IPC twin that other guests map.

Written by imports and SQL alike, batch by batch: only a row group is ever held in memory, and for the twin of a large
table one column. Every file lies in the guest's own corner of its working directory; the host collects it.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import arrow_types, encodings, twin
from .ahead import ahead

if TYPE_CHECKING:
    import pyarrow

    from .work import Work

#: Where results lie, relative to the working directory.
FOLDER = ".modelyard/table"
TWIN = f"{FOLDER}/twin.arrow"
#: What a value of no fixed width is reckoned to take beside its own bytes.
_LOOSE_BYTES = 16


class Sizes(NamedTuple):
    """How large what is written, and what is held in memory, may become."""

    #: Rows, and bytes in memory, of a row group.
    group_rows: int = 1_000_000
    group_bytes: int = 32 * 1024**2
    #: A part that has grown to this is closed, and the next one begun.
    part_bytes: int = 2 * 1024**3 - 128 * 1024**2
    #: Tables that take more than this in memory are put into their twin in place, a column chunk at a time.
    whole_bytes: int = 64 * 1024**2
    #: Tables that take no more than this in memory are kept there until their twin is written; others are read again.
    kept_bytes: int = 64 * 1024**2
    #: Tables that take more than this in memory get no twin here: whoever reads one first has it made.
    twin_bytes: float = float("inf")


SIZES = Sizes()


def sizes_for(work: "Work", kept_bytes: int) -> Sizes:
    """The usual sizes, but that so much may be kept for the twin; no large twin where the message asks for none."""
    if work.message.get("twin") is False:
        return SIZES._replace(twin_bytes=SIZES.kept_bytes)
    return SIZES._replace(kept_bytes=kept_bytes)


def write_table(
    schema: "pyarrow.Schema", batches: Iterable["pyarrow.RecordBatch"], sizes: Sizes = SIZES
) -> dict[str, object]:
    """Writes the batches as Parquet parts and as a twin; gives the host's description of the table."""
    writer = TableWriter(schema, sizes)
    for batch in ahead(batches):
        writer.add(batch)
    return writer.finish()


class TableWriter:
    """Writes batches as they come, as Parquet parts and as a twin; for who can't hand over an iterable."""

    def __init__(self, schema: "pyarrow.Schema", sizes: Sizes = SIZES) -> None:
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.makedirs(FOLDER)
        self._target, self._sizes = arrow_types.plain_schema(schema), sizes
        self._parts, self._kept = _PartWriter(self._target, sizes), _Kept(sizes.kept_bytes)

    def add(self, batch: "pyarrow.RecordBatch") -> None:
        """Adds rows of that schema."""
        if batch.num_rows:
            converted = arrow_types.convert(batch, self._target)
            self._parts.add(converted)
            self._kept.add(converted)

    def finish(self) -> dict[str, object]:
        """The host's description of the table."""
        target, counted, parts = self._target, self._parts.counted, self._parts.finish()
        with_twin = self._parts.bytes <= self._sizes.twin_bytes
        if with_twin and self._kept.batches:
            _write_kept(self._kept.batches, target, TWIN, counted)
        elif with_twin:
            write_twin([str(part["path"]) for part in parts], TWIN, self._sizes, counted)
        columns = [
            {"name": field.name, "type": str(field.type), "nullable": bool(node.nulls)}
            for field, node in zip(target, counted, strict=True)
        ]
        rows = sum(part["rows"] for part in parts)
        return {"parts": parts, "twin": TWIN if with_twin else None, "columns": columns, "rows": rows}


def write_twin(
    sources: Sequence[Any], target: str, sizes: Sizes = SIZES, measured: "Sequence[twin.Node] | None" = None
) -> None:
    """Writes the Parquet files (paths or seekable files) as one uncompressed Arrow record batch to `target`.

    `measured` are the columns as far as they have been counted; what was not counted is read once more for that.
    """
    files = [Columns(source) for source in sources]
    if sum(file.bytes for file in files) <= sizes.whole_bytes:
        _write_whole(files, target)
    else:
        _write_in_place(sources, files, target, measured)


def _write_whole(files: "Sequence[Columns]", target: str) -> None:
    import pyarrow

    schema = _wide(files[0].schema)
    tables = [file.file.read() for file in files]
    columns = [
        _joined([chunk for table in tables for chunk in table.column(index).chunks], field.type)
        for index, field in enumerate(schema)
    ]
    with pyarrow.ipc.new_file(target, schema) as out:
        out.write_batch(pyarrow.RecordBatch.from_arrays(columns, schema=schema))


def _write_in_place(
    sources: Sequence[Any], files: "Sequence[Columns]", target: str, measured: "Sequence[twin.Node] | None"
) -> None:

    schema = _wide(files[0].schema)
    nodes = [
        node
        if measured is not None and not (node := measured[index]).is_nested
        else _measured(field.type, (chunk for file in files for chunk in file.chunks(index)))
        for index, field in enumerate(schema)
    ]

    def opened() -> "Callable[[int], Iterator[pyarrow.Array]]":
        mine = [Columns(source) for source in sources]
        return lambda index: (chunk for file in mine for chunk in file.chunks(index))

    _fill_all(target, schema, nodes, opened)


def _write_kept(
    batches: "Sequence[pyarrow.RecordBatch]", schema: "pyarrow.Schema", target: str, counted: "Sequence[twin.Node]"
) -> None:
    """Writes the twin of batches that are all in memory."""
    schema = _wide(schema)

    def chunks(index: int) -> "Iterator[pyarrow.Array]":
        return (batch.column(index).cast(schema.field(index).type) for batch in batches)

    nodes = [_measured(node.kind, chunks(index)) if node.is_nested else node for index, node in enumerate(counted)]
    _fill_all(target, schema, nodes, lambda: chunks)


def _fill_all(
    target: str,
    schema: "pyarrow.Schema",
    nodes: "Sequence[twin.Node]",
    opened: "Callable[[], Callable[[int], Iterator[pyarrow.Array]]]",
) -> None:
    """Fills the twin, several columns at a time; `opened` gives each thread its way to the chunks of a column."""
    import pyarrow

    shares = min(pyarrow.cpu_count(), len(nodes))
    with contextlib.ExitStack() as stack:
        descriptor = twin.describe(target, schema, nodes)
        stack.callback(os.close, descriptor)
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(shares))
        begun = [pool.submit(_fill, opened(), nodes, share, shares, descriptor) for share in range(shares)]
        for future in begun:
            future.result()


def _fill(
    chunks: "Callable[[int], Iterator[pyarrow.Array]]", nodes: "Sequence[twin.Node]", share: int, shares: int, file: int
) -> None:
    """Every so manieth column, one column chunk after the other."""
    for index in range(share, len(nodes), shares):
        for chunk in chunks(index):
            nodes[index].fill(file, chunk.cast(nodes[index].kind))
        nodes[index].finish(file)


def _measured(kind: Any, chunks: "Iterable[pyarrow.Array]") -> "twin.Node":
    node = twin.Node(kind)
    for chunk in chunks:
        node.measure(chunk)
    return node


class _Kept:
    """The batches of a table, as long as they are few."""

    def __init__(self, most_bytes: int) -> None:
        self.batches: list[pyarrow.RecordBatch] = []
        self.is_whole = True
        self._left_bytes = most_bytes

    def add(self, batch: "pyarrow.RecordBatch") -> None:
        if not self.is_whole:
            return
        self._left_bytes -= batch.nbytes
        self.is_whole = self._left_bytes >= 0
        if self.is_whole:
            self.batches.append(batch)
        else:
            self.batches.clear()


class _PartWriter:
    """Collects batches to row groups and row groups to files."""

    def __init__(self, schema: "pyarrow.Schema", sizes: Sizes) -> None:
        self._schema, self._sizes = schema, sizes
        self._pending: list[pyarrow.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        #: Bytes in memory of all rows so far.
        self.bytes = 0
        self._open: Any = None
        self._rows = 0
        self._parts: list[dict[str, Any]] = []
        #: Paths of the columns that get a dictionary, the same in all files; None until there are rows to judge by.
        self._repeating: list[str] | bool | None = None
        #: Rows, nulls and bytes of the columns; nested ones change on their way through Parquet.
        self.counted = [twin.Node(arrow_types.wide(field.type)) for field in schema]

    def add(self, batch: "pyarrow.RecordBatch") -> None:
        for node, column in zip(self.counted, batch.columns, strict=True):
            node.measure(column)
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        self.bytes += batch.nbytes
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
            if self._repeating is None:
                self._repeating = encodings.repeating(table)
            self._open = pyarrow.parquet.ParquetWriter(
                path, self._schema, compression="zstd", compression_level=1, version="2.6",
                use_dictionary=self._repeating,
                write_statistics=False,  # least and greatest values: a tenth of the work, and who reads here reads all
            )  # fmt: skip
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


def _wide(schema: "pyarrow.Schema") -> "pyarrow.Schema":
    import pyarrow

    return pyarrow.schema([(field.name, arrow_types.wide(field.type)) for field in schema])


def _joined(chunks: "list[pyarrow.Array]", kind: Any) -> "pyarrow.Array":
    """The chunks as one array of that type."""
    import pyarrow

    chunks = [chunk if chunk.type == kind else chunk.cast(kind) for chunk in chunks]
    if not chunks:
        return pyarrow.array([], kind)
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
        self._leaves = [0, *itertools.accumulate(encodings.leaf_count(field.type) for field in self.schema)]

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

    def chunks(self, index: int) -> "Iterator[pyarrow.Array]":
        """The column at that position, row group by row group; nothing else is read, and nothing kept."""
        leaves = list(range(self._leaves[index], self._leaves[index + 1]))
        for group in range(self.file.metadata.num_row_groups):
            found = self.file.reader.read_row_group(group, column_indices=leaves, use_threads=False)
            yield from found.column(0).chunks


def _width(kind: Any) -> int:
    """Bytes that a value takes in memory, as far as its type says."""
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return _LOOSE_BYTES * encodings.leaf_count(kind)
