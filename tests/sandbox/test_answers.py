"""Results of user functions as JSON: by their meaning, or refused by the name of their type."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as some

from modelyard.sandbox.guest.answers import to_json
from modelyard.sandbox.guest.failures import Refused


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class Color(enum.Enum):
    RED = "red"


Pair = collections.namedtuple("Pair", "a b")

MEANINGS: list[tuple[object, object]] = [
    (None, None),
    ({"a": [1, 2.5, "x", True, None]}, {"a": [1, 2.5, "x", True, None]}),
    (math.nan, None),
    ([1.0, math.inf], [1.0, None]),
    (np.float64(1.5), 1.5),
    (np.float32("nan"), None),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([1.0, np.nan]), [1.0, None]),
    (np.array(3), 3),
    (np.array(["a", None], dtype=object), ["a", None]),
    (np.datetime64("2024-01-02T03:04:05"), "2024-01-02T03:04:05"),
    (np.array(["2024-01-02", "NaT"], dtype="M8[D]"), ["2024-01-02", None]),
    (np.timedelta64(90, "s"), 90.0),
    ({np.int64(1): np.float64(2)}, {"1": 2.0}),
    ({2: "a", None: "b", True: "c"}, {"2": "a", "null": "b", "true": "c"}),
    (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    (pd.Series([1, 2]), [1, 2]),
    (pd.Series({"a": 1.5, "b": math.nan}), {"a": 1.5, "b": None}),
    (pd.Index(["a"]), ["a"]),
    (pd.Timestamp("2024-01-02", tz="UTC"), "2024-01-02T00:00:00+00:00"),
    (pd.NaT, None),
    (pd.NA, None),
    (pd.Timedelta(minutes=1), 60.0),
    (pd.Categorical(["a", "b"]), ["a", "b"]),
    (pa.table({"a": [1]}), [{"a": 1}]),
    (pa.array([1, None]), [1, None]),
    (datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "2024-01-02T00:00:00+00:00"),
    (datetime.date(2024, 1, 2), "2024-01-02"),
    (decimal.Decimal("1.25"), 1.25),
    (decimal.Decimal("NaN"), None),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ({3, 1, 2}, [1, 2, 3]),
    (Color.RED, "red"),
    (Point(1, np.int8(2)), {"x": 1, "y": 2}),
    (Pair(1, 2), [1, 2]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.deque([1]), [1]),
    (range(3), [0, 1, 2]),
    (10**30, 10**30),
    ("zeichen ☃", "zeichen ☃"),
]


@pytest.mark.parametrize(("value", "expected"), MEANINGS, ids=range(len(MEANINGS)))
def test_values_become_json_by_their_meaning(value: object, expected: object) -> None:
    assert json.loads(to_json(value)) == expected


REFUSED: list[tuple[object, str]] = [
    (b"x", "bytes"),
    ({"a": [object()]}, "object"),
    (1j, "complex"),
    (np.array([1j]), "complex"),
    (np.array([b"x"]), "bytes"),
    ((x for x in [1]), "generator"),
    (len, "builtin_function_or_method"),
    ({(1, 2): 3}, "keys must be text"),
    ("\ud800", "JSON"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_has_no_json_form_is_refused_by_name(value: object, words: str) -> None:
    with pytest.raises(Refused, match=words):
        to_json(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append([loop, object])
    with pytest.raises(Refused, match="itself"):
        to_json(loop)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_comes_out_as_it_was(value: object) -> None:
    assert json.loads(to_json(value)) == value
