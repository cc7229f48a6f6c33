"""SQL as code, and tables as Avro: what a query can't reach, and what a client reads back."""

import datetime as dt
import decimal
import gzip
import io
import os
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from modelyard.sandbox import Guest, Interpreter, Limits, Outcome, Sandbox

LIMITS = Limits(memory_gib=1, timeout_s=6)


def content(guest: Guest, name: str) -> bytes:
    with guest.open(name) as file:
        return file.read()


def query(sandbox: Sandbox, interpreter: Interpreter, sql: str, tmp_path: Path, **tables: pa.Table) -> Outcome[Any]:
    descriptors = []
    for name, table in tables.items():
        with pyarrow.ipc.new_file(tmp_path / name, table.schema) as out:
            out.write_table(table)
        descriptors.append(os.open(tmp_path / name, os.O_RDONLY))

    def rows(guest: Guest, result: dict[str, Any]) -> list[dict[str, Any]]:
        parts = [pyarrow.parquet.read_table(io.BytesIO(content(guest, part["path"]))) for part in result["parts"]]
        rows: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist()
        return rows

    message = {"query": sql, "tables": {name: number for number, name in enumerate(tables)}, "memory_gib": 1}
    try:
        return sandbox.run(interpreter, LIMITS, "sql", message, fds=descriptors, collect=rows)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.mark.sandbox
def test_a_query_sees_its_tables_and_sums_stay_whole_numbers(
    sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    table = pa.table({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    done = query(sandbox, interpreter, "select k, sum(v) as total from t group by k order by k", tmp_path, t=table)
    assert done.error is None, done.error
    assert done.collected == [{"k": "a", "total": 4}, {"k": "b", "total": 2}]
    assert [column["type"] for column in done.result["columns"]] == ["string", "int64"] if done.result else False


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "sql",
    [
        "COPY t TO '/work/out.csv'", "select * from read_csv('/etc/passwd')", "select * from '/etc/passwd'",
        "select * from read_text('/etc/passwd')",
        "select * from read_blob('/proc/self/environ')",
        "select * from glob('/*')",
        "ATTACH '/work/a.db'", "ATTACH ':memory:' AS other", "INSTALL httpfs", "LOAD httpfs",
        "SET memory_limit='100GB'",
        "PRAGMA enable_external_access=true",
        "select getenv('PATH')", "create table x as select 1", "drop view t",
        "select 1; select 2", "", "select * from parquet_scan('/work/x')", "EXPORT DATABASE '/work/x'",
        "CREATE SECRET s (TYPE s3)", "select * from sniff_csv('/etc/passwd')", "CALL pragma_version()", "not sql",
    ],
)  # fmt: skip
def test_a_query_reaches_nothing_else(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path, sql: str) -> None:
    done = query(sandbox, interpreter, sql, tmp_path, t=pa.table({"a": [1]}))
    assert done.result is None
    assert done.error is not None
    assert done.error.value
    assert "root:" not in done.error.value


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "sql",
    [
        "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r",
        "select a.range, list(b.range) over () from range(1000000000) a, range(1000000000) b",
    ],
)
def test_a_bomb_ends_by_its_limits(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path, sql: str) -> None:
    done = query(sandbox, interpreter, sql, tmp_path, t=pa.table({"a": [1]}))
    assert done.result is None
    assert done.error is not None


@pytest.mark.sandbox
def test_avro_reads_back_as_it_was(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path) -> None:
    big = 2**64 - 1
    table = pa.table({
        "i": pa.array([1, -64, None, 2**31 - 1], pa.int32()),
        "l": pa.array([0, -(2**63), 2**63 - 1, 5]),
        "u": pa.array([big, 0, 1, None], pa.uint64()),
        "f": pa.array([1.5, None, 0.0, -1.0], pa.float32()),
        "d": [1e300, -0.5, float("inf"), 2.0],
        "b": [True, False, True, True],
        "bn": [True, None, False, None],
        "s": ["", "é", None, "x" * 5000],
        "by": [b"\0", b"", None, b"z"],
        "t": pa.array([1_577_836_800_123_456_000, None, -1_000_000_000, None], pa.timestamp("ns")),
        "da": [dt.date(2020, 1, 1), None, dt.date(1900, 1, 1), None],
        "dec": [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25"), None],
        "li": [[1, None], [], None, [3]],
        "st": [{"x": 1, "y": "a"}, None, {"x": None, "y": None}, None],
        "数据 x": ["a", "b", "c", "d"],
        "n": pa.nulls(4),
    })  # fmt: skip
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path)
    for rows in (table, table.slice(0, 0)):
        pyarrow.parquet.write_table(rows, path)
        with path.open("rb") as part:
            done: Outcome[list[bytes]] = sandbox.run(
                interpreter, LIMITS, "encode_avro", {}, fds=[part.fileno()],
                collect=lambda guest, result: [content(guest, file["path"]) for file in result["files"]],
            )  # fmt: skip
        assert done.error is None, done.error
        found = [row for data in done.collected or [] for row in fastavro.reader(io.BytesIO(data))]
        assert len(done.collected or []) == 1
        expected = [
            {**row, "u": None if row["u"] is None else str(row["u"]), "t": row["t"] and row["t"].replace(tzinfo=dt.UTC)}
            for row in rows.to_pylist()
        ]
        assert found == expected


@pytest.mark.sandbox
def test_a_bomb_is_not_unpacked_past_its_limit(sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(gzip.compress(bytes(20 * 1024**2))))
    with (tmp_path / "bomb.gz").open("rb") as bomb:
        done: Outcome[Any] = sandbox.run(
            interpreter, LIMITS, "import_table", {"format": "GZ", "scratch_gib": 0.003}, fds=[bomb.fileno()]
        )
    assert done.error is not None
    assert "unpacks to more than" in done.error.value
