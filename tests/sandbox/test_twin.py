"""The twin of a large table, filled in place: the same rows as pyarrow would write, whatever is nested in what."""

import datetime as dt
import decimal
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as is_type
import pytest

from modelyard.sandbox.guest import arrow_types, twin

KINDS = [
    pa.string(), pa.binary(), pa.bool_(), pa.int8(), pa.int64(), pa.float64(), pa.date32(), pa.decimal128(10, 2),
    pa.timestamp("us"), pa.null(), pa.struct([("a", pa.int32()), ("b", pa.string())]), pa.list_(pa.string()),
    pa.list_(pa.list_(pa.bool_())), pa.map_(pa.string(), pa.list_(pa.int64())),
    pa.struct([("m", pa.map_(pa.string(), pa.string())), ("l", pa.list_(pa.struct([("z", pa.bool_())])))]),
]  # fmt: skip
NAMES = [f"c{number}" for number in range(len(KINDS))]


def value(kind: Any, chance: random.Random, *, nullable: bool = True) -> Any:
    """Any value of that type."""

    def inside(inner: Any, **options: Any) -> Any:
        return value(inner, chance, **options)

    if is_type.is_null(kind) or (nullable and chance.random() < 0.2):
        return None
    count = range(chance.randrange(4))
    if is_type.is_struct(kind):
        return {field.name: inside(field.type) for field in kind}
    if is_type.is_map(kind):
        return [(inside(kind.key_type, nullable=False), inside(kind.item_type)) for _ in count]
    if is_type.is_list(kind):
        return [inside(kind.value_type) for _ in count]
    flat = {
        pa.string(): "x" * len(count), pa.binary(): b"y" * len(count), pa.bool_(): chance.random() < 0.5,
        pa.float64(): chance.random(), pa.date32(): dt.date(2020, 1, 1 + len(count)),
        pa.decimal128(10, 2): decimal.Decimal(len(count)) / 4, pa.timestamp("us"): 10**15 + len(count),
    }  # fmt: skip
    return flat.get(kind, len(count))


def column(kind: Any, length: int, chance: random.Random) -> pa.Array:
    """Values that begin somewhere in the memory of an array."""
    return pa.array([value(kind, chance) for _ in range(length + 3)], kind).slice(2, length)


@pytest.mark.parametrize("lengths", [[5, 17, 100, 0, 3], [0], [0, 0, 9], [8, 8], [1], [64, 1]])
def test_it_holds_the_rows_in_one_batch(tmp_path: Path, lengths: list[int]) -> None:
    chance = random.Random(len(lengths))
    schema = pa.schema([(name, arrow_types.wide(kind)) for name, kind in zip(NAMES, KINDS, strict=True)])
    batches = [[column(kind, length, chance) for kind in KINDS] for length in lengths]
    nodes = [twin.Node(field.type) for field in schema]
    for batch in batches:
        for node, array in zip(nodes, batch, strict=True):
            node.measure(array)
    descriptor = twin.describe(str(tmp_path / "twin"), schema, nodes)
    for batch in batches:
        for node, array in zip(nodes, batch, strict=True):
            node.fill(descriptor, array.cast(node.kind))
    for node in nodes:
        node.finish(descriptor)
    os.close(descriptor)
    with pa.memory_map(str(tmp_path / "twin")) as file:
        reader = pa.ipc.open_file(file)
        assert reader.num_record_batches == 1
        found = reader.read_all()
        found.validate(full=True)
        expected = pa.Table.from_batches([
            pa.RecordBatch.from_arrays([array.cast(field.type) for array, field in zip(batch, schema, strict=True)],
                                       schema=schema)
            for batch in batches
        ])  # fmt: skip
        assert found.schema == expected.schema
        assert found.to_pylist() == expected.to_pylist()
        assert [each.null_count for each in found.columns] == [each.null_count for each in expected.columns]


def test_a_buffer_that_was_measured_otherwise_is_noticed(tmp_path: Path) -> None:
    node = twin.Node(pa.int64())
    node.measure(pa.array([1, 2, 3]))
    descriptor = twin.describe(str(tmp_path / "twin"), pa.schema([("a", pa.int64())]), [node])
    node.fill(descriptor, pa.array([1, 2]))
    with pytest.raises(AssertionError):
        node.finish(descriptor)
    os.close(descriptor)


def test_columns_are_written_in_large_pieces_however_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piece, rows, pwrite, written = 2 * 1024**2, 500_000, os.pwrite, list[tuple[int, int]]()

    def noted(file: int, data: Any, position: int) -> int:
        size = pwrite(file, data, position)
        written.append((position, position + size))
        return size

    columns = [pa.array(range(at, at + rows)) for at in range(2)]
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    nodes = [twin.Node(field.type) for field in schema]
    for node, column in zip(nodes, columns, strict=True):
        node.measure(column)
    descriptor = twin.describe(str(tmp_path / "twin"), schema, nodes)
    monkeypatch.setattr(os, "pwrite", noted)
    steps = [10, 300_000, 1, 65_536, 65_536, rows]
    for node, column in zip(nodes, columns, strict=True):
        start = 0
        for step in steps:
            node.fill(descriptor, column.slice(start, step))
            start += step
        node.finish(descriptor)
    os.close(descriptor)
    assert sum(end - start for start, end in written) == 2 * rows * 8
    # A column of 3.8 MiB has three ends of pieces at most, its own among them; no piece but the last ends elsewhere.
    assert len([end for _, end in written if end % piece]) == 2
    with pa.memory_map(str(tmp_path / "twin")) as file:
        assert pa.ipc.open_file(file).read_all().columns == [pa.chunked_array([column]) for column in columns]
