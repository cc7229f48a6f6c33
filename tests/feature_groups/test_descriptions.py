"""What people say about groups: tags, types of features, keys, locks; search; all through the official client."""

from collections.abc import Callable
from typing import Any

import abacusai
import pytest

from modelyard.accounts.first_run import add_user
from modelyard.accounts.keys import create_key
from modelyard.accounts.records import Organization, Role
from modelyard.clock import utc_now
from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed


@pytest.fixture(scope="module")
def people(shared: Tables) -> str:
    return shared.put("people", user_id=[1, 2], signed_up=["2024-01-01", "2024-01-02"], zip=["1", "2"])


@pytest.fixture(scope="module")
def client(shared: Tables) -> abacusai.ApiClient:
    return shared.yard.client()


def refused(tables: Tables, action: str, verb: str = "POST", /, **parameters: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        tables.yard.call(action, verb, **parameters)
    return failed.value


def test_groups_and_features_bear_tags(shared: Tables, client: abacusai.ApiClient, people: str) -> None:
    client.add_feature_group_tag(people, "raw")
    client.add_feature_group_tag(people, "raw")
    client.add_feature_tag(people, "zip", "private")
    client.add_feature_tag(people, "zip", "odd")
    group = client.describe_feature_group(people)
    assert (group.tags, group.feature_tags) == (["raw"], {"zip": ["private", "odd"]})
    client.remove_feature_tag(people, "zip", "private")
    client.remove_feature_tag(people, "zip", "odd")
    client.remove_feature_group_tag(people, "raw")
    group = client.describe_feature_group(people)
    assert (group.tags, group.feature_tags) == ([], {})
    unknown = refused(shared, "addFeatureTag", featureGroupId=people, feature="zipp", tag="x")
    assert unknown.error_type == "InvalidParameterError"
    assert "did you mean zip?" in unknown.error


def test_a_feature_is_of_the_type_that_somebody_said(shared: Tables, client: abacusai.ApiClient, people: str) -> None:
    schema = client.set_feature_type(people, "zip", "zipcode")
    assert (schema.name, schema.feature_type, schema.detected_feature_type) == ("zip", "ZIPCODE", "CATEGORICAL")
    [zip_code] = [each for each in client.get_feature_group_schema(people) if each.name == "zip"]
    assert zip_code.feature_type == "ZIPCODE"
    wrong = refused(shared, "setFeatureType", featureGroupId=people, feature="zip", featureType="ZIPCODES")
    assert wrong.error_type == "InvalidEnumParameterError"
    assert "did you mean ZIPCODE?" in wrong.error
    empty = shared.sql("never_made", "SELECT 1 AS x")
    assert (
        "no complete version"
        in refused(shared, "setFeatureType", featureGroupId=empty, feature="x", featureType="TEXT").error
    )


def test_keys_are_kept_and_one_kind_takes_the_others_place(
    shared: Tables, client: abacusai.ApiClient, people: str
) -> None:
    client.set_feature_group_indexing_config(people, primary_key="user_id", update_timestamp_key="signed_up")
    group = client.describe_feature_group(people)
    assert (group.primary_key, group.update_timestamp_key) == ("user_id", "signed_up")
    assert group.indexing_config.primary_key == "user_id"
    client.set_feature_group_indexing_config(people, lookup_keys=["zip"])
    group = client.describe_feature_group(people)
    assert (group.primary_key, group.update_timestamp_key, group.lookup_keys) == (None, "signed_up", ["zip"])
    both = refused(
        shared, "setFeatureGroupIndexingConfig", featureGroupId=people, primaryKey="user_id", lookupKeys=["zip"]
    )
    assert both.error_type == "InvalidParameterError"
    wrong = refused(shared, "setFeatureGroupIndexingConfig", featureGroupId=people, primaryKey="userid")
    assert "did you mean user_id?" in wrong.error


def test_a_locked_group_is_changed_by_those_on_its_list_alone(shared: Tables, client: abacusai.ApiClient) -> None:
    group = shared.sql("locked_rows", "SELECT 1 AS x")
    with shared.yard.database.write() as session:
        organization = session.get_one(Organization, shared.organization())
        user = add_user(session, organization, "Other", "Other@localhost", utc_now, Role.MEMBER)
        key = create_key(session, user.user_id, "test", utc_now())[1]
    other = shared.yard.client(key)
    other.add_feature_group_tag(group, "before")
    client.set_feature_group_modifier_lock(group)
    assert client.describe_feature_group(group).modification_lock
    changes: tuple[Callable[[], object], ...] = (
        lambda: other.add_feature_group_tag(group, "after"),
        lambda: other.update_feature_group(group, description="mine"),
        lambda: other.update_feature_group_sql_definition(group, "SELECT 2 AS x"),
        lambda: other.delete_feature_group(group),
        lambda: other.set_feature_group_modifier_lock(group, locked=False),
        lambda: other.add_user_to_feature_group_modifiers(group, "other@localhost"),
    )
    for change in changes:
        with pytest.raises(abacusai.client.PermissionDeniedError, match="locked"):
            change()
    client.add_user_to_feature_group_modifiers(group, "other@localhost")
    info = client.list_feature_group_modifiers(group)
    assert info.modification_lock
    assert "Other@localhost" in info.user_emails
    other.update_feature_group(group, description="ours")
    client.remove_user_from_feature_group_modifiers(group, "other@localhost")
    with pytest.raises(abacusai.client.PermissionDeniedError):
        other.update_feature_group(group, description="mine")
    client.set_feature_group_modifier_lock(group, locked=False)
    other.update_feature_group(group, description="everybody's")
    assert refused(shared, "addUserToFeatureGroupModifiers", featureGroupId=group, email="x@y").status == 404


def test_groups_are_found_by_name_column_and_almost_by_name(
    shared: Tables, client: abacusai.ApiClient, people: str
) -> None:
    shared.put("warehouse_stock", sku=[1], pieces=[2])
    by_column = client.search_feature_groups("pieces")
    assert [each.feature_group.table_name for each in by_column] == ["warehouse_stock"]
    assert "pieces" in by_column[0].feature_group_context
    assert client.search_feature_groups("people")[0].score == 1.0
    assert client.search_feature_groups("warehose stock")[0].feature_group.table_name == "warehouse_stock"
    assert client.search_feature_groups("zebra") == []
    assert client.search_feature_groups("stock", feature_group_ids=[people]) == []
    assert refused(shared, "searchFeatureGroups", "GET", text="a", numResults=0).error_type == "InvalidParameterError"
