"""The task `lookup`: rows of one table, found by the values of a few of its columns, over a Unix socket.

Each of those columns is put in order once; a look-up then is a search by halves in it, and only the rows that were
found are read. The table lies in its mapped file and takes no memory of its own. The gateway has checked the form of
what is asked: `where` (column -> values), `columns` (or null for all), `limit` (or null), `most`.
"""

import base64
import bisect
import datetime
import decimal
import json
import socket
from typing import TYPE_CHECKING, Any

from . import answers, frames, replica
from .failures import Refused
from .replies import BadRequest

if TYPE_CHECKING:
    import numpy
    import pyarrow

    from .work import Work

LOOKUP = 4


def lookup(work: "Work") -> None:
    """Message: name (of the table, for sentences), keys (the columns that may be asked for). Never returns.

    Files: the listening socket, the table's Arrow file.
    """
    listener, descriptor = work.fds
    work.started()
    table, _ = frames.read_arrow(descriptor)
    rows = Rows(str(work.message["name"]), table, [str(key) for key in work.message["keys"]])  # type: ignore[attr-defined]
    work.answer({"ready": True})
    replica.Server(socket.socket(fileno=listener), rows.answer, 0).serve()


class Rows:
    """A table and its columns in order."""

    def __init__(self, name: str, table: "pyarrow.Table", keys: list[str]) -> None:
        import pyarrow.types as is_type

        self._name, self._table = name, table
        self._ordered = {key: Ordered(key, table.column(key)) for key in keys}
        self._binary = [
            field.name for field in table.schema if is_type.is_binary(field.type) or is_type.is_large_binary(field.type)
        ]

    def answer(self, number: int, kind: int, body: bytes) -> bytes:
        """The whole answer frame. Never raises."""
        return replica.frame(number, lambda: self._result(kind, body))

    def _result(self, kind: int, body: bytes) -> bytes:
        if kind == replica.PING:
            return b"null"
        if kind != LOOKUP:
            raise BadRequest(f"no request of kind {kind}")
        return answers.to_json(self.find(json.loads(body)))

    def find(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows that have one of the values in each of the columns, as dicts."""
        table = self._shown(asked.get("columns"))
        found = self._matching(asked["where"])
        limit, most = asked.get("limit"), asked["most"]
        if limit is None and len(found) > most:
            raise BadRequest(
                f"{len(found):,} rows match; at most {most:,} are given in one answer (lookup_rows): ask for fewer "
                "values, or give limitResults",
                "InvalidParameterError",
            )
        return self._read(table, found[:limit])

    def _matching(self, where: dict[str, list[Any]]) -> "numpy.ndarray":
        """Places of the rows: by the values' order, or, of several columns, by that of the table."""
        import numpy

        pieces = {self._of(column): list(dict.fromkeys(values)) for column, values in where.items()}
        found = {column: column.places(values) for column, values in pieces.items()}
        if len(found) == 1:
            return next(iter(found.values()))
        few, *others = sorted(found.values(), key=len)
        for places in others:
            few = few[numpy.isin(few, places)]
        return numpy.sort(few)

    def _of(self, column: str) -> "Ordered":
        ordered = self._ordered.get(column)
        if ordered is None:
            keys = ", ".join(self._ordered)
            raise BadRequest(
                f"Rows of {self._name} are looked up by {keys}, not by {column[:200]!r}", "InvalidParameterError"
            )
        return ordered

    def _shown(self, columns: "list[str] | None") -> "pyarrow.Table":
        if columns is None:
            return self._table
        names = self._table.column_names
        for column in columns:
            if column not in names:
                raise BadRequest(unknown_column(column, names, self._name), "InvalidParameterError")
        return self._table.select(list(dict.fromkeys(columns)))

    def _read(self, table: "pyarrow.Table", places: "numpy.ndarray") -> list[dict[str, Any]]:
        found = table.slice(int(places[0]), 1) if len(places) == 1 else table.take(places)
        rows: list[dict[str, Any]] = found.to_pylist()
        for name in self._binary:
            for row in rows:
                if row.get(name) is not None:
                    row[name] = base64.b64encode(row[name]).decode()
        return rows


class Ordered:
    """One column, and the order of its values; places of nulls come last and are never found."""

    def __init__(self, name: str, column: "pyarrow.ChunkedArray") -> None:
        import pyarrow
        import pyarrow.compute

        self.name, self._kind = name, column.type
        if pyarrow.types.is_dictionary(self._kind):
            column = column.cast(self._kind.value_type)
            self._kind = column.type
        values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if pyarrow.types.is_temporal(self._kind):
            values = values.cast(pyarrow.int32() if self._kind.bit_width == 32 else pyarrow.int64())
        try:
            order = pyarrow.compute.array_sort_indices(values)
        except pyarrow.ArrowNotImplementedError:
            raise Refused(f"Rows can't be looked up by {name}: it holds {self._kind}.", "TypeError") from None
        self._values = values
        self._order: numpy.ndarray = order.to_numpy(zero_copy_only=False)
        self._count = len(values) - values.null_count
        if pyarrow.types.is_floating(self._kind):
            self._count -= pyarrow.compute.sum(pyarrow.compute.is_nan(values)).as_py() or 0

    def places(self, values: list[Any]) -> "numpy.ndarray":
        """The places of all rows with one of the values."""
        import numpy

        found = [self._places_of(self._asked(value)) for value in values]
        return found[0] if len(found) == 1 else numpy.concatenate([*found, self._order[:0]])

    def _places_of(self, value: Any) -> "numpy.ndarray":
        within = range(self._count)
        first = bisect.bisect_left(within, value, key=self._value_at)
        last = first
        if first < self._count and self._value_at(first) == value:
            last = first + 1
            if last < self._count and self._value_at(last) == value:
                last = bisect.bisect_right(within, value, lo=last, key=self._value_at)
        return self._order[first:last]

    def _value_at(self, rank: int) -> Any:
        return self._values[self._order[rank]].as_py()

    def _asked(self, value: Any) -> Any:
        """The value as the column holds it; text of a number will do for the number, and the other way round."""
        from pyarrow import types as is_type

        kind = self._kind
        try:
            if is_type.is_string(kind) or is_type.is_large_string(kind):
                return _text(value)
            if is_type.is_boolean(kind):
                return _truth(value)
            if is_type.is_integer(kind):
                return _whole(value)
            if is_type.is_decimal(kind):
                return decimal.Decimal(_number_text(value))
            return _moment(value, kind) if is_type.is_temporal(kind) else float(_number_text(value))
        except (ValueError, TypeError, ArithmeticError):
            raise BadRequest(
                f"{self.name} holds {kind}, so it can't be {json.dumps(value)[:200]}", "InvalidParameterError"
            ) from None


def unknown_column(column: str, names: list[str], table: str) -> str:
    """The sentence about a column that isn't there, with the nearest one that is."""
    import difflib

    near = difflib.get_close_matches(column[:200], names, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names[:20])}"
    return f"resultColumns: {table} has no column {column[:200]!r}{hint}"


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return str(value)


def _truth(value: Any) -> bool:
    known = {True: True, False: False, "true": True, "false": False}
    if not isinstance(value, bool | str) or value not in known:
        raise TypeError
    return known[value]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value)


def _number_text(value: Any) -> str:
    if isinstance(value, bool):
        raise TypeError
    return str(value)


def _moment(value: Any, kind: Any) -> int:
    """A time, given as ISO 8601 text, as the column counts it."""
    import pyarrow

    if not isinstance(value, str):
        raise TypeError
    if pyarrow.types.is_date(kind):
        given: Any = datetime.date.fromisoformat(value)
    elif pyarrow.types.is_timestamp(kind):
        given = datetime.datetime.fromisoformat(value)
        zone = datetime.UTC if kind.tz else None
        given = given.replace(tzinfo=given.tzinfo or datetime.UTC).astimezone(datetime.UTC).replace(tzinfo=zone)
    else:
        given = datetime.time.fromisoformat(value)
    counted = pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64()
    moment: int = pyarrow.scalar(given, kind).cast(counted).as_py()
    return moment
