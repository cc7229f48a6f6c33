"""Columns of SQL groups, one by one, through the official client."""

import io
from typing import Any

import abacusai
import pytest

from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def client(shared: Tables) -> abacusai.ApiClient:
    return shared.yard.client()


def refused(tables: Tables, action: str, verb: str = "POST", /, **parameters: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        tables.yard.call(action, verb, **parameters)
    return failed.value


def test_columns_are_added_changed_and_taken_away(shared: Tables, client: abacusai.ApiClient) -> None:
    shared.put("orders", price=[2.0, 3.0], amount=[10, 20], note=["a", "b"])
    group = shared.sql("rich_orders", "SELECT * FROM orders -- as they came")
    shared.materialize(group)
    made = client.create_feature(group, "total", "price * amount")
    assert made.latest_version_outdated
    client.create_feature(group, "size", "IF(total > 30, 'large', 'small') AS whatever")
    rows = shared.rows(shared.materialize(group))
    assert list(rows.columns) == ["price", "amount", "note", "total", "size"]
    assert [list(rows.total), list(rows["size"])] == [[20.0, 60.0], ["small", "large"]]
    described = client.describe_feature_group(group)
    assert {each.name: each.select_clause for each in described.features}["total"] == "price * amount"
    assert "price * amount AS `total`" in described.sql
    client.update_feature(group, "total", select_expression="price * amount * 2")
    client.update_feature(group, "note", new_name="remark")
    client.update_feature(group, "price", select_expression="CAST(price AS INT)")
    client.delete_feature(group, "amount")
    rows = shared.rows(shared.materialize(group))
    assert set(rows.columns) == {"total", "size", "remark", "price"}
    assert [list(rows.total), list(rows.remark), list(rows.price)] == [[40.0, 120.0], ["a", "b"], [2, 3]]
    with pytest.raises(abacusai.client.InvalidParameterError, match="no column 'total'"):
        client.delete_feature(group, "total")  # the size is made from it
    for name in ("size", "total", "remark"):
        client.delete_feature(group, name)
    with pytest.raises(abacusai.client.InvalidParameterError, match="any more"):
        client.delete_feature(group, "amount")
    client.update_feature_group_sql_definition(group, "SELECT note FROM orders")
    assert list(shared.rows(shared.materialize(group)).columns) == ["note"]
    with pytest.raises(abacusai.client.ConflictError, match="only feature"):
        client.delete_feature(group, "note")


def test_a_wrong_expression_is_refused_with_its_place(shared: Tables, client: abacusai.ApiClient) -> None:
    shared.put("plain_orders", price=[2.0], amount=[10])
    group = shared.sql("wrong_orders", "SELECT * FROM plain_orders")
    shared.materialize(group)

    def error(expression: str, name: str = "x") -> str:
        found = refused(shared, "createFeature", featureGroupId=group, name=name, selectExpression=expression)
        return f"{found.error_type}: {found.error}"

    assert error("price *\n  amuont") == (
        "InvalidParameterError: line 2, column 3: there is no column 'amuont'; did you mean amount?"
    )
    assert "at its end" in error("price * (amount")
    assert "one expression" in error("price, amount")
    assert error("price FROM plain_orders -- ").startswith("InvalidParameterError")
    assert error("price FROM plain_orders UNION SELECT 1").startswith("InvalidParameterError")
    assert "one expression" in error("*")
    assert "did you mean plain_orders" in error("(SELECT max(price) FROM plain_order)")
    assert error("1", "price").startswith("AlreadyExistsError")
    assert error("1", "").startswith("InvalidParameterError")
    missing = refused(shared, "updateFeature", "PATCH", featureGroupId=group, name="prices", newName="p")
    assert "there are price, amount" in missing.error
    assert refused(shared, "updateFeature", "PATCH", featureGroupId=group, name="price").status == 400
    given = client.describe_feature_group_by_table_name("plain_orders").feature_group_id
    other = refused(shared, "createFeature", featureGroupId=given, name="x", selectExpression="1")
    assert other.error_type == "ConflictError"


def test_columns_get_other_types(shared: Tables, client: abacusai.ApiClient) -> None:
    shared.put("texts", n=["1", "2", "x"], day=["2024-01-01"] * 3, more=[1, 2, 3])
    group = shared.sql("typed_texts", "SELECT * FROM texts")
    shared.materialize(group)
    client.set_feature_group_schema(group, [{"name": "n", "dataType": "integer"}, {"name": "day", "dataType": "DATE"}])
    rows = shared.rows(shared.materialize(group))
    assert rows.n.tolist()[:2] == [1, 2]
    assert rows.n.isna().tolist() == [False, False, True]
    types = {each.name: each.data_type for each in client.get_feature_group_schema(group)}
    assert types == {"n": "INTEGER", "day": "DATE", "more": "INTEGER"}
    wrong = refused(shared, "setFeatureGroupSchema", featureGroupId=group, schema=[{"name": "n", "dataType": "number"}])
    assert "it can be INTEGER" in wrong.error
    assert refused(shared, "setFeatureGroupSchema", featureGroupId=group, schema=[{"name": "n"}]).status == 400


def test_rows_of_another_group_come_below(shared: Tables, client: abacusai.ApiClient) -> None:
    shared.put("old_prices", id=[1, 2], at=["2024-01-01", "2024-01-05"], price=[1.0, 2.0], shop=["a", "b"])
    other = shared.put("new_prices", id=[2, 3], at=["2024-01-06", "2024-01-01"], price=[9.0, 3.0])
    group = shared.sql("prices", "SELECT * FROM old_prices")
    shared.materialize(group)
    with pytest.raises(abacusai.client.ConflictError, match="updateTimestampKey"):
        client.concatenate_feature_group_data(group, other)
    client.set_feature_group_indexing_config(group, update_timestamp_key="at")
    client.concatenate_feature_group_data(group, other)
    described = client.describe_feature_group(group)
    assert described.concatenation_config.concatenated_table == "new_prices"
    version = client.list_feature_group_versions(group)[0].feature_group_version
    assert shared.wait(version)["error"] is None
    rows = shared.rows(version)
    assert sorted(zip(rows.id, rows.price, strict=True)) == [(1, 1.0), (2, 2.0), (2, 9.0), (3, 3.0)]
    client.set_feature_group_indexing_config(group, primary_key="id")
    client.concatenate_feature_group_data(group, other, merge_type="INTERSECTION", skip_materialize=True)
    rows = shared.rows(shared.materialize(group))
    assert list(rows.columns) == ["id", "at", "price"]
    assert sorted(zip(rows.id, rows.price, strict=True)) == [(1, 1.0), (2, 9.0), (3, 3.0)]
    client.concatenate_feature_group_data(group, other, replace_until_timestamp=1704153600, skip_materialize=True)
    assert sorted(shared.rows(shared.materialize(group)).id) == [2, 3]
    client.create_feature(group, "double", "price * 2")
    assert sorted(shared.rows(shared.materialize(group)).id) == [2, 3]
    with pytest.raises(abacusai.client.ConflictError, match="feature group prices"):
        client.delete_feature_group(other)
    client.remove_concatenation_config(group)
    assert sorted(shared.rows(shared.materialize(group)).id) == [1, 2]
    circle = refused(shared, "concatenateFeatureGroupData", featureGroupId=group, sourceFeatureGroupId=group)
    assert "read itself" in circle.error
    wrong = refused(
        shared, "concatenateFeatureGroupData", featureGroupId=group, sourceFeatureGroupId=other, mergeType="x"
    )
    assert wrong.error_type == "InvalidEnumParameterError"


def test_a_datasets_group_gives_what_its_expression_makes_of_the_rows(
    shared: Tables, client: abacusai.ApiClient
) -> None:
    upload = client.create_dataset_from_upload(table_name="imported_sales")
    dataset = upload.upload_file(io.BytesIO(b"price,amount\n2,3\n4,5\n"))
    dataset.wait_for_import()
    group = client.describe_feature_group_by_table_name("imported_sales").feature_group_id
    changed = client.update_dataset_feature_group_feature_expression(
        group, "SELECT *, price * amount AS total FROM imported_sales"
    )
    assert changed.latest_version_outdated
    assert changed.feature_expression == "SELECT *, price * amount AS total FROM imported_sales"
    assert list(shared.rows(shared.materialize(group)).total) == [6, 20]
    reader = shared.sql("reads_sales", "SELECT total FROM imported_sales WHERE total > 6")
    assert list(shared.rows(shared.materialize(reader)).total) == [20]
    again = client.create_dataset_version_from_upload(dataset.dataset_id).upload_file(
        io.BytesIO(b"price,amount\n9,9\n")
    )
    again.wait_for_import()
    assert client.describe_feature_group(reader).latest_version_outdated
    made = shared.materialize(reader)
    assert list(shared.rows(made).total) == [81]
    assert not client.describe_feature_group(group).latest_version_outdated
    newest = client.describe_feature_group(group).latest_feature_group_version
    assert newest.source_dataset_versions == [client.list_dataset_versions(dataset.dataset_id)[0].dataset_version]
    for text, words in (
        ("SELECT pric FROM imported_sales", "did you mean price"),
        ("SELECT * FROM reads_sales", "can only read imported_sales"),
        ("SELECT (price FROM imported_sales", "line 1"),
    ):
        with pytest.raises(abacusai.client.InvalidParameterError, match=words):
            client.update_dataset_feature_group_feature_expression(group, text)
    client.update_dataset_feature_group_feature_expression(group, "")
    assert [each.name for each in client.get_feature_group_schema(group)] == ["price", "amount"]
    with pytest.raises(abacusai.client.ConflictError, match="not from a dataset"):
        client.update_dataset_feature_group_feature_expression(reader, "SELECT 1 AS x")
