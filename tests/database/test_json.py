"""JSON columns give back what was put into them, whatever wrote it."""

import json
import math

import pytest
import sqlalchemy as sa

from modelyard.database import Database
from modelyard.database.engine import _read_json


@pytest.mark.parametrize(
    "value", [{}, [], None, True, 1, -1.5, 10**40, "é", "\ud800", {"a": [1, {"b": None}]}, float("inf"), 1e308]
)
def test_what_was_written_is_read(value: object) -> None:
    assert _read_json(json.dumps(value)) == value
    assert type(_read_json(json.dumps(value))) is type(value)


def test_what_is_no_number_is_read_as_that() -> None:
    assert math.isnan(_read_json(json.dumps({"x": float("nan")}))["x"])


def test_columns_of_both_databases_are_read_so(database: Database) -> None:
    with database.read() as session:
        kind = "::json" if session.get_bind().dialect.name == "postgresql" else ""
        column: sa.ColumnElement[object] = sa.literal_column(f"""'{{"a": [1, 2.5, "x"]}}'{kind}""", sa.JSON())
        assert session.scalar(sa.select(column)) == {"a": [1, 2.5, "x"]}
