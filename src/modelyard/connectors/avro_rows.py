"""Rows on their way from a database to a guest: Avro, which keeps their types, a block at a time.

CSV would lose what the database knows: that "007" is text, that nothing is not "", that a number is exact. The writer
takes rows as drivers give them. What a driver does not tell of a column's type is read off the first block's values.
"""

import datetime
import decimal
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from modelyard.errors import InvalidParameterError

#: One value, which is not null, as bytes.
Encode = Callable[[Any], bytes]
_BLOCK_ROWS = 10_000
_SYNC = b"modelyard-values"
_EPOCH_DAY = datetime.date(1970, 1, 1)
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - compared with moments without a zone
_EPOCH_UTC = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
#: What encoders raise for a value that is not of their kind.
_MISFITS = (ValueError, TypeError, OverflowError, struct.error, AttributeError, decimal.InvalidOperation)
#: Digits that exact numbers may have. Source: Arrow's decimal128.
MOST_DIGITS = 38


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What one column holds: a kind, and the digits of an exact number."""

    kind: str
    precision: int = MOST_DIGITS
    scale: int = 0


@dataclass(frozen=True, slots=True)
class ColumnOf:
    """A column as a driver tells of it; None: it does not know the type."""

    name: str
    type: ColumnType | None


def write_rows(columns: Sequence[ColumnOf], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """The rows as one Avro file, in pieces. InvalidParameterError names the column whose values don't fit its type."""
    stream = iter(rows)
    block = list(islice(stream, _BLOCK_ROWS))
    types = [one.type or _type_of(row[at] for row in block) for at, one in enumerate(columns)]
    names = _names([one.name for one in columns])
    encoders = [_ENCODERS[one.kind](one) for one in types]
    yield _header(names, types)
    while block:
        encoded = _encode(block, encoders, names)
        yield _long(len(block)) + _long(len(encoded)) + encoded + _SYNC
        block = list(islice(stream, _BLOCK_ROWS))


def _encode(rows: list[Sequence[Any]], encoders: list[Encode], names: list[str]) -> bytes:
    pairs = list(enumerate(encoders))
    found: list[bytes] = []
    for row in rows:
        for at, encode in pairs:
            value = row[at]
            if value is None:
                found.append(b"\0")
                continue
            try:
                found.append(b"\2" + encode(value))
            except _Nothing:
                found.append(b"\0")
            except _MISFITS as error:
                raise InvalidParameterError(
                    f"The column {names[at]} has a {type(value).__name__} that does not fit the others: {value!r:.100}"
                ) from error
    return b"".join(found)


class _Nothing(Exception):
    """A value that stands for null."""


def _names(given: list[str]) -> list[str]:
    """Names that differ: a join may give two columns of one name."""
    found: list[str] = []
    for name in given:
        candidate, number = name or "column", 2
        while candidate in found:
            candidate, number = f"{name or 'column'}_{number}", number + 1
        found.append(candidate)
    return found


def _header(names: list[str], types: list[ColumnType]) -> bytes:
    fields = [{"name": name, "type": ["null", _SCHEMAS[one.kind](one)]} for name, one in zip(names, types, strict=True)]
    schema = json.dumps({"type": "record", "name": "row", "fields": fields}, ensure_ascii=False).encode()
    meta = [(b"avro.schema", schema), (b"avro.codec", b"null")]
    entries = b"".join(_long(len(key)) + key + _long(len(value)) + value for key, value in meta)
    return b"Obj\x01" + _long(len(meta)) + entries + _long(0) + _SYNC


def _type_of(values: Iterable[Any]) -> ColumnType:
    """The narrowest type that holds the values; text where there are none, or where they differ."""
    kinds = {type(value) for value in values if value is not None}
    for classes, kind in _BY_CLASS:
        if kinds and kinds <= classes:
            return ColumnType(kind, MOST_DIGITS, 9) if kind == "decimal" else ColumnType(kind)
    return ColumnType("text")


_BY_CLASS: tuple[tuple[set[type], str], ...] = (
    ({bool}, "boolean"),
    ({int}, "long"),
    ({int, float}, "double"),
    ({decimal.Decimal}, "decimal"),
    ({bytes, bytearray, memoryview}, "bytes"),
    ({datetime.date}, "date"),
    ({datetime.datetime}, "moment"),
)


def _long(value: int) -> bytes:
    """A number of 64 bits as Avro writes it."""
    if not -(2**63) <= value < 2**63:
        raise OverflowError("more than 64 bits")
    rest = value << 1 if value >= 0 else ~(value << 1)
    if rest < 0x80:
        return bytes((rest,))
    found = bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


def _bytes(value: bytes) -> bytes:
    return _long(len(value)) + value


def _whole(value: Any) -> bytes:
    if int(value) != value:
        raise ValueError("not whole")
    return _long(int(value))


def _text(value: Any) -> bytes:
    if isinstance(value, dict | list):
        return _bytes(json.dumps(value, ensure_ascii=False, default=str).encode())
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value).decode("utf-8", "strict").encode())
    return _bytes(str(value).encode())


def _date(value: Any) -> bytes:
    if isinstance(value, str):
        if value.startswith("0000-"):  # MySQL's way to write that there is no date
            raise _Nothing
        value = datetime.date.fromisoformat(value)
    day = value.date() if isinstance(value, datetime.datetime) else value
    return _long((day - _EPOCH_DAY).days)


def _moment(value: Any) -> bytes:
    if isinstance(value, str):
        if value.startswith("0000-"):
            raise _Nothing
        value = datetime.datetime.fromisoformat(value)
    if value.tzinfo is not None:
        return _long((value - _EPOCH_UTC) // _MICROSECOND)
    return _long((value - _EPOCH) // _MICROSECOND)


def _time(value: datetime.time) -> bytes:
    return _long(((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond)


def _decimal(column: ColumnType) -> Encode:
    context = decimal.Context(prec=column.precision)

    def encode(value: Any) -> bytes:
        exact = decimal.Decimal(value)
        whole = int(exact.scaleb(column.scale, context))
        if decimal.Decimal(whole).scaleb(-column.scale, context) != exact or abs(whole) >= 10**column.precision:
            raise ValueError("more digits")
        return _bytes(whole.to_bytes(whole.bit_length() // 8 + 1, "big", signed=True))

    return encode


def _plain(encode: Encode) -> Callable[[ColumnType], Encode]:
    return lambda _: encode


_ENCODERS: dict[str, Callable[[ColumnType], Encode]] = {
    "boolean": _plain(lambda value: b"\1" if _is_true(value) else b"\0"),
    "long": _plain(_whole),
    "double": _plain(lambda value: struct.pack("<d", float(value))),
    "text": _plain(_text),
    "bytes": _plain(lambda value: _bytes(bytes(value))),
    "date": _plain(_date),
    "moment": _plain(_moment),
    "utc moment": _plain(_moment),
    "time": _plain(_time),
    "decimal": _decimal,
}
_SCHEMAS: dict[str, Callable[[ColumnType], Any]] = {
    "boolean": lambda _: "boolean",
    "long": lambda _: "long",
    "double": lambda _: "double",
    "text": lambda _: "string",
    "bytes": lambda _: "bytes",
    "date": lambda _: {"type": "int", "logicalType": "date"},
    "moment": lambda _: {"type": "long", "logicalType": "local-timestamp-micros"},
    "utc moment": lambda _: {"type": "long", "logicalType": "timestamp-micros"},
    "time": lambda _: {"type": "long", "logicalType": "time-micros"},
    "decimal": lambda one: {
        "type": "bytes", "logicalType": "decimal", "precision": one.precision, "scale": one.scale,
    },
}  # fmt: skip


def _is_true(value: Any) -> bool:
    if value in (0, 1, b"\0", b"\1"):
        return value in (1, b"\1")
    raise ValueError("not yes or no")
