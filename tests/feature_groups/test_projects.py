"""Feature groups within projects, through the official client."""

from datetime import UTC, datetime

import abacusai
import pytest

from tests.feature_groups.conftest import Tables


@pytest.fixture(scope="module")
def client(shared: Tables) -> abacusai.ApiClient:
    return shared.yard.client()


@pytest.fixture
def project(client: abacusai.ApiClient) -> str:
    return str(client.create_project(name="Uses tables", use_case="PYTHON_MODEL").project_id)


@pytest.fixture(scope="module")
def sales(shared: Tables) -> str:
    return shared.put(
        "sales", customerId=[1, 2], sold_at=[datetime(2024, 1, 1, tzinfo=UTC)] * 2, weight=[1.0, 2.0], target=[0, 1]
    )


def test_a_project_uses_a_group_until_it_no_longer_does(
    shared: Tables, client: abacusai.ApiClient, project: str, sales: str
) -> None:
    client.add_feature_group_to_project(sales, project)
    with pytest.raises(abacusai.client.AlreadyExistsError):
        client.add_feature_group_to_project(sales, project)
    client.set_feature_group_type(sales, project, "CUSTOM_TABLE")
    described = client.describe_project_feature_group(project, sales)
    assert (described.feature_group_type, described.table_name) == ("CUSTOM_TABLE", "sales")
    assert [each.name for each in described.project_feature_group_schema.schema] == [
        "customerId", "sold_at", "weight", "target"
    ]  # fmt: skip
    other = shared.sql("sales_too", "SELECT * FROM sales")
    client.add_feature_group_to_project(other, project)
    assert [each.table_name for each in client.list_project_feature_groups(project)] == ["sales", "sales_too"]
    outputs = client.list_project_feature_groups(project, filter_feature_group_use="BATCH_PREDICTION_OUTPUT")
    assert [each.table_name for each in outputs] == ["sales"]
    rest = client.list_project_feature_groups(project, start_after_id=sales)
    assert [each.table_name for each in rest] == ["sales_too"]
    assert [each.feature_group.table_name for each in client.search_feature_groups("sales", project_id=project)] == [
        "sales", "sales_too"
    ]  # fmt: skip
    client.remove_feature_group_from_project(sales, project)
    with pytest.raises(abacusai.client.DataNotFoundError, match="addFeatureGroupToProject"):
        client.remove_feature_group_from_project(sales, project)
    client.delete_project(project)
    assert client.describe_feature_group(other).table_name == "sales_too"


def test_mappings_are_guessed_set_and_moved(client: abacusai.ApiClient, project: str, sales: str) -> None:
    client.add_feature_group_to_project(sales, project)
    guessed = client.infer_feature_mappings(project, sales)
    assert {each.feature_name: each.feature_mapping for each in guessed.feature_mappings} == {
        "target": "TARGET", "sold_at": "TIMESTAMP", "customerId": "USER_ID", "weight": "WEIGHT"
    }  # fmt: skip
    client.set_feature_mapping(project, sales, "target", "TARGET")
    features = client.set_feature_mapping(project, sales, "weight", "TARGET")
    assert {each.name: each.feature_mapping for each in features if each.feature_mapping} == {"weight": "TARGET"}
    schema = client.get_feature_group_schema(sales, project_id=project)
    assert [each.feature_mapping for each in schema] == [None, None, "TARGET", None]
    assert [each.feature_mapping for each in client.get_feature_group_schema(sales)] == [None] * 4
    cleared = client.set_feature_mapping(project, sales, "weight")
    assert not any(each.feature_mapping for each in cleared)
    with pytest.raises(abacusai.client.InvalidParameterError, match="setFeatureType"):
        client.set_feature_mapping(project, sales, "weight", "TIMESTAMP")
    with pytest.raises(abacusai.client.InvalidEnumParameterError, match="did you mean TARGET"):
        client.set_feature_mapping(project, sales, "weight", "TARGETS")


def test_a_configuration_is_kept_as_it_was_given(client: abacusai.ApiClient, project: str, sales: str) -> None:
    client.add_feature_group_to_project(sales, project)
    assert client.get_project_feature_group_config(sales, project).type is None
    client.set_project_feature_group_config(sales, project, {"type": "REVIEW_MODE", "isReviewMode": True})
    found = client.get_project_feature_group_config(sales, project)
    assert found.type == "REVIEW_MODE"
    client.set_project_feature_group_config(sales, project, {})
    assert client.get_project_feature_group_config(sales, project).type is None


def test_a_project_is_valid_unless_a_table_has_no_rows(
    shared: Tables, client: abacusai.ApiClient, project: str, sales: str
) -> None:
    assert client.validate_project(project).valid
    client.add_feature_group_to_project(sales, project)
    found = client.validate_project(project)
    assert found.valid
    assert found.column_hints[sales]["target"] == "TARGET"
    empty = shared.put("no_rows", x=[])
    client.add_feature_group_to_project(empty, project)
    found = client.validate_project(project)
    assert not found.valid
    assert "no_rows has no rows" in found.dataset_errors[0]["message"]
    assert client.validate_project(project, [sales]).valid
