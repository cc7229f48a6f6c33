"""How columns become Avro: for each Arrow type its Avro type, and its values of many rows encoded at once.

An encoder gives either a *narrow* column, a matrix of bytes with one row per row of the table and a mask of those that
count, or a *wide* one, all bytes in one run and how many belong to each row.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import cell_text, parts

if TYPE_CHECKING:
    import numpy
    import pyarrow

#: A column of a batch, encoded: ("narrow", matrix, mask) or ("wide", bytes, lengths).
Encoded = tuple[str, "numpy.ndarray", "numpy.ndarray"]
_NULL, _VALUE, _THIRD = 0, 2, 4  # branches 0, 1 and 2 of a union as Avro's `long`


@dataclass(frozen=True)
class Encoder:
    """One column: its Avro type and how its values are encoded."""

    schema: Any
    encode: Callable[["pyarrow.Array"], Encoded]


def encoders(
    schema: "pyarrow.Schema",
    files: Sequence[parts.Columns],
    places: Sequence[int] | None = None,
    *,
    exact: bool = False,
) -> list[Encoder]:
    """An encoder for each column; looks at the whole table for what a type alone doesn't say (nulls, large numbers).

    `places` are the columns' positions in the files, where these hold more. `exact` has types as Avro means them, and
    not as the official client reads them: moments without a zone are local, booleans may simply be null.
    """
    at = places or range(len(schema))
    return [
        _encoder(field.type, _Facts(files, place), f"column_{index}", exact=exact)
        for index, (field, place) in enumerate(zip(schema, at, strict=True))
    ]


def rows(batch: "pyarrow.RecordBatch", columns: Sequence[Encoder]) -> bytes:
    """The rows of the batch, encoded one after the other."""
    import numpy

    blocks: list[Encoded] = []
    narrow: list[Encoded] = []
    for column, encoder in zip(batch.columns, columns, strict=True):
        found = encoder.encode(column)
        if found[0] == "narrow":
            narrow.append(found)
            continue
        blocks += [_block(narrow)] if narrow else []
        narrow = []
        blocks.append(found)
    blocks += [_block(narrow)] if narrow else []
    if len(blocks) == 1:
        return blocks[0][1].tobytes()
    lengths = numpy.stack([block[2] for block in blocks], axis=1)
    ends = numpy.cumsum(lengths.ravel()).reshape(lengths.shape)
    result = numpy.empty(int(ends[-1, -1]), dtype=numpy.uint8)
    for index, (_, data, sizes) in enumerate(blocks):
        result[_positions(ends[:, index] - sizes, sizes)] = data
    return result.tobytes()


def _block(narrow: list[Encoded]) -> Encoded:
    """Narrow columns that stand beside each other, as one wide one."""
    import numpy

    matrix = numpy.concatenate([found[1] for found in narrow], axis=1)
    mask = numpy.concatenate([found[2] for found in narrow], axis=1)
    return "wide", matrix[mask], mask.sum(axis=1, dtype=numpy.int64)


def _positions(starts: "numpy.ndarray", sizes: "numpy.ndarray") -> "numpy.ndarray":
    """For every byte of a wide column, in order, where it belongs in the result."""
    import numpy

    before = numpy.cumsum(sizes) - sizes
    positions: numpy.ndarray = numpy.repeat(starts - before, sizes) + numpy.arange(int(sizes.sum()))
    return positions


class _Facts:
    """What one column holds in the whole table; looked up only if asked."""

    def __init__(self, files: Sequence[parts.Columns], index: int) -> None:
        self._files, self._index = files, index

    def has_nulls(self) -> bool:
        return any(file.read(self._index).null_count for file in self._files)

    def is_whole_microseconds(self) -> bool:
        import pyarrow

        try:
            for file in self._files:
                column = file.read(self._index)
                column.cast(pyarrow.timestamp("us", column.type.tz))
        except pyarrow.ArrowInvalid:
            return False
        return True

    def greatest(self) -> int:
        import pyarrow.compute

        found = [pyarrow.compute.max(file.read(self._index)).as_py() for file in self._files]
        return max((number for number in found if number is not None), default=0)


def _encoder(kind: Any, facts: _Facts, name: str, *, exact: bool) -> Encoder:
    import pyarrow.types as is_type

    if is_type.is_null(kind):
        return Encoder("null", _encode_null)
    nullable = facts.has_nulls()
    if exact and is_type.is_boolean(kind):
        return Encoder(_or_null("boolean", nullable), lambda column: _encode_small(column, nullable, _VALUE))
    if exact and is_type.is_timestamp(kind):
        return _exact_moments(kind, facts, nullable)
    if exact and is_type.is_duration(kind):
        return Encoder(
            _or_null("long", nullable), lambda column: _encode_numbers(cell_text.microseconds(column, name), nullable)
        )
    if is_type.is_boolean(kind):
        schema: Any = ["null", "string", "boolean"] if nullable else "boolean"
        return Encoder(schema, lambda column: _encode_small(column, nullable, _THIRD))
    simple = _simple(kind, facts)
    if simple is None:
        return _nested(kind, name)
    schema, encode = simple
    return Encoder(_or_null(schema, nullable), lambda column: encode(column, nullable))


def _or_null(schema: Any, nullable: bool) -> Any:
    return ["null", schema] if nullable else schema


def _exact_moments(kind: Any, facts: _Facts, nullable: bool) -> Encoder:
    """Moments in Avro's microseconds; as text where they are finer than these."""
    import pyarrow

    if kind.unit == "ns" and not facts.is_whole_microseconds():
        schema = _or_null("string", nullable)
        return Encoder(
            schema, lambda column: _encode_bytes(cell_text.texts(column, "").cast(pyarrow.string()), nullable)
        )
    logical = "timestamp-micros" if kind.tz is not None else "local-timestamp-micros"
    schema = _or_null({"type": "long", "logicalType": logical}, nullable)
    return Encoder(schema, lambda column: _encode_moments(column, nullable))


def _simple(kind: Any, facts: _Facts) -> "tuple[Any, Callable[[pyarrow.Array, bool], Encoded]] | None":
    import pyarrow
    import pyarrow.types as is_type

    if is_type.is_date32(kind):
        date = {"type": "int", "logicalType": "date"}
        return date, lambda column, nullable: _encode_numbers(column.cast(pyarrow.int32()), nullable)
    if is_type.is_integer(kind):
        if str(kind) == "uint64" and facts.greatest() > 2**63 - 1:
            return "string", lambda column, nullable: _encode_bytes(column.cast(pyarrow.string()), nullable)
        return ("int" if kind.bit_width < 32 or str(kind) == "int32" else "long"), _encode_numbers
    if is_type.is_floating(kind):
        return ("float" if kind.bit_width <= 32 else "double"), _encode_floats
    if is_type.is_timestamp(kind) or is_type.is_duration(kind):
        moment = {"type": "long", "logicalType": "timestamp-micros"}
        return (moment if is_type.is_timestamp(kind) else "long"), _encode_moments
    if is_type.is_string(kind) or is_type.is_binary(kind):
        return ("string" if is_type.is_string(kind) else "bytes"), _encode_bytes
    if is_type.is_time(kind) or is_type.is_decimal256(kind) or str(kind).startswith("month_day"):
        return "string", lambda column, nullable: _encode_bytes(column.cast(pyarrow.string()), nullable)
    return None


def _encode_null(column: "pyarrow.Array") -> Encoded:
    import numpy

    return "narrow", numpy.empty((len(column), 0), numpy.uint8), numpy.empty((len(column), 0), bool)


def _valid(column: "pyarrow.Array") -> "numpy.ndarray":
    return column.is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _encode_small(column: "pyarrow.Array", nullable: bool, branch: int) -> Encoded:
    import numpy

    values = column.fill_null(False).to_numpy(zero_copy_only=False).astype(numpy.uint8)[:, None]
    return _with_branch(values, numpy.ones(values.shape, bool), column, nullable, branch)


def _encode_numbers(column: "pyarrow.Array", nullable: bool) -> Encoded:
    import numpy

    numbers = column.fill_null(0).to_numpy(zero_copy_only=False).astype(numpy.int64)
    matrix, mask = _varints(numbers)
    return _with_branch(matrix, mask, column, nullable, _VALUE)


def _encode_moments(column: "pyarrow.Array", nullable: bool) -> Encoded:
    import numpy
    import pyarrow

    unit = column.type.unit
    numbers = column.cast(pyarrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    factor = {"s": 1_000_000, "ms": 1000}.get(unit, 1)
    micros = numpy.floor_divide(numbers, 1000) if unit == "ns" else numbers * factor
    matrix, mask = _varints(micros)
    return _with_branch(matrix, mask, column, nullable, _VALUE)


def _encode_floats(column: "pyarrow.Array", nullable: bool) -> Encoded:
    import numpy

    width = 8 if column.type.bit_width == 64 else 4
    numbers = column.fill_null(0).to_numpy(zero_copy_only=False).astype(f"<f{width}")
    matrix = numpy.ascontiguousarray(numbers).view(numpy.uint8).reshape(len(numbers), width)
    return _with_branch(matrix, numpy.ones(matrix.shape, bool), column, nullable, _VALUE)


def _with_branch(
    matrix: "numpy.ndarray", mask: "numpy.ndarray", column: "pyarrow.Array", nullable: bool, branch: int
) -> Encoded:
    """Puts the number of the union's branch before each value where the column may be null."""
    import numpy

    if not nullable:
        return "narrow", matrix, mask
    valid = _valid(column)
    first = numpy.where(valid, numpy.uint8(branch), numpy.uint8(_NULL)).astype(numpy.uint8)[:, None]
    always = numpy.ones((len(valid), 1), bool)
    return (
        "narrow",
        numpy.concatenate([first, matrix], axis=1),
        numpy.concatenate([always, mask & valid[:, None]], axis=1),
    )


def _varints(numbers: "numpy.ndarray") -> "tuple[numpy.ndarray, numpy.ndarray]":
    """Avro's zigzag numbers of variable length, as a matrix no wider than the longest and a mask."""
    import numpy

    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(numpy.uint64)
    longest = int(zigzag.max()) if len(zigzag) else 0
    width = max(1, -(-longest.bit_length() // 7))
    shifts = numpy.arange(width, dtype=numpy.uint64) * numpy.uint64(7)
    sevens = (zigzag[:, None] >> shifts).astype(numpy.uint8) & numpy.uint8(0x7F)
    mask = numpy.ones((len(zigzag), width), bool)
    for place in range(1, width):
        mask[:, place] = zigzag >= numpy.uint64(1 << (7 * place))
    sevens[:, :-1] |= mask[:, 1:].astype(numpy.uint8) << numpy.uint8(7)
    return sevens, mask


def _encode_bytes(column: "pyarrow.Array", nullable: bool) -> Encoded:
    """Text or bytes: the length, then the bytes as they lie in Arrow's buffer."""
    import numpy

    data, lengths = _buffer_of(column)
    matrix, mask = _varints(lengths)
    _, matrix, mask = _with_branch(matrix, mask, column, nullable, _VALUE)
    heads = mask.sum(axis=1, dtype=numpy.int64)
    sizes = heads + lengths
    starts = numpy.cumsum(sizes) - sizes
    result = numpy.empty(int(sizes.sum()), numpy.uint8)
    result[_positions(starts, heads)] = matrix[mask]
    result[_positions(starts + heads, lengths)] = data
    return "wide", result, sizes


def _buffer_of(column: "pyarrow.Array") -> "tuple[numpy.ndarray, numpy.ndarray]":
    """All bytes of a text or binary column in one run, and their number in each row (none where it is null)."""
    import numpy

    if column.null_count:
        column = column.fill_null("" if str(column.type) == "string" else b"")
    _, offsets, data = column.buffers()
    if not len(column):
        return numpy.empty(0, numpy.uint8), numpy.empty(0, numpy.int64)
    ends = numpy.frombuffer(offsets, numpy.int32)[column.offset : column.offset + len(column) + 1].astype(numpy.int64)
    run = numpy.frombuffer(data, numpy.uint8)[ends[0] : ends[-1]] if data is not None else numpy.empty(0, numpy.uint8)
    return run, numpy.diff(ends)


def _nested(kind: Any, name: str) -> Encoder:
    """Lists, structs, maps and decimals: through fastavro, one value after the other."""
    import fastavro

    schema = _avro_type(kind, name)
    parsed = fastavro.parse_schema(schema)

    def encode(column: "pyarrow.Array") -> Encoded:
        import numpy

        out = io.BytesIO()
        ends = [0]
        for value in column.to_pylist(maps_as_pydicts=None if not _has_maps(kind) else "lossy"):
            fastavro.schemaless_writer(out, parsed, value)
            ends.append(out.tell())
        return "wide", numpy.frombuffer(out.getvalue(), numpy.uint8), numpy.diff(numpy.array(ends, numpy.int64))

    return Encoder(schema, encode)


def _has_maps(kind: Any) -> bool:
    return "map<" in str(kind)


def _avro_type(kind: Any, name: str) -> Any:
    """The Avro type of a value inside a nested column; every value may be null."""
    import pyarrow.types as is_type

    if is_type.is_list(kind):
        return ["null", {"type": "array", "items": _avro_type(kind.value_type, f"{name}_i")}]
    if is_type.is_map(kind):
        return ["null", {"type": "map", "values": _avro_type(kind.item_type, f"{name}_v")}]
    if is_type.is_struct(kind):
        fields = [{"name": field.name, "type": _avro_type(field.type, f"{name}_{at}")} for at, field in enumerate(kind)]
        return ["null", {"type": "record", "name": name, "fields": fields}]
    return ["null", _avro_scalar(kind)]


def _avro_scalar(kind: Any) -> Any:
    import pyarrow.types as is_type

    if is_type.is_decimal128(kind):
        return {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": max(kind.scale, 0)}
    if is_type.is_timestamp(kind):
        return {"type": "long", "logicalType": "timestamp-micros"}
    if is_type.is_date32(kind):
        return {"type": "int", "logicalType": "date"}
    tests: list[tuple[Callable[[Any], bool], str]] = [
        (is_type.is_boolean, "boolean"),
        (is_type.is_integer, "long"),
        (is_type.is_floating, "double"),
        (is_type.is_binary, "bytes"),
        (is_type.is_string, "string"),
    ]
    return next((found for test, found in tests if test(kind)), "string")
