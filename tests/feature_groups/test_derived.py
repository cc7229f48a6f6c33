"""Samples, merges and snapshots through the official client."""

from datetime import datetime
from typing import Any

import abacusai
import pytest
from abacusai import LastNMergeConfig, NSamplingConfig, PercentSamplingConfig, TimeWindowMergeConfig

from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def client(shared: Tables) -> abacusai.ApiClient:
    return shared.yard.client()


@pytest.fixture(scope="module")
def clicks(shared: Tables) -> str:
    return shared.put("clicks", user=[n % 10 for n in range(1000)], n=list(range(1000)))


def refused(tables: Tables, action: str, verb: str = "POST", /, **parameters: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        tables.yard.call(action, verb, **parameters)
    return failed.value


def test_a_sample_is_some_rows_in_their_order_and_always_the_same(
    shared: Tables, client: abacusai.ApiClient, clicks: str
) -> None:
    group = client.create_sampling_feature_group(clicks, "some_clicks", NSamplingConfig(sample_count=25))
    assert group.feature_group_source_type == "SAMPLING"
    assert (group.sampling_config["sampleCount"], group.source_tables) == (25, ["clicks"])
    first = shared.rows(shared.materialize(group.feature_group_id))
    assert (list(first.columns), len(first)) == (["user", "n"], 25)
    assert list(first.n) == sorted(first.n)
    again = shared.rows(shared.materialize(group.feature_group_id))
    assert list(again.n) == list(first.n)
    client.set_feature_group_sampling_config(
        group.feature_group_id, {"sampling_method": "PERCENT_SAMPLING", "sample_percent": 0.5, "seed": 1}
    )
    assert client.describe_feature_group(group.feature_group_id).latest_version_outdated
    assert len(shared.rows(shared.materialize(group.feature_group_id))) == 500


def test_a_sample_by_keys_has_all_rows_of_some_keys(shared: Tables, client: abacusai.ApiClient, clicks: str) -> None:
    config = PercentSamplingConfig(sample_percent=30, key_columns=["user"])
    group = client.create_sampling_feature_group(clicks, "some_users", config)
    rows = shared.rows(shared.materialize(group.feature_group_id))
    assert rows.user.nunique() == 3
    assert len(rows) == 300
    wrong = refused(
        shared, "createSamplingFeatureGroup", featureGroupId=clicks, tableName="no_such_key",
        samplingConfig={"samplingMethod": "N_SAMPLING", "sampleCount": 1, "keyColumns": ["usr"]},
    )  # fmt: skip
    assert "did you mean user?" in wrong.error


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        ({}, "InvalidEnumParameterError", "N_SAMPLING or PERCENT_SAMPLING"),
        ({"samplingMethod": "N_SAMPLING"}, "InvalidParameterError", "sampleCount"),
        ({"samplingMethod": "PERCENT_SAMPLING", "samplePercent": 101}, "InvalidParameterError", "samplePercent"),
        ({"samplingMethod": "N_SAMPLING", "sampleCounts": 3}, "InvalidParameterError", "did you mean sampleCount"),
        ({"samplingMethod": "N_SAMPLING", "sampleCount": "x"}, "InvalidParameterError", "sampleCount"),
    ],
)
def test_what_is_no_recipe_is_refused(
    shared: Tables, clicks: str, config: dict[str, Any], kind: str, words: str
) -> None:
    error = refused(
        shared, "createSamplingFeatureGroup", featureGroupId=clicks, tableName="never", samplingConfig=config
    )
    assert error.error_type == kind
    assert words in error.error


def test_a_merge_puts_the_newest_versions_together(shared: Tables, client: abacusai.ApiClient) -> None:
    source = shared.put("batches", n=[1, 2])
    group = client.create_merge_feature_group(source, "all_batches", LastNMergeConfig(num_versions=2))
    assert group.feature_group_source_type == "MERGE"
    assert list(shared.rows(shared.materialize(group.feature_group_id)).n) == [1, 2]
    shared.put("batches", n=[3], more=["x"])
    assert client.describe_feature_group(group.feature_group_id).latest_version_outdated
    rows = shared.rows(shared.materialize(group.feature_group_id))
    assert list(rows.n) == [1, 2, 3]
    assert list(rows.more.isna()) == [True, True, False]
    shared.put("batches", n=[4])
    made = shared.materialize(group.feature_group_id)
    assert list(shared.rows(made).n) == [3, 4]
    merged = shared.versions(group.feature_group_id)[-1].merged_versions
    assert merged == [each.feature_group_version for each in shared.versions(source)[1:]]
    assert merged is not None
    with pytest.raises(abacusai.client.ConflictError, match="all_batches"):
        client.delete_feature_group_version(merged[0])
    client.set_feature_group_merge_config(
        group.feature_group_id, LastNMergeConfig(num_versions=0, include_version_timestamp_column=True)
    )
    rows = shared.rows(shared.materialize(group.feature_group_id))
    assert list(rows.n) == [1, 2, 3, 4]
    assert rows.version_timestamp.nunique() == 3


def test_a_merge_by_time_takes_the_rows_of_the_newest_days(shared: Tables, client: abacusai.ApiClient) -> None:
    source = shared.put("days", at=[datetime(2024, 1, 1), datetime(2024, 1, 2)], n=[1, 2])  # noqa: DTZ001 - without a zone
    shared.put("days", at=[datetime(2024, 1, 3)], n=[3])  # noqa: DTZ001 - as above
    config = TimeWindowMergeConfig(feature_name="at", time_window_size_ms=86_400_000)
    group = client.create_merge_feature_group(source, "newest_days", config)
    assert list(shared.rows(shared.materialize(group.feature_group_id)).n) == [2, 3]
    wrong = refused(shared, "setFeatureGroupMergeConfig", featureGroupId=source, mergeConfig={"mergeMode": "LAST_N"})
    assert wrong.error_type == "ConflictError"


def test_a_snapshot_keeps_one_version(shared: Tables, client: abacusai.ApiClient) -> None:
    source = shared.put("moving", n=[1])
    version = client.list_feature_group_versions(source)[0].feature_group_version
    snapshot = client.create_snapshot_feature_group(version, "moving_then")
    shared.put("moving", n=[2])
    assert snapshot.feature_group_source_type == "SNAPSHOT"
    reader = shared.sql("reads_snapshot", "SELECT n FROM moving_then")
    assert list(shared.rows(shared.materialize(reader)).n) == [1]
    assert not client.describe_feature_group(snapshot.feature_group_id).latest_version_outdated
    assert not client.describe_feature_group(reader).latest_version_outdated
    with pytest.raises(abacusai.client.ConflictError, match="one version"):
        client.create_feature_group_version(snapshot.feature_group_id)
    with pytest.raises(abacusai.client.ConflictError, match="snapshot moving_then"):
        client.delete_feature_group(source)
    client.delete_feature_group(reader)
    client.delete_feature_group(snapshot.feature_group_id)
    client.delete_feature_group(source)
    error = refused(shared, "createSnapshotFeatureGroup", featureGroupVersion="0000000000", tableName="x")
    assert error.error_type == "DataNotFoundError"
