"""Uploaded, imported, downloaded by the official client: what becomes of types that CSV never had."""

import datetime as dt
import decimal
import io
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.datasets.conftest import Files

pytestmark = pytest.mark.sandbox

D = decimal.Decimal
NOON, LONG_AGO = pd.Timestamp("2024-02-29 12:00:00.123456"), pd.Timestamp("1900-01-01")


@pytest.mark.parametrize(
    ("column", "loaded"),
    [
        (pa.array([D("1.50"), None, D("-12345678901234567890.25")]), [D("1.50"), None, D("-12345678901234567890.25")]),
        (pa.array([dt.timedelta(hours=1), None, dt.timedelta(microseconds=-5)], pa.duration("us")), [3.6e9, None, -5]),
        (pa.array([1_500_000_000, None, -1000], pa.duration("ns")), [1.5e6, None, -1]),
        (pa.array([[1, 2], None, []]), [[1, 2], None, []]),
        (pa.array([[["a"], None], None, []]), [[["a"], None], None, []]),
        (pa.array([{"a": 1, "b": ["x"]}, None, {"a": None}]), [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}]),
        (pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())), [{"k": 1}, None, {}]),
        (pa.array([NOON, None, LONG_AGO], pa.timestamp("us")), [NOON, None, LONG_AGO]),
        (pa.array([dt.date(2024, 2, 29), None, dt.date(1, 1, 1)]), [dt.date(2024, 2, 29), None, dt.date(1, 1, 1)]),
        (pa.array([dt.time(23, 59, 59), None, dt.time()]), ["23:59:59.000000", None, "00:00:00.000000"]),
        (pa.array([b"\0\xff", None, b""]), [b"\0\xff", None, b""]),
        (pa.array([True, None, False]), [True, None, False]),
        (pa.array([2**64 - 1, None, 0], pa.uint64()), [str(2**64 - 1), None, "0"]),
        (pa.array(["é", None, ""]).dictionary_encode(), ["é", None, ""]),
    ],
    ids=lambda each: str(each.type) if isinstance(each, pa.Array) else "",
)  # fmt: skip
def test_values_come_back(files: Files, column: pa.Array, loaded: list[Any]) -> None:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"row": [0, 1, 2], "value": column}), buffer)
    version = files.upload(buffer.getvalue(), fileFormat="PARQUET")
    assert version["status"] == "COMPLETE", version["error"]
    client = files.yard.client()
    name = client.describe_dataset(version["datasetId"]).feature_group_table_name
    frame = client.describe_feature_group_by_table_name(name).load_as_pandas()
    assert frame["row"].tolist() == [0, 1, 2]
    gone = frame["value"].isna()
    found = [None if is_gone else each for each, is_gone in zip(frame["value"], gone, strict=True)]
    assert found == loaded
