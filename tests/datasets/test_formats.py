"""What becomes of files of each format, and what is said of those that are none."""

import datetime as dt
import decimal
import gzip
import io
import itertools
import os
import tarfile
import zipfile
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet
import pytest

from modelyard.datasets.records import DatasetVersion
from modelyard.storage import BlobStore, Table
from modelyard.storage.tables import arrow_path
from tests.datasets.conftest import Files

PARQUET = "PARQUET"


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def kept(files: Files, version: dict[str, Any]) -> tuple[pa.Table, pa.Table]:
    """The table as it lies in the store, and its twin."""
    import msgspec

    assert version["status"] == "COMPLETE", version["error"]
    with files.yard.database.read() as session:
        table = msgspec.convert(session.get_one(DatasetVersion, version["datasetVersion"]).table, Table)
    store = BlobStore(files.yard.settings.home / "blobs")
    rows = pa.concat_tables(pyarrow.parquet.read_table(store.path(part.digest)) for part in table.parts)
    twin = arrow_path(files.yard.settings.cache_dir / "tables", table)
    with pa.memory_map(str(twin)) as source:
        reader = pyarrow.ipc.open_file(source)
        assert reader.num_record_batches == 1
        return rows, reader.read_all()


def test_csv_types_are_those_of_the_whole_file(files: Files) -> None:
    header = "i,f,s,b,d,t,z,n,ambiguous"
    lines = [header] + ["1,1,1,true,2024-01-01,2024-01-01,2024-01-01T10:00:00Z,,01/02/2020"] * 30_000
    last = "2,2.5,x,false,2024-01-02,2024-01-01 10:00:00.5,2024-01-01 10:00:00+02:00,,01/03/2020\n"
    version = files.upload("\n".join([*lines, last]).encode(), fileFormat="CSV")
    rows, twin = kept(files, version)
    assert [str(kind) for kind in rows.schema.types] == [
        "int64", "double", "string", "bool", "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]", "string",
        "string",
    ]  # fmt: skip
    assert rows.num_rows == twin.num_rows == version["rowCount"] == 30_001
    assert rows.slice(30_000).to_pylist()[0]["z"] == dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC)
    assert twin.schema.field("ambiguous").type == pa.large_string()
    assert version["fileInspectMetadata"]["delimiter"] == ","


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_taken_from_the_header(files: Files, delimiter: str) -> None:
    version = files.upload(f"a{delimiter}b\n1{delimiter}x\n".encode())
    assert files.schema(version) == {"a": "INTEGER", "b": "STRING"}


def test_column_names_are_kept_and_none_is_lost(files: Files) -> None:
    version = files.upload("a,a,b b,数据,,A\n1,2,3,4,5,6\n".encode(), fileFormat="CSV")
    rows, _ = kept(files, version)
    assert rows.column_names == ["a", "a_2", "b b", "数据", "column_5", "A"]
    columns = files.yard.call("getDatasetSchema", "GET", datasetId=version["datasetId"])
    assert [column["originalName"] for column in columns] == ["a", "a", "b b", "数据", "", "A"]


@pytest.mark.parametrize(
    ("data", "file_format", "said"),
    [
        (b"", "CSV", "holds no bytes"),
        (b"\n\n\n", "CSV", "no columns"),
        (b"a,b\n1,2\n1,2,3\n4,5\n", "CSV", r"Row 2 \(line 3\) has 3 values, but the first row names 2 columns"),
        (b"a,b\n1,2\n1\n", "CSV", r"Row 2 \(line 3\) has 1 values"),
        (b'a,b\n1,"2\n3,4\n', "CSV", "Row 1 can't be read"),
        (b"a,b\n1,2\n\xff,3\n", "CSV", "not UTF-8 text"),
        (b"a\0b,c\n", "CSV", "byte 2 is zero"),
        (b"\xff\xfea\0", "CSV", "UTF-16"),
        (b"a,b\n1,2\n", PARQUET, "can't be read as Parquet"),
        (b"PAR1" + b"x" * 100, PARQUET, "can't be read as Parquet"),
        (b"PAR1" + b"x" * 100, "CSV", "declared CSV, but it is PARQUET"),
        (b"[1, 2]", "JSON", "must hold JSON objects"),
        (b"[]", "JSON", "must hold JSON objects"),
        (b'{"a":1}\n{"a":}\n', "JSON", "can't be read as JSON"),
        (b"x", "JSON", "not JSON objects"),
        (b"   \n", "JSON", "holds no JSON"),
        (b"\x1f\x8bnonsense", "GZ", "can't be unpacked"),
        (b"PK\x03\x04nonsense", "ZIP", "can't be unpacked"),
        (zipped(**{"a.csv": "a\n1\n", "b.csv": "b\n1\n"}), "ZIP", "mergeFileSchemas"),
        (zipped(), "ZIP", "no file with data"),
        (parquet(pa.table({})), PARQUET, "no columns"),
    ],
    ids=itertools.count(),  # an archive's bytes hold the time, and pytest's processes must agree on names
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(files: Files, data: bytes, file_format: str, said: str) -> None:
    import re

    version = files.upload(data, fileFormat=file_format)
    assert version["status"] == "FAILED"
    assert re.search(said, version["error"]), version["error"]
    assert "/proc" not in version["error"]
    assert "/work" not in version["error"]


def test_binary_garbage_declared_as_csv_fails_and_nothing_else_happens(files: Files) -> None:
    version = files.upload(os.urandom(100_000), fileFormat="CSV")
    assert version["status"] == "FAILED"
    assert files.upload(b"a\n1\n", fileFormat="CSV")["status"] == "COMPLETE"


def test_a_header_alone_is_a_table_without_rows(files: Files) -> None:
    version = files.upload(b"a,b\n", fileFormat="CSV")
    rows, twin = kept(files, version)
    assert (rows.num_rows, twin.num_rows, rows.column_names) == (0, 0, ["a", "b"])
    assert version["rowCount"] == 0


def test_ten_thousand_columns_are_a_table(files: Files) -> None:
    header = ",".join(f"c{number}" for number in range(10_000))
    row = ",".join("x" if number % 2 else str(number) for number in range(10_000))
    version = files.upload(f"{header}\n{row}\n{row}\n".encode(), fileFormat="CSV")
    assert (version["status"], version["rowCount"]) == ("COMPLETE", 2)


def test_parquet_keeps_its_types_and_named_index(files: Files) -> None:
    import pandas as pd

    table = pa.table({
        "i": pa.array([1, None], pa.int32()),
        "u": pa.array([2**64 - 1, 0], pa.uint64()),
        "f": pa.array([1.5, None], pa.float32()),
        "b": [True, None],
        "s": ["x", None],
        "ns": pa.array([1_577_836_800_000_000_001, None], pa.timestamp("ns")),
        "d": [dt.date(2020, 1, 1), None],
        "dec": [decimal.Decimal("1.50"), None],
        "l": [[1, 2], None],
        "st": [{"a": 1, "b": "x"}, None],
        "by": [b"\0x", None],
        "du": pa.array([dt.timedelta(seconds=1), None], pa.duration("ns")),
        "cat": pa.array(["a", "a"]).dictionary_encode(),
    })  # fmt: skip
    rows, twin = kept(files, files.upload(parquet(table), fileFormat=PARQUET))
    expected = table.set_column(12, "cat", table["cat"].cast(pa.string()))
    assert rows.schema.types == expected.schema.types
    assert rows.equals(expected)
    assert [field.name for field in twin.schema] == table.column_names
    buffer = io.BytesIO()
    pd.DataFrame({"x": [1.5, 2.5]}, index=pd.Index(["p", "q"], name="key")).to_parquet(buffer)
    rows, _ = kept(files, files.upload(buffer.getvalue(), fileFormat=PARQUET))
    assert rows.to_pydict() == {"x": [1.5, 2.5], "key": ["p", "q"]}


def test_json_in_both_forms(files: Files) -> None:
    for data in (b'{"a":1,"b":{"c":[1]}}\n{"a":2.5}\n', b'[{"a":1,"b":{"c":[1]}},\n {"a":2.5}]'):
        rows, _ = kept(files, files.upload(data))
        assert rows.to_pylist() == [{"a": 1.0, "b": {"c": [1]}}, {"a": 2.5, "b": None}]


def test_orc_avro_and_archives(files: Files) -> None:
    import fastavro

    orc, avro, tar = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pyarrow.orc.write_table(pa.table({"a": [1, 2]}), orc)
    fastavro.writer(
        avro, {"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]}, [{"a": 1}, {"a": 2}]
    )
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        for name in ("../../evil.parquet", "_SUCCESS", "x/part.parquet"):
            data = b"" if name == "_SUCCESS" else parquet(pa.table({"a": [1]}))
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link.parquet")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    for data, kind in (
        (orc.getvalue(), "ORC"), (avro.getvalue(), "AVRO"), (tar.getvalue(), "TAR"),
        (gzip.compress(b"a\n1\n2\n"), "GZ"),
        (zipped(**{"../x.csv": "a\n1\n", "y.csv": "a\n2\n", "__MACOSX/._y.csv": "\0"}), "ZIP"),
    ):  # fmt: skip
        version = files.upload(data, fileFormat=kind)
        assert (version["status"], version["rowCount"]) == ("COMPLETE", 2), (kind, version["error"])


def test_files_of_different_columns_are_merged_when_asked(files: Files) -> None:
    data = zipped(**{"a.csv": "k,x\n1,2\n", "b.csv": "k,y\n3,4.5\n"})
    rows, _ = kept(files, files.upload(data, fileFormat="ZIP", mergeFileSchemas=True))
    assert rows.to_pylist() == [{"k": 1, "x": 2, "y": None}, {"k": 3, "x": None, "y": 4.5}]
