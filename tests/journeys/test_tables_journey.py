"""Every method of the official client about feature groups and their versions, called once, with what comes back.

Not here: exports, rows online and streams, which have journeys of their own.
"""

from datetime import UTC, datetime
from typing import Any

import abacusai
import pandas as pd
import pytest
from abacusai import LastNMergeConfig, NSamplingConfig

from tests.feature_groups.conftest import Tables
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SOURCE = "def double(rows):\n    print('doubling')\n    return rows.assign(amount=rows.amount * 2)\n"


@pytest.fixture(scope="module")
def tables(shared_yard: Yard) -> Tables:
    """A house with two tables."""
    house = Tables(shared_yard)
    house.put("orders", id=[1, 2, 3], amount=[1.5, 2.5, 3.5], at=[datetime(2024, 1, 1, tzinfo=UTC)] * 3)
    house.put("refunds", id=[2], amount=[-2.5], at=[datetime(2024, 2, 1, tzinfo=UTC)])
    return house


@pytest.fixture(scope="module")
def client(tables: Tables) -> abacusai.ApiClient:
    return tables.yard.client()


def is_group(found: Any) -> abacusai.FeatureGroup:
    assert isinstance(found, abacusai.FeatureGroup)
    assert isinstance(found.feature_group_id, str)
    assert isinstance(found.latest_version_outdated, bool)
    assert isinstance(found.tags, list)
    assert all(isinstance(each, abacusai.Feature) for each in found.features)
    return found


def is_version(found: Any) -> abacusai.FeatureGroupVersion:
    assert isinstance(found, abacusai.FeatureGroupVersion)
    assert isinstance(found.feature_group_version, str)
    assert found.status in ("PENDING", "GENERATING", "COMPLETE", "FAILED")
    return found


def test_a_sql_group_from_its_definition_to_its_end(client: abacusai.ApiClient, tables: Tables) -> None:
    group = is_group(client.create_feature_group("big_orders", "SELECT * FROM orders WHERE amount > 2", "large ones"))
    assert is_group(client.describe_feature_group(group.feature_group_id)).table_name == "big_orders"
    assert is_group(client.describe_feature_group_by_table_name("big_orders")).description == "large ones"
    assert "big_orders" in [is_group(each).table_name for each in client.list_feature_groups()]
    assert is_group(group.update(description="all")).description == "all"
    assert "amount > 1" in str(is_group(group.update_sql_definition("SELECT * FROM orders WHERE amount > 1")).sql)
    version = is_version(group.create_version())
    version.wait_for_results(timeout=60)
    assert is_version(version.refresh()).status == "COMPLETE"
    assert [is_version(each).status for each in group.list_versions()] == ["COMPLETE"]
    assert is_version(client.describe_feature_group_version(version.feature_group_version)).deployable
    assert all(isinstance(each, abacusai.Feature) for each in client.get_feature_group_schema(group.feature_group_id))
    frame = version.load_as_pandas()
    assert (list(frame.columns), len(frame)) == (["id", "amount", "at"], 3)
    assert isinstance(group.load_as_pandas(), pd.DataFrame)
    assert isinstance(version.get_logs(), abacusai.FeatureGroupVersionLogs)
    metrics = version.get_metrics()
    assert isinstance(metrics, abacusai.DataMetrics)
    assert metrics.num_rows == 3
    logs = version.get_materialization_logs(stdout=True)
    assert isinstance(logs[0] if isinstance(logs, list) else logs, abacusai.FunctionLogs)
    [found, *_] = client.search_feature_groups("big orders", num_results=1)
    assert isinstance(found, abacusai.OrganizationSearchResult)
    copy = is_group(version.create_snapshot_feature_group("kept_orders"))
    assert copy.feature_group_source_type == "SNAPSHOT"
    client.delete_feature_group(copy.feature_group_id)
    second = is_version(group.create_version())
    second.wait_for_results(timeout=60)
    assert client.delete_feature_group_version(version.feature_group_version) is None
    assert client.delete_feature_group(group.feature_group_id) is None


def test_columns_and_what_is_said_about_them(client: abacusai.ApiClient) -> None:
    group = is_group(client.create_feature_group("told_orders", "SELECT * FROM orders"))
    group.materialize()  # gives nothing back
    group_id = group.feature_group_id
    assert is_group(client.create_feature(group_id, "twice", "amount * 2"))
    assert is_group(client.update_feature(group_id, "twice", select_expression="amount * 2 + 0"))
    assert client.set_feature_group_schema(group_id, [{"name": "id", "dataType": "STRING"}]) is None
    assert client.add_feature_group_tag(group_id, "sales") is None
    assert client.remove_feature_group_tag(group_id, "sales") is None
    assert client.set_feature_group_indexing_config(group_id, primary_key="id", update_timestamp_key="at") is None
    assert client.set_feature_type(group_id, "amount", "NUMERICAL")
    assert client.set_feature_group_modifier_lock(group_id, locked=False) is None
    assert client.list_feature_group_modifiers(group_id).modification_lock is False
    client.concatenate_feature_group_data(group_id, client.describe_feature_group_by_table_name("refunds").id)
    described = is_group(client.describe_feature_group(group_id))
    assert isinstance(described.concatenation_config, abacusai.ConcatenationConfig)
    assert isinstance(described.indexing_config, abacusai.IndexingConfig)
    client.remove_concatenation_config(group_id)
    assert is_group(client.delete_feature(group_id, "twice"))


def test_groups_made_from_groups(client: abacusai.ApiClient) -> None:
    source = client.describe_feature_group_by_table_name("orders").feature_group_id
    sample = is_group(client.create_sampling_feature_group(source, "few_orders", NSamplingConfig(sample_count=2)))
    assert is_group(sample.set_sampling_config({"samplingMethod": "N_SAMPLING", "sampleCount": 1}))
    merged = is_group(client.create_merge_feature_group(source, "all_orders", LastNMergeConfig(num_versions=2)))
    assert is_group(merged.set_merge_config({"mergeMode": "LAST_N", "numVersions": 3}))
    made = is_group(client.create_feature_group_from_function(
        "double_orders", function_source_code=SOURCE, function_name="double", input_feature_groups=["orders"]
    ))  # fmt: skip
    assert isinstance(made.code_source, abacusai.CodeSource)
    version = is_version(made.create_version())
    version.wait_for_results(timeout=60)
    assert sorted(version.load_as_pandas()["amount"]) == [3.0, 5.0, 7.0]
    logs = client.get_materialization_logs(version.feature_group_version, stdout=True)
    assert "doubling" in str((logs[0] if isinstance(logs, list) else logs).stdout)
    client.create_python_function("doubling", SOURCE, "double")
    assert client.list_python_function_feature_groups("doubling") == []


def test_queries_that_are_run_once(client: abacusai.ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = client.execute_async_feature_group_operation("SELECT SUM(amount) AS total FROM orders")
    assert isinstance(operation, abacusai.ExecuteFeatureGroupOperation)
    operation.wait_for_results(timeout=60, delay=0.1)
    run_id = operation.feature_group_operation_run_id
    assert client.describe_async_feature_group_operation(run_id).status == "COMPLETE"
    assert client.get_execute_feature_group_operation_result_part_count(run_id) == 1
    with client.download_execute_feature_group_operation_result_part_chunk(run_id, 0) as part:
        assert part.read(3) == b"Obj"  # as Avro files begin
    assert operation.load_as_pandas()["total"].tolist() == [7.5]
    frame = client.execute_feature_group_sql("SELECT COUNT(*) AS n FROM orders", timeout=60, delay=1)
    assert frame["n"].tolist() == [3]
    monkeypatch.setenv("ABACUS_DEPLOYMENT_ID", "nobodys")  # the client asks first where that deployment runs queries
    with pytest.raises(abacusai.client.DataNotFoundError):
        client.execute_feature_group_sql("SELECT COUNT(*) AS n FROM orders", timeout=60, delay=1)
