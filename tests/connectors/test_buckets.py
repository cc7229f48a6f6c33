"""Buckets: an S3 server on loopback, through the tunnel, with the connector's credentials and no others."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from modelyard.connectors.buckets import Key, split_location
from modelyard.connectors.locations import Found
from modelyard.connectors.looking import look_at_bucket
from modelyard.connectors.records import Store
from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings
from tests.connectors.conftest import SECRETS, Buckets


def place(settings: Settings, buckets: Buckets, location: str, *, secrets: dict[str, str] | None = None) -> Found:
    """That location, with a connector that leads to the test's server."""
    key = Key(Store.S3, {"endpoint": buckets.endpoint}, SECRETS if secrets is None else secrets, is_operators=False)
    return Found(location, settings, key)


def test_objects_are_listed_by_folder_and_pattern_and_read(buckets: Buckets, opened: Settings) -> None:
    buckets.put(
        "reading", in__1_DOT_csv=b"a\n1\n", in__2_DOT_csv=b"a\n2\n", in__x_DOT_txt=b"x", in__deep__3_DOT_csv=b"3"
    )
    with place(opened, buckets, "s3://reading/in/*.csv").open() as bucket:
        files = bucket.files()
        assert [(file.name, file.size) for file in files] == [
            ("s3://reading/in/1.csv", 4),
            ("s3://reading/in/2.csv", 4),
        ]
        assert [b"".join(bucket.read(file)) for file in files] == [b"a\n1\n", b"a\n2\n"]
    with place(opened, buckets, "s3://reading/in/").open() as bucket:
        assert len(bucket.files()) == 4
    with place(opened, buckets, "s3://reading/in/1.csv").open() as bucket:
        assert [file.size for file in bucket.files()] == [4]


def test_an_object_is_written_in_pieces_and_whole(buckets: Buckets, opened: Settings) -> None:
    buckets.put("writing")
    size = 20 * 1024**2

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 1024**2

    with place(opened, buckets, "s3://writing/out/").open(to_write=True) as bucket:
        assert bucket.write("part.csv", chunks()) == "s3://writing/out/part.csv"
    assert buckets.get("writing", "out/part.csv") == b"x" * size
    with place(opened, buckets, "s3://writing/out/part.csv").open() as bucket:
        assert sum(len(chunk) for chunk in bucket.read(bucket.files()[0])) == size


def test_a_look_tells_what_may_be_done_and_leaves_nothing_behind(buckets: Buckets, opened: Settings) -> None:
    buckets.put("looked-at")
    seen = look_at_bucket(place(opened, buckets, "s3://looked-at/"))
    assert (seen.verified, seen.write_permission) == (True, True)
    assert buckets.keys("looked-at") == []
    with pytest.raises(InvalidParameterError, match="no such bucket"):
        look_at_bucket(place(opened, buckets, "s3://never-made/"))


def test_missing_objects_and_patterns_that_fit_nothing_are_said(buckets: Buckets, opened: Settings) -> None:
    buckets.put("sparse", a_DOT_csv=b"a")
    for path, reason in (("b.csv", "no such"), ("b/", "no file fits"), ("*.parquet", "no file fits")):
        with (
            place(opened, buckets, f"s3://sparse/{path}").open() as bucket,
            pytest.raises(InvalidParameterError, match=reason),
        ):
            bucket.files()
    few = msgspec.structs.replace(opened, location_files=1)
    buckets.put("sparse", b_DOT_csv=b"b")
    with (
        place(few, buckets, "s3://sparse/").open() as bucket,
        pytest.raises(InvalidParameterError, match="location_files"),
    ):
        bucket.files()


def test_an_endpoint_on_a_closed_network_is_refused_unless_the_operator_named_it(
    buckets: Buckets, settings: Settings
) -> None:
    buckets.put("closed", a_DOT_csv=b"a")
    with (
        place(settings, buckets, "s3://closed/").open() as bucket,
        pytest.raises(InvalidParameterError, match="loopback"),
    ):
        bucket.files()
    key = Key(Store.S3, {"endpoint": buckets.endpoint}, SECRETS, is_operators=True)
    with Found("s3://closed/", settings, key).open() as bucket:
        assert len(bucket.files()) == 1


def test_the_servers_own_credentials_are_never_used(
    buckets: Buckets, opened: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://169.254.169.254/")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VydmVy")
    buckets.put("public", a_DOT_csv=b"a")
    with place(opened, buckets, "s3://public/", secrets={}).open() as bucket:
        assert len(bucket.files()) == 1
    assert not [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]


@pytest.mark.parametrize(
    "location",
    ["s3://", "s3://a", "s3://b@c/x", "s3://b:1/x", "s3://bucket/../x", "s3://bucket/a/./b", "s3://bucket/a\nb",
     "s3:/bucket/x",     "s3://../x", "s3://bucket?x/y", "s3://" + "b" * 64 + "/x", "s3://bucket/" + "x" * 3000],
)  # fmt: skip
def test_what_is_no_location_in_a_bucket_is_refused(location: str) -> None:
    with pytest.raises(InvalidParameterError):
        split_location(location)


def test_other_stores_are_opened_without_asking_the_machine_for_credentials(settings: Settings) -> None:
    for store, location, options in (
        (Store.GCS, "gs://bucket/a", {}),
        (Store.AZURE, "az://container/a", {"account": "me"}),
    ):
        with Found(location, settings, Key(store, options, {}, False)).open() as bucket:
            assert bucket is not None
    closed = Key(Store.AZURE, {"account": "me", "endpoint": "http://127.0.0.1:1"}, {"account_key": "c2VjcmV0"}, False)
    with (
        Found("az://container/", settings, closed).open() as bucket,
        pytest.raises(InvalidParameterError, match="loopback"),
    ):
        bucket.files()
