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
    return PandasRows(table, mapping).slice(0, table.num_rows)


class PandasRows:
    """A table from `read_arrow`, any rows of which are a DataFrame at next to no cost.

    Neighbours of one type that lie evenly in the mapping, as a twin's do, are one block of the frame: whoever wants
    them as an array gets it without a copy.
    """

    def __init__(self, table: "pyarrow.Table", mapping: mmap.mmap | None) -> None:
        import pandas

        views = _views(table, mapping) if mapping is not None else {}
        rest = [index for index in range(table.num_columns) if index not in views]
        self._names, self._rest, self._others = pandas.Index(table.column_names), rest, table.select(rest)
        self._pieces = list["numpy.ndarray | dict[int, numpy.ndarray | None]"]()
        for run in _runs(views, table.num_columns):
            if len(run) > 1:
                self._pieces.append(_block([views[index] for index in run]))
                continue
            if not self._pieces or not isinstance(self._pieces[-1], dict):
                self._pieces.append({})
            self._pieces[-1][run[0]] = views.get(run[0])

    def slice(self, start: int, count: int) -> Any:
        """So many rows, numbered from 0."""
        import pandas

        rows, others = pandas.RangeIndex(count), dict[int, Any]()
        if self._rest:
            found = self._others.slice(start, count).to_pandas(split_blocks=True, ignore_metadata=True)
            others = {index: _writable(found.iloc[:, at]) for at, index in enumerate(self._rest)}
        pieces = [
            {index: others[index] if view is None else view[start : start + count] for index, view in piece.items()}
            if isinstance(piece, dict)
            else piece[:, start : start + count].T
            for piece in self._pieces
        ]
        frames = [pandas.DataFrame(piece, index=rows, copy=False) for piece in pieces or [{}]]
        frame = frames[0] if len(frames) == 1 else _beside(frames)
        frame.columns = self._names
        return frame


def _views(table: "pyarrow.Table", mapping: mmap.mmap) -> "dict[int, numpy.ndarray]":
    """The columns, by their numbers, that can be had as views of the mapping."""
    found = ((index, _view(table.column(index), mapping)) for index in range(table.num_columns))
    return {index: view for index, view in found if view is not None}


def _runs(views: "dict[int, numpy.ndarray]", count: int) -> list[list[int]]:
    """The columns' numbers in order, those together that one block can hold."""
    runs: list[list[int]] = []
    places = {index: _place(view) for index, view in views.items()}
    for index in range(count):
        run = runs[-1] if runs else []
        is_alike = bool(run) and index in views and run[0] in views and views[run[0]].dtype == views[index].dtype
        if is_alike and (len(run) == 1 or places[index] - places[run[-1]] == places[run[1]] - places[run[0]]):
            run.append(index)
        else:
            runs.append([index])
    return runs


def _block(views: "list[numpy.ndarray]") -> "numpy.ndarray":
    """Views of one mapping that lie evenly, as one view with a row for each."""
    from numpy.lib.stride_tricks import as_strided

    apart = _place(views[1]) - _place(views[0])
    return as_strided(views[0], (len(views), len(views[0])), (apart, views[0].itemsize))


def _place(values: "numpy.ndarray") -> int:
    place: int = values.__array_interface__["data"][0]
    return place


def _beside(frames: list[Any]) -> Any:
    """Frames side by side, their columns not copied."""
    import pandas

    kept: dict[str, Any] = {"copy": False} if pandas.__version__.startswith("2.") else {}
    return pandas.concat(frames, axis=1, **kept)


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
