"""Tables on their way out of a guest, with sizes so small that a few rows reach what else takes gigabytes."""

import datetime as dt
import decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from modelyard.sandbox import Interpreter, Limits, Outcome, Sandbox
from modelyard.sandbox.guest import parts
from modelyard.sandbox.guest.parts import SIZES, Columns, Sizes

ROWS = 1000
TABLE = pa.table({
    "number": pa.array(range(ROWS)),
    "gaps": pa.array([None if at % 3 else at / 2 for at in range(ROWS)]),
    "same": pa.array(["always the same words"] * ROWS),
    "when": pa.array([dt.timedelta(seconds=at) for at in range(ROWS)]),
    "price": pa.array([decimal.Decimal(at) / 4 for at in range(ROWS)]),
    "nested": pa.array([{"a": [at] * (at % 4), "b": {"c": str(at)}} for at in range(ROWS)]),
    "last": pa.array([at % 2 == 0 for at in range(ROWS)]),
})  # fmt: skip
SMALL = Sizes(group_rows=100, group_bytes=10_000, part_bytes=4_000, whole_bytes=1, kept_bytes=1)


@pytest.mark.parametrize("sizes", [SIZES, SMALL, SMALL._replace(kept_bytes=2**30)])
def test_parts_and_twin_hold_the_rows_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: Sizes) -> None:
    monkeypatch.chdir(tmp_path)
    told = parts.write_table(TABLE.schema, TABLE.to_batches(max_chunksize=64), sizes)
    files = sorted(tmp_path.glob(".modelyard/table/*.parquet"))
    assert len(files) == 1 if sizes is SIZES else len(files) > 3
    assert told["parts"] == [
        {
            "path": str(file.relative_to(tmp_path)),
            "rows": pyarrow.parquet.read_metadata(file).num_rows,
            "size": file.stat().st_size,
        }
        for file in files
    ]
    assert pa.concat_tables(pyarrow.parquet.read_table(file) for file in files).equals(TABLE)
    with pa.memory_map(str(tmp_path / parts.TWIN)) as source:
        twin = pyarrow.ipc.open_file(source)
        assert twin.num_record_batches == 1
        assert twin.read_all().to_pylist() == TABLE.to_pylist()
    left = [file.name for file in (tmp_path / ".modelyard/table").iterdir() if file.suffix != ".parquet"]
    assert left == ["twin.arrow"]


def test_a_table_without_rows_is_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = parts.write_table(TABLE.schema, [], SMALL)
    assert (told["rows"], len(list(tmp_path.glob(".modelyard/table/*.parquet")))) == (0, 1)
    with pa.memory_map(str(tmp_path / parts.TWIN)) as source:
        assert pyarrow.ipc.open_file(source).read_all().num_rows == 0


def test_columns_whose_values_differ_get_no_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = 20_000
    table = pa.table({
        "measured": pa.array([at / 7 for at in range(rows)]),
        "of few": pa.array([at % 100 / 4 for at in range(rows)]),
        "of many": pa.array([at * at % 9_973 for at in range(rows)]),
        "key.x": pa.array([f"key {at}" for at in range(rows)]),
        "nested": pa.array([{"a": [at], "b": {"c": at}} for at in range(rows)]),
        "empty": pa.nulls(rows, pa.float64()),
        "flag": pa.array([at % 2 == 0 for at in range(rows)]),
        "last": pa.array([dt.date(2026, 1, 1) + dt.timedelta(days=at // 5) for at in range(rows)]),
    })  # fmt: skip
    parts.write_table(table.schema, table.to_batches(max_chunksize=5_000), SIZES._replace(group_rows=10_000))
    [file] = tmp_path.glob(".modelyard/table/*.parquet")
    assert pyarrow.parquet.read_table(file).equals(table)
    written = pyarrow.parquet.read_metadata(file)
    for number in range(written.num_row_groups):
        group = written.row_group(number)
        plain = {
            group.column(at).path_in_schema
            for at in range(group.num_columns)
            if not group.column(at).has_dictionary_page
        }
        assert plain == {"measured", "key.x", "flag"}
        assert not any(group.column(at).is_stats_set for at in range(group.num_columns))  # nobody reads them


def test_what_repeats_is_reckoned_by_what_it_takes_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "same.parquet"
    pyarrow.parquet.write_table(pa.table({"n": [7] * 1_000_000, "s": ["x"] * 1_000_000}), file)
    assert file.stat().st_size < 100_000
    assert Columns(file).bytes > 8_000_000 + 8_000_000


@pytest.mark.sandbox
def test_a_csv_of_300_megabytes_is_imported_in_half_a_gibibyte(
    sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    file, times = tmp_path / "large.csv", 60
    block = b"".join(b"%d,%d.5,name_%d,2024-01-01\n" % (at, at, at * 7919 % 100_003) for at in range(160_000))
    with file.open("wb") as out:
        out.write(b"n,x,name,day\n")
        for _ in range(times):
            out.write(block)
    assert file.stat().st_size > 300_000_000
    file.chmod(0o444)
    with file.open("rb") as source:
        done: Outcome[int] = sandbox.run(
            interpreter, Limits(cores=2, memory_gib=0.5, timeout_s=110), "import_table",
            {"format": "CSV", "memory_gib": 0.5, "scratch_gib": 10, "threads": 2}, fds=[source.fileno()],
        )  # fmt: skip
    assert done.error is None, done.error
    assert done.result is not None
    assert done.result["rows"] == 160_000 * times
    assert [column["type"] for column in done.result["columns"]] == ["int64", "double", "string", "date32[day]"]


@pytest.mark.sandbox
def test_rows_too_long_for_a_little_memory_are_read_with_more(
    sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    file, rows = tmp_path / "long.csv", 1_800
    with file.open("wb") as out:
        out.write(b"a,b\n")
        for at in range(rows):
            out.write(b"%d,%b\n" % (at, b"x" * 100_000))
    file.chmod(0o444)
    with file.open("rb") as source:
        done: Outcome[int] = sandbox.run(
            interpreter, Limits(cores=2, memory_gib=2, timeout_s=110), "import_table",
            {"format": "CSV", "memory_gib": 2, "scratch_gib": 10, "threads": 2}, fds=[source.fileno()],
        )  # fmt: skip
    assert done.error is None, done.error
    assert done.result is not None
    assert done.result["rows"] == rows


@pytest.mark.sandbox
def test_a_table_larger_than_the_memory_of_its_guest_is_imported(
    sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    rows, memory_gib = 2_500_000, 0.5
    file = tmp_path / "large.parquet"
    block = pa.table({f"c{at}": [at] * 100_000 for at in range(40)})
    with pyarrow.parquet.ParquetWriter(file, block.schema) as out:
        for _ in range(rows // block.num_rows):
            out.write_table(block)
    file.chmod(0o444)
    with file.open("rb") as source:
        done: Outcome[int] = sandbox.run(
            interpreter, Limits(memory_gib=memory_gib, timeout_s=120), "import_table",
            {"format": "PARQUET", "memory_gib": memory_gib, "scratch_gib": 10, "threads": 2}, fds=[source.fileno()],
            collect=lambda guest, result: (guest.scratch / result["twin"]).stat().st_size,
        )  # fmt: skip
    assert done.error is None, done.error
    assert done.result is not None
    assert done.result["rows"] == rows
    assert (done.collected or 0) > 1.4 * memory_gib * 1024**3
