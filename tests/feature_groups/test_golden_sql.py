"""The dialect that users write, run by the real engine in a real guest: every query of `golden_sql` gives its rows."""

import datetime
import decimal
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from modelyard.environments import Environments
from modelyard.feature_groups.queries.sql import Query
from modelyard.sandbox import Guest, Limits, Sandbox
from modelyard.settings import Settings
from tests.conftest import shared_cache
from tests.feature_groups.golden import TABLES, Golden
from tests.feature_groups.golden_sql import QUERIES

pytestmark = pytest.mark.sandbox

_TYPES = {
    "BIGINT": pa.int64(), "VARCHAR": pa.large_string(), "DOUBLE": pa.float64(), "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"), "INTEGER": pa.int32(), "BOOLEAN": pa.bool_(), "DECIMAL": pa.decimal128(10, 2),
}  # fmt: skip
_READ: dict[str, Callable[[str], Any]] = {
    "DATE": datetime.date.fromisoformat, "TIMESTAMP": datetime.datetime.fromisoformat, "DECIMAL": decimal.Decimal,
}  # fmt: skip


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """One guest for all queries; the product takes one for each."""
    settings = Settings.load({}, home=tmp_path_factory.mktemp("home"), cache=shared_cache())
    sandbox = Sandbox(settings)
    base = Environments(settings, sandbox).base()
    with base.hold():
        yield sandbox.start(base.interpreter, Limits(memory_gib=2, timeout_s=60))
    sandbox.close()


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tables as Arrow files."""
    folder = tmp_path_factory.mktemp("twins")
    paths = {}
    for name, (columns, rows) in TABLES.items():
        values = [[_value(kind, row[at]) for row in rows] for at, kind in enumerate(columns.values())]
        arrays = [pa.array(each, _TYPES[kind]) for each, kind in zip(values, columns.values(), strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
        paths[name] = folder / f"{name}.arrow"
        with pa.ipc.new_file(str(paths[name]), batch.schema) as out:
            out.write_batch(batch)
    return paths


@pytest.mark.parametrize("golden", QUERIES, ids=[golden.name for golden in QUERIES])
def test_a_query_gives_the_rows_that_its_dialect_promises(golden: Golden, guest: Guest, twins: dict[str, Path]) -> None:
    query = Query(golden.query)
    query.check_columns({name: list(columns) for name, (columns, _) in TABLES.items()})
    names = [use.name for use in query.tables]
    engine_sql = query.in_engine_dialect({name: name.lower() for name in names})
    descriptors = [os.open(twins[name.lower()], os.O_RDONLY) for name in names]
    message = {"query": engine_sql, "tables": {name.lower(): at for at, name in enumerate(names)}, "memory_gib": 2}
    try:
        reply = guest.call("sql", message, descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    assert reply.error is None, f"{reply.error}\n{engine_sql}"
    assert reply.result is not None
    with guest.open(reply.result["twin"]) as file:
        found = pa.ipc.open_file(file.read()).read_all()
    rows = list(zip(*(map(_plain, column.to_pylist()) for column in found.columns), strict=True))
    assert rows == golden.rows, engine_sql


def test_there_are_a_hundred_queries_and_no_name_comes_twice() -> None:
    assert len({golden.name for golden in QUERIES}) == len(QUERIES) > 100


def _value(kind: str, value: Any) -> Any:
    return _READ[kind](value) if value is not None and kind in _READ else value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return float(value) if isinstance(value, decimal.Decimal) else value
