"""Tables into the user's hands: an Arrow IPC file, mapped private, as the kind of table that the function asks for.

The mapping is copy-on-write: columns are views of the page cache, shared by every guest that reads the same version,
and yet may be written in place. Numbers and times without gaps cost no copy at all, and neither does text where pandas
has a type of its own for it (`str`, pandas 3 and later); pandas 2 gets Python objects, one for each distinct value.
"""

import mmap
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .source import annotation

if TYPE_CHECKING:
    import numpy
    import pyarrow

#: What a table can be handed over as.
FORMS = ("pandas", "pyarrow", "polars", "polars.lazy")


def form_for(user_function: Callable[..., object], position: int | str) -> str:
    """The form that the parameter's annotation asks for; pandas without one."""
    found = annotation(user_function, position)
    if isinstance(found, str):
        package, _, name = found.rpartition(".")
        package = {"pa": "pyarrow", "pl": "polars"}.get(package, package.partition(".")[0])
    else:
        package = str(getattr(found, "__module__", "")).partition(".")[0]
        name = str(getattr(found, "__name__", ""))
    if package == "pyarrow" and name == "Table":
        return "pyarrow"
    if package == "polars" and name in ("DataFrame", "LazyFrame"):
        return "polars" if name == "DataFrame" else "polars.lazy"
    return "pandas"


def load(descriptor: int, form: str = "pandas") -> Any:
    """The table in the Arrow IPC file behind `descriptor`, which is closed."""
    table, mapping = read_arrow(descriptor)
    return shape(table, mapping, form)


def shape(table: "pyarrow.Table", mapping: mmap.mmap | None, form: str) -> Any:
    """A table from `read_arrow`, or a slice of it, in that form; without the mapping, pandas columns are copies."""
    if form == "pyarrow":
        return table
    if form in ("polars", "polars.lazy"):
        import polars

        frame = polars.from_arrow(table)
        return frame.lazy() if form == "polars.lazy" else frame
    return to_pandas(table, mapping)


def read_arrow(descriptor: int) -> tuple["pyarrow.Table", mmap.mmap | None]:
    """The table, its columns views of a private mapping, and that mapping."""
    import pyarrow

    try:
        if os.fstat(descriptor).st_size == 0:
            return pyarrow.table({}), None
        mapping = mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(descriptor)
    return pyarrow.ipc.open_file(pyarrow.py_buffer(mapping)).read_all(), mapping


def to_pandas(table: "pyarrow.Table", mapping: mmap.mmap | None) -> Any:
    """A DataFrame whose columns can be written in place; those that Arrow shares read-only are copied."""
    import pandas

    whole = {}
    rest = []
    for index in range(table.num_columns):
        values = None if mapping is None else _view(table.column(index), mapping)
        if values is None:
            rest.append(index)
        else:
            whole[index] = values
    others = table.select(rest).to_pandas(split_blocks=True, ignore_metadata=True)
    columns = {index: _writable(others.iloc[:, at]) for at, index in enumerate(rest)}
    data = {index: whole[index] if index in whole else columns[index] for index in range(table.num_columns)}
    frame = pandas.DataFrame(data, index=pandas.RangeIndex(table.num_rows), copy=False)
    frame.columns = pandas.Index(table.column_names)
    return frame


def _view(column: "pyarrow.ChunkedArray", mapping: mmap.mmap) -> "numpy.ndarray | None":
    """The column as a writable view of the mapping; None where its values do not lie there as numpy has them."""
    import numpy
    import pyarrow

    kind = column.type
    dates = (pyarrow.types.is_timestamp(kind) and kind.tz is None) or pyarrow.types.is_duration(kind)
    if (
        column.num_chunks != 1
        or column.null_count
        or not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or dates)
    ):
        return None
    chunk = column.chunk(0)
    data = chunk.buffers()[1]
    start = pyarrow.py_buffer(mapping).address
    dtype = numpy.dtype(kind.to_pandas_dtype())
    if dates:
        dtype = numpy.dtype(f"{'M8' if pyarrow.types.is_timestamp(kind) else 'm8'}[{kind.unit}]")
    offset = data.address - start + chunk.offset * dtype.itemsize
    if data.address < start or offset + len(chunk) * dtype.itemsize > len(mapping):
        return None  # decompressed elsewhere
    return numpy.frombuffer(mapping, dtype=dtype, count=len(chunk), offset=offset)


def _writable(series: Any) -> Any:
    import numpy

    values = series.array
    inside = getattr(values, "_ndarray", None)
    is_shared = isinstance(inside, numpy.ndarray) and not inside.flags.writeable
    return series.copy(deep=True) if is_shared else series
