"""The task `function`: tables in, a table out."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from modelyard.sandbox import Guest, Interpreter, Limits, Outcome, Sandbox
from tests.sandbox.test_train import TABLE, ipc


def _table(guest: Guest, result: dict[str, Any]) -> pa.Table:
    with guest.open(result["parts"][0]["path"]) as file:
        return pyarrow.parquet.read_table(pa.BufferReader(file.read()))


def call(
    sandbox: Sandbox, interpreter: Interpreter, source: str, fds: list[int], **message: Any
) -> "Outcome[pa.Table]":
    given = {"source": source, "function": "f", "tables": [{"name": f"t{n}"} for n in range(len(fds))], **message}
    return sandbox.run(interpreter, Limits(memory_gib=2), "function", given, fds=fds, preload=(), collect=_table)


@pytest.mark.parametrize("body", [
    "return df[df.id > 1][['id', 'region']]",
    "import polars; return polars.from_pandas(df[df.id > 1][['id', 'region']])",
    "import pyarrow; return pyarrow.Table.from_pandas(df[df.id > 1][['id', 'region']], preserve_index=False)",
])  # fmt: skip
def test_a_function_gives_its_table(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path, body: str) -> None:
    outcome = call(sandbox, interpreter, f"def f(df):\n  {body}\n", [ipc(tmp_path, TABLE)])
    assert outcome.error is None, outcome.error
    assert outcome.collected is not None
    assert outcome.collected.to_pydict() == {"id": [2, 3], "region": ["b", "a"]}
    assert outcome.result is not None
    assert outcome.result["rows"] == 2


def test_tables_and_arguments_may_be_bound_by_name(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path) -> None:
    source = (
        "import pyarrow\ndef f(first, *, second: pyarrow.Table, factor):\n"
        "  return first.assign(n=second.num_rows * factor)\n"
    )
    tables = [{"name": "b", "keyword": "second"}, {"name": "a"}]
    fds = [ipc(tmp_path, TABLE.slice(0, 2)), ipc(tmp_path, TABLE.select(["id"]))]
    outcome = call(sandbox, interpreter, source, fds, tables=tables, arguments={"factor": 10})
    assert outcome.error is None, outcome.error
    assert outcome.collected is not None
    assert outcome.collected.to_pydict() == {"id": [1, 2, 3], "n": [20, 20, 20]}


@pytest.mark.parametrize(("body", "words"), [
    ("pass", "must return a DataFrame"),
    ("return [1]", "an object of type list"),
    ("import pandas; return pandas.DataFrame([[1, 2]], columns=['a', 'a'])", "more than one column named a"),
    ("import pandas; return pandas.DataFrame({'a': [object()]})", "can't be stored"),
])  # fmt: skip
def test_what_is_no_table_is_refused(sandbox: Sandbox, interpreter: Interpreter, body: str, words: str) -> None:
    error = call(sandbox, interpreter, f"def f():\n  {body}\n", []).error
    assert error is not None
    assert words in error.value
