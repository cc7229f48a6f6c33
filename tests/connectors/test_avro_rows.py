"""Rows as Avro: read back by another library, value for value."""

import datetime
import decimal
import io
import itertools
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.connectors.avro_rows import ColumnOf, ColumnType, write_rows
from modelyard.errors import InvalidParameterError
from modelyard.sandbox.guest import avro_blocks
from modelyard.sandbox.guest.uploads import Source

UTC = datetime.UTC
ROWS: list[tuple[Any, ...]] = [
    (
        1, 1.5, "ä", True, b"\0\xff", datetime.date(1969, 12, 31), datetime.datetime(2024, 2, 29, 1, 2, 3, 4),  # noqa: DTZ001
        datetime.datetime(1900, 1, 1, tzinfo=UTC), decimal.Decimal("-12.34"), datetime.time(23, 59, 59, 999999),
    ),
    (None,) * 10,
    (
        -(2**63), float("inf"), "", False, b"", datetime.date(9999, 12, 31), datetime.datetime(1, 1, 1),  # noqa: DTZ001
        datetime.datetime(2024, 1, 1, tzinfo=UTC), decimal.Decimal("0.00"), datetime.time(),
    ),
]  # fmt: skip
KINDS = ("long", "double", "text", "boolean", "bytes", "date", "moment", "utc moment", "decimal", "time")


def read(data: bytes) -> list[tuple[Any, ...]]:
    rows: list[dict[str, Any]] = list(fastavro.reader(io.BytesIO(data)))  # type: ignore[arg-type]
    return [tuple(row.values()) for row in rows]


def test_every_type_comes_back_as_it_was() -> None:
    columns = [ColumnOf(kind, ColumnType(kind, 6, 2)) for kind in KINDS]
    assert read(b"".join(write_rows(columns, ROWS))) == ROWS


def test_types_that_the_driver_does_not_tell_are_read_off_the_values() -> None:
    columns = [ColumnOf(str(at), None) for at in range(7)]
    assert read(b"".join(write_rows(columns, [row[:7] for row in ROWS]))) == [row[:7] for row in ROWS]
    assert read(b"".join(write_rows([ColumnOf("a", None)], [(1,), ("x",), (None,)]))) == [("1",), ("x",), (None,)]


def test_many_rows_come_in_blocks_and_none_gives_an_empty_file() -> None:
    column = [ColumnOf("n", ColumnType("long"))]
    pieces = list(write_rows(column, ((n,) for n in range(25_001))))
    assert len(pieces) == 4
    assert read(b"".join(pieces)) == [(n,) for n in range(25_001)]
    assert read(b"".join(write_rows(column, []))) == []


def test_columns_of_one_name_get_names_of_their_own() -> None:
    columns = [ColumnOf(name, ColumnType("long")) for name in ("a", "a", "", "a_2")]
    rows = list(fastavro.reader(io.BytesIO(b"".join(write_rows(columns, [(1, 2, 3, 4)])))))
    assert rows == [{"a": 1, "a_2": 2, "column": 3, "a_2_2": 4}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("long", 2**63), ("long", 1.5), ("decimal", decimal.Decimal("1.234")), ("decimal", decimal.Decimal("NaN")),
     ("decimal", decimal.Decimal("99999.00")), ("boolean", 2), ("date", "soon"), ("text", b"\xff"), ("double", "x")],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_and_never_bent(kind: str, value: object) -> None:
    with pytest.raises(InvalidParameterError, match="column price"):
        list(write_rows([ColumnOf("price", ColumnType(kind, 6, 2))], [(None,), (value,)]))


def test_dates_that_mysql_has_none_for_are_null() -> None:
    columns = [ColumnOf("d", ColumnType("date")), ColumnOf("t", ColumnType("moment"))]
    rows = [("0000-00-00", "0000-00-00 00:00:00")]
    assert read(b"".join(write_rows(columns, rows))) == [(None, None)]


@given(st.lists(st.tuples(*itertools.repeat(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), 2))))
def test_any_whole_numbers_come_back(rows: list[tuple[int | None, ...]]) -> None:
    columns = [ColumnOf("a", ColumnType("long")), ColumnOf("b", ColumnType("long"))]
    assert read(b"".join(write_rows(columns, rows))) == rows


def test_a_guest_reads_a_large_file_in_pieces_that_hold_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avro_blocks, "_PIECE_BYTES", 100_000)
    column = [ColumnOf("n", ColumnType("long"))]
    for rows in (0, 1, 95_000):
        path = tmp_path / f"{rows}.avro"
        path.write_bytes(b"".join(write_rows(column, ((n,) for n in range(rows)))))
        with path.open("rb") as file:
            found = list(avro_blocks.pieces(Source.of(file.fileno())))
        assert len(found) == (1 if rows < 2 else 4)
        assert [row for piece in found for row in read(piece)] == [(n,) for n in range(rows)]


@pytest.mark.parametrize("cut", [3, 20, 60, -1, -17])
def test_a_file_that_breaks_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.avro"
    path.write_bytes(b"".join(write_rows([ColumnOf("n", ColumnType("long"))], [(1,)]))[:cut])
    with path.open("rb") as file, pytest.raises(ValueError, match=r"ends in the middle|does not end"):
        list(avro_blocks.pieces(Source.of(file.fileno())))
