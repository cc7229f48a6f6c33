"""Exports through the official client: into files for download, buckets, folders; from one house into another table."""

import datetime as dt
import decimal
import io
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import abacusai
import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest
import requests

from modelyard.clock import utc_now
from modelyard.settings import Settings
from modelyard.upkeep.expiring import expire
from tests.conftest import shared_cache
from tests.connectors.conftest import SECRETS, Buckets
from tests.datasets.conftest import Files
from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

D = decimal.Decimal
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3]),
        "weight": pa.array([1.0, None, 1e300]),
        "name": pa.array(['he said "hi",\nthen left', None, "é🙂"]),
        "price": pa.array([D("1234567890.50"), None, D("-0.25")]),
        "good": pa.array([True, None, False]),
        "raw": pa.array([b"\0\xff", None, b""]),
        "seen": pa.array([1709168523000004, None, -2208988800000000], pa.timestamp("us")),
        "sent": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None, dt.datetime(1969, 12, 31, tzinfo=dt.UTC)]),
        "born": pa.array([dt.date(2024, 2, 29), None, dt.date(1, 1, 1)]),
        "tags": pa.array([["a", "b"], None, []]),
        "place": pa.array([{"city": "Ulm", "xy": [1, 2]}, None, {"city": None, "xy": None}]),
    }
)


class Exports:
    """A house whose operator opened one folder and loopback, and what is exported from it."""

    def __init__(self, yard: Yard, folder: Path) -> None:
        self.yard, self.folder, self.tables = yard, folder, Tables(yard)
        self.client: abacusai.ApiClient = yard.client()

    def version(self, rows: pa.Table, name: str | None = None) -> str:
        """A version with these rows."""
        group_id = self.tables.put_rows(name or f"t_{uuid.uuid4().hex}", rows)
        return str(self.tables.versions(group_id)[-1].feature_group_version)

    def to_file(self, version: str, location: str, kind: str = "CSV", **more: Any) -> Any:
        return self.client.export_feature_group_version_to_file_connector(version, location, kind, **more)

    def download(self, version: str, kind: str) -> bytes:
        """The file of an export to the console, as a user fetches it."""
        export = complete(self.client.export_feature_group_version_to_console(version, kind))
        url = export.get_feature_group_version_export_download_url().download_url
        answer = requests.get(url, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.content


def complete(export: Any) -> Any:
    """The export once it has ended, well."""
    found = export.wait_for_results(60)
    assert found.status == "COMPLETE", found.error
    return found


def failed(export: Any) -> str:
    """Why the export failed."""
    found = export.wait_for_results(60)
    assert found.status == "FAILED"
    return str(found.error)


@pytest.fixture(scope="module")
def exports() -> Iterator[Exports]:
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    (folder / "open").mkdir()
    roots = {"file_roots": [folder / "open"], "file_write_roots": [folder / "open"]}
    settings = Settings.load(
        {}, home=folder / "home", cache=shared_cache(), port=0, poll_s=0.1, allowed_networks=["127.0.0.1/32"],
        export_part_bytes=300_000, **roots,
    )  # fmt: skip
    with Yard(settings) as yard:
        yield Exports(yard, folder / "open")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket(exports: Exports, buckets: Buckets) -> Callable[[str], str]:
    """Makes a bucket with a connector to it; gives its location."""

    def make(name: str) -> str:
        buckets.put(name)
        options = {"endpoint": buckets.endpoint, "region": "us-east-1"}
        exports.yard.call("createFileConnector", bucket=f"s3://{name}", options=options, secrets=SECRETS)
        return f"s3://{name}"

    return make


def back(exports: Exports, data: bytes, kind: str, **options: Any) -> list[dict[str, Any]]:
    """The rows that our own import reads from the file."""
    files = Files(exports.yard)
    version = files.upload(data, fileFormat=kind, **options)
    assert version["status"] == "COMPLETE", version["error"]
    name = exports.client.describe_dataset(version["datasetId"]).feature_group_table_name
    group = exports.client.describe_feature_group_by_table_name(name)
    newest = exports.tables.versions(group.feature_group_id)[-1]
    blobs = [exports.tables.store.read(part.digest) for part in newest.manifest.parts]
    tables = [pyarrow.parquet.read_table(io.BytesIO(blob)) for blob in blobs]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return rows


@pytest.mark.parametrize("kind", ["PARQUET", "AVRO"])
def test_formats_with_types_keep_every_value_and_type(exports: Exports, kind: str) -> None:
    assert back(exports, exports.download(exports.version(ROWS), kind), kind) == ROWS.to_pylist()


@pytest.mark.parametrize("kind", ["CSV", "TSV", "JSON"])
def test_text_formats_keep_every_value(exports: Exports, kind: str) -> None:
    expected = ROWS.to_pylist()
    for row in expected:
        row["price"] = None if row["price"] is None else float(row["price"])
        row["raw"] = None if row["raw"] is None else row["raw"].hex()
        for name in ("tags", "place") if kind != "JSON" else ():
            row[name] = None if row[name] is None else json.dumps(row[name], separators=(",", ":"))
    if kind != "JSON":
        expected[2]["raw"] = None  # separated values know no difference between nothing and no bytes
    found = back(exports, exports.download(exports.version(ROWS), kind), kind)
    if kind == "JSON":
        for row in found:  # JSON has no moments with a zone; our import takes those that end in Z for UTC
            row["sent"] = row["sent"] and row["sent"].replace(tzinfo=dt.UTC)
    assert found == expected


def test_an_empty_table_is_a_whole_file(exports: Exports) -> None:
    version = exports.version(ROWS.slice(0, 0))
    assert exports.download(version, "CSV").startswith(b'"id","weight"')
    assert exports.download(version, "JSON") == b""
    assert (
        pyarrow.parquet.read_table(io.BytesIO(exports.download(version, "PARQUET"))).schema.names == ROWS.schema.names
    )


def test_cells_that_a_spreadsheet_would_run_are_text_and_numbers_stay_numbers(exports: Exports) -> None:
    cells = ["=1+1", "+1", "-2", "@SUM(A1)", "\tx", "\rx", "\n=x", "plain", "a=b", None, ""]
    rows = pa.table({"=cell": cells, "n": pa.array([-1.5] * len(cells)), "k": pa.array([-7] * len(cells))})
    text = exports.download(exports.version(rows), "CSV").decode()
    for cell in cells[:7]:
        assert f'"\'{cell}",-1.5,-7\n' in text
    assert '"plain",-1.5,-7\n"a=b",-1.5,-7\n,-1.5,-7\n"",-1.5,-7\n' in text
    assert text.startswith('"\'=cell","n","k"\n')
    assert [
        row["=cell"] for row in map(json.loads, exports.download(exports.version(rows), "JSON").splitlines())
    ] == cells


def test_a_link_is_good_for_anybody_until_it_expires_and_for_nothing_else(exports: Exports) -> None:
    export = complete(exports.client.export_feature_group_version_to_console(exports.version(ROWS, "linked"), "csv"))
    found = export.get_feature_group_version_export_download_url()
    assert found.expires_at > dt.datetime.now(dt.UTC).isoformat()
    answer = requests.get(found.download_url, timeout=30)
    assert "linked.csv" in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = requests.get(found.download_url, headers={"range": "bytes=1-3"}, timeout=30)
    assert (part.status_code, part.content) == (206, answer.content[1:4])
    assert requests.get(found.download_url, headers={"range": "bytes=-5"}, timeout=30).content == answer.content[-5:]
    assert requests.get(found.download_url, headers={"range": "bytes=999999-"}, timeout=30).status_code == 416
    start, link, name = found.download_url.rsplit("/", 2)
    export_id, until, signature = link.split("-")
    for wrong in (
        f"{export_id}-{int(until) + 1}-{signature}", f"{export_id}-{until}-{'0' * 64}", f"{export_id}-{until}",
        export_id, f"0123456789-{until}-{signature}", f"{export_id}-{until}-é", f"{export_id}-x-{signature}",
    ):  # fmt: skip
        assert requests.get(f"{start}/{wrong}/{name}", timeout=30).status_code == 403


def test_an_expired_link_opens_nothing(settings: Settings) -> None:
    with Yard(msgspec.structs.replace(settings, download_link_s=-1)) as yard:
        here = Exports(yard, Path("/nowhere"))
        export = complete(here.client.export_feature_group_version_to_console(here.version(ROWS), "CSV"))
        answer = requests.get(export.get_feature_group_version_export_download_url().download_url, timeout=30)
    assert (answer.status_code, "expired" in answer.text) == (403, True)


def test_files_are_replaced_only_where_that_is_allowed(exports: Exports, bucket: Callable[[str], str]) -> None:
    version = exports.version(ROWS)
    for location in (f"file://{exports.folder}/below/a.csv", f"{bucket('replaced')}/below/a.csv"):
        made = complete(exports.to_file(version, location))
        assert (made.connector_type, made.output_location, made.file_format) == ("FILE_CONNECTOR", location, "CSV")
        assert (made.total_writes, made.failed_writes) == (3, 0)
        assert "is a file at" in failed(exports.to_file(version, location))
        complete(exports.to_file(version, location, overwrite=True))
        # What was written is what our own import reads.
        dataset = exports.client.create_dataset_from_file_connector(f"t_{uuid.uuid4().hex}", location)
        dataset.wait_for_import(60)
        assert dataset.describe().latest_dataset_version.status == "COMPLETE"
    assert sorted(path.name for path in (exports.folder / "below").iterdir()) == ["a.csv"]


def test_a_folder_gets_parts_and_loses_those_of_a_larger_table(
    exports: Exports, bucket: Callable[[str], str], buckets: Buckets
) -> None:
    large = pa.table({"n": pa.array(range(200_000)), "t": pa.array(["x" * 9] * 200_000)})
    bucket("parts")
    buckets.put("parts", folder__mine_DOT_txt=b"mine")
    location = "s3://parts/folder/"
    complete(exports.to_file(exports.version(large), location, "PARQUET"))
    complete(exports.to_file(exports.version(large), location, "JSON", overwrite=True))
    names = [name for name in buckets.keys("parts") if name.endswith("jsonl")]
    assert len(names) > 5
    lines = b"".join(buckets.get("parts", name) for name in sorted(names)).splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(200_000))
    assert "is a file at s3://parts/folder/part-00000" in failed(
        exports.to_file(exports.version(ROWS), location, "JSON")
    )
    complete(exports.to_file(exports.version(ROWS), location, "JSON", overwrite=True))
    assert buckets.keys("parts") == ["folder/mine.txt", "folder/part-00000.jsonl"]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/cron.d/x", "outside of the folders"), ("file://{folder}/../x.csv", "outside of the folders"),
        ("file://{folder}/%2e%2e/x.csv", "outside of the folders"), ("file://{folder}/a%00.csv", "write it as"),
        ("https://example.com/x.csv", "web address"), ("s3://nobodys/x.csv", "no file connector"), ("x.csv", "scheme"),
        ("file://{folder}/*.csv", "pattern"), ("ftp://host/x", "can't be used"),
    ],
)  # fmt: skip
def test_nothing_is_written_elsewhere(exports: Exports, location: str, words: str) -> None:
    with pytest.raises(abacusai.client.ApiException, match=words):
        exports.to_file(exports.version(ROWS), location.format(folder=exports.folder))


def test_a_link_in_an_open_folder_leads_nowhere(exports: Exports) -> None:
    outside = exports.folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (exports.folder / "way").symlink_to(outside)
    with pytest.raises(abacusai.client.ApiException, match="outside of the folders"):
        exports.to_file(exports.version(ROWS), f"file://{exports.folder}/way/x.csv")
    assert list(outside.iterdir()) == []


def test_what_goes_wrong_in_the_middle_leaves_nothing_behind(
    exports: Exports, bucket: Callable[[str], str], buckets: Buckets
) -> None:
    bad = pa.table({"n": pa.array(range(200_000)), "d": pa.array([1000] * 199_999 + [1], pa.duration("ns"))})
    version = exports.version(bad)
    assert "no whole microseconds" in failed(exports.to_file(version, f"{bucket('middle')}/x.csv"))
    assert "no whole microseconds" in failed(exports.to_file(version, f"file://{exports.folder}/middle.csv"))
    assert buckets.keys("middle") == []
    assert [path for path in exports.folder.iterdir() if "middle" in path.name] == []


def test_a_group_exports_each_new_version_by_itself(
    exports: Exports, buckets: Buckets, bucket: Callable[[str], str]
) -> None:
    source = f"s_{uuid.uuid4().hex}"
    exports.tables.put(source, a=[1])
    group_id = exports.tables.sql(f"g_{uuid.uuid4().hex}", f"SELECT a FROM {source}")
    with pytest.raises(abacusai.client.ApiException, match="nowhere to export to"):
        exports.client.set_export_on_materialization(group_id, True)
    config = abacusai.api_class.FileConnectorExportConfig(f"{bucket('itself')}/g.csv", "CSV")
    exports.client.set_feature_group_export_connector_config(group_id, config)
    exports.client.set_export_on_materialization(group_id, True)
    described = exports.client.describe_feature_group(group_id)
    assert described.export_on_materialization
    assert described.export_connector_config.location == "s3://itself/g.csv"
    for _ in range(2):
        exports.tables.materialize(group_id)
    listed = [complete(each) for each in exports.client.list_feature_group_exports(group_id)]
    assert len(listed) == 2
    assert buckets.get("itself", "g.csv") == b'"a"\n1\n'
    with pytest.raises(CallFailed, match="used by feature group export"):
        exports.yard.call("deleteFileConnector", "DELETE", bucket="s3://itself")
    exports.client.set_feature_group_export_connector_config(group_id, None)
    exports.tables.materialize(group_id)
    assert len(exports.client.list_feature_group_exports(group_id)) == 2


def test_a_schedule_exports_what_it_made(exports: Exports, buckets: Buckets, bucket: Callable[[str], str]) -> None:
    source = f"s_{uuid.uuid4().hex}"
    exports.tables.put(source, a=[7])
    group_id = exports.tables.sql(f"g_{uuid.uuid4().hex}", f"SELECT a FROM {source}")
    config = {"connector_type": "FILE", "location": f"{bucket('schedule')}/g.json", "export_file_format": "JSON"}
    policy = exports.client.create_refresh_policy(
        "nightly", "@daily", "FEATUREGROUP", feature_group_id=group_id, feature_group_export_config=config
    )
    exports.client.run_refresh_policy(policy.refresh_policy_id)
    ended: list[dict[str, Any]] = []

    def has_ended() -> bool:
        (run,) = exports.yard.call("listRefreshPipelineRuns", "GET", refreshPolicyId=policy.refresh_policy_id)
        ended[:] = [run]
        return run["status"] in ("COMPLETE", "FAILED")

    exports.tables.wait_until(has_ended)
    assert ended[0]["status"] == "COMPLETE", ended
    assert buckets.get("schedule", "g.json") == b'{"a":7}\n'
    with pytest.raises(abacusai.client.ApiException, match="no file connector"):
        exports.client.update_refresh_policy(
            policy.refresh_policy_id, feature_group_export_config=config | {"location": "s3://elsewhere/x"}
        )
    with pytest.raises(CallFailed, match="no feature group"):
        exports.yard.call(
            "createRefreshPolicy",
            cron="@daily",
            refreshType="MODEL",
            modelIds=["0123456789"],
            featureGroupExportConfig=config,
        )


def test_what_can_not_be_exported_is_said_at_once(exports: Exports) -> None:
    version = exports.version(ROWS)
    with pytest.raises(abacusai.client.ApiException, match="CSV, TSV, JSON, AVRO, PARQUET"):
        exports.client.export_feature_group_version_to_console(version, "XLS")
    with pytest.raises(CallFailed, match="was not found"):
        exports.yard.call("describeFeatureGroupExport", "GET", featureGroupExportId="0123456789")
    export = complete(exports.to_file(version, f"file://{exports.folder}/{uuid.uuid4().hex}.csv"))
    with pytest.raises(abacusai.client.ApiException, match="nothing is kept here"):
        export.get_feature_group_version_export_download_url()
    assert export.get_connector_errors().read() == b""


def test_the_file_of_an_export_goes_after_its_time_and_says_so(exports: Exports) -> None:
    export = complete(exports.client.export_feature_group_version_to_console(exports.version(ROWS), "CSV"))
    link = export.get_feature_group_version_export_download_url().download_url
    with exports.yard.database.write() as session:
        assert expire(session, utc_now(), keep_s=3600) == 0
        expire(session, utc_now() + dt.timedelta(hours=2), keep_s=3600)
    assert requests.get(link, timeout=30).status_code == 404
    with pytest.raises(abacusai.client.ApiException, match="export the version again"):
        export.get_feature_group_version_export_download_url()
