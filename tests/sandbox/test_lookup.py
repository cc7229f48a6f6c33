"""The guest's look-ups: every kind of column that rows may be found by, against a plain search through all rows."""

import datetime
import json
import random
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from modelyard.sandbox.guest.lookup import Ordered, Rows
from modelyard.sandbox.guest.replica import HEADER, OK, REFUSED, BadRequest

UTC = datetime.UTC
MOST = 1000


def found(rows: Rows, where: dict[str, list[Any]], **asked: Any) -> list[Any]:
    return [row["place"] for row in rows.find({"where": where, "most": MOST, **asked})]


def table(values: pa.Array) -> Rows:
    return Rows("t", pa.table({"place": range(len(values)), "key": values}), ["key"])


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        (pa.array(["b", "a", None, "ä", "", "a", "𝄞"], pa.large_string()), ["a", "ä", "", "𝄞"]),
        (pa.array([3, 1, None, 3, -5, 2**62]), [3, "3", 3.0, -5, 2**62, 2**70]),
        (pa.array([3, 2**63], pa.uint64()), [2**63, -1]),
        (pa.array([0.5, None, float("nan"), -0.0, float("inf")]), [0.5, "0.5", 0, float("inf")]),
        (pa.array([True, False, None, True]), [True, False, "true"]),
        (pa.array([Decimal("1.10"), Decimal("2.00"), None]), [1.1, "2", 2]),
        (pa.array([datetime.date(2026, 1, 2), None, datetime.date(1969, 12, 31)]), ["2026-01-02", "1969-12-31"]),
        (pa.array(["x", "y", "x", None]).dictionary_encode(), ["x", "z"]),
        (pa.array([], pa.large_string()), ["x"]),
    ],
)
def test_rows_are_found_by_values_of_every_kind(values: pa.Array, asked: list[Any]) -> None:
    plain = values.to_pylist()

    def same(value: object, wanted: object) -> bool:
        if value is None:
            return False
        if isinstance(value, bool):
            return value == {"true": True}.get(str(wanted), wanted)
        if isinstance(value, datetime.date):
            return value.isoformat() == wanted
        if isinstance(value, str):
            return value == wanted
        return Decimal(str(value)) == Decimal(str(wanted))

    for wanted in asked:
        expected = [place for place, value in enumerate(plain) if same(value, wanted)]
        assert found(table(values), {"key": [wanted]}) == expected, wanted


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_moments_are_found_by_iso_text(unit: str, zone: str | None) -> None:
    moments = [datetime.datetime(2026, 11, 25, 10, 0, second, tzinfo=UTC if zone else None) for second in (5, 1, 5)]
    rows = table(pa.array(moments, pa.timestamp(unit, zone)))
    assert found(rows, {"key": ["2026-11-25T10:00:05"]}) == [0, 2]
    assert found(rows, {"key": ["2026-11-25T12:00:01+02:00"]}) == [1]
    with pytest.raises(BadRequest, match="it can't be"):
        found(rows, {"key": ["yesterday"]})


def test_ordering_finds_what_a_search_through_all_rows_finds() -> None:
    dice = random.Random(7)
    columns = {name: [dice.choice([None, *range(kinds)]) for _ in range(2000)] for name, kinds in (("a", 7), ("b", 40))}
    rows = Rows("t", pa.table({"place": range(2000), **columns}), ["a", "b"])
    for _ in range(50):
        where = {"a": dice.sample(range(8), 2), "b": dice.sample(range(45), 3)}
        plain = zip(columns["a"], columns["b"], strict=True)
        expected = [place for place, (a, b) in enumerate(plain) if a in where["a"] and b in where["b"]]
        assert found(rows, where) == expected


def test_more_rows_than_one_answer_may_have_are_an_error_and_never_cut() -> None:
    rows = table(pa.array(["x"] * (MOST + 1)))
    with pytest.raises(BadRequest, match=r"1,001 rows match; at most 1,000"):
        found(rows, {"key": ["x"]})
    assert found(rows, {"key": ["x"]}, limit=3) == [0, 1, 2]


def test_bytes_are_shown_as_base64_and_other_values_by_their_meaning() -> None:
    columns = {
        "key": ["x"],
        "raw": [b"\x00\xff"],
        "at": [datetime.datetime.fromisoformat("2026-01-02T03:00:00")],
        "of": [{"a": [1, None]}],
    }
    rows = Rows("t", pa.table(columns), ["key"])
    body = json.dumps({"where": {"key": ["x"]}, "most": MOST, "limit": None, "columns": None}).encode()
    answer = rows.answer(9, 4, body)
    assert HEADER.unpack(answer[: HEADER.size])[1:] == (9, OK)
    assert json.loads(answer[HEADER.size :]) == [
        {"key": "x", "raw": "AP8=", "at": "2026-01-02T03:00:00", "of": {"a": [1, None]}}
    ]
    assert HEADER.unpack(rows.answer(1, 1, body)[: HEADER.size])[2] == REFUSED
    assert rows.answer(1, 3, b"")[HEADER.size :] == b"null"


def test_a_column_of_lists_puts_no_rows_in_order() -> None:
    with pytest.raises(Exception, match="can't be looked up by tags"):
        Ordered("tags", pa.chunked_array([[["a"], ["b"]]]))
