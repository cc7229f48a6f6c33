"""What is in versions, what happened to them, and how many of them are kept; through the official client."""

import io
from datetime import UTC, datetime
from typing import Any

import abacusai
import pytest

from modelyard.feature_groups.lineage import note_version_users
from modelyard.ids import FeatureGroupVersionId
from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def client(shared: Tables) -> abacusai.ApiClient:
    return shared.yard.client()


def newest(client: abacusai.ApiClient, group: str) -> str:
    return str(client.list_feature_group_versions(group)[0].feature_group_version)


def test_metrics_say_what_is_in_each_column(shared: Tables, client: abacusai.ApiClient) -> None:
    group = shared.put(
        "measured", number=[1.0, 2.0, None, 4.0, float("nan")], word=["a", "b", "b", None, ""],
        flag=[True, False, True, False, None], moment=[datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4, 5)],
        same=[7] * 5, nested=[[1], [1], [2], None, []],
    )  # fmt: skip
    version = newest(client, group)
    found = client.get_feature_group_version_metrics(version, selected_columns=["word"], include_charts=True)
    assert (found.num_rows, found.num_cols, found.num_duplicate_rows) == (5, 6, 0)
    assert [each["name"] for each in found.metrics][:2] == ["word", "number"]
    by_name = {each["name"]: each for each in found.metrics}
    number = by_name["number"]
    assert (number["count"], number["nulls"], number["min"], number["max"], number["notFinite"]) == (4, 1, 1.0, 4.0, 1)
    assert number["mean"] == pytest.approx(7 / 3)
    assert number["quantiles"]["0.5"] == 2.0
    assert sum(number["histogram"]["counts"]) == 3
    assert by_name["word"]["topValues"][0] == {"value": "b", "count": 2}
    assert (by_name["word"]["distinct"], by_name["word"]["empty"], by_name["word"]["maxLength"]) == (3, 1, 1)
    assert by_name["moment"]["min"].startswith("2024-01-01T00:00:00")
    assert by_name["moment"]["histogram"]["edges"][-1].startswith("2024-01-05")
    assert by_name["same"]["histogram"] == {"edges": [7.0, 7.0], "counts": [5]}
    assert (by_name["nested"]["distinct"], by_name["flag"]["nulls"]) == (3, 1)
    assert {each["name"]: each["dataType"] for each in found.schema}["moment"] == "DATETIME"
    plain = client.get_feature_group_version_metrics(version)
    assert "histogram" not in plain.metrics[0]
    assert client.get_feature_group_version_metrics(version, include_statistics=False).metrics == []
    with pytest.raises(abacusai.client.InvalidParameterError, match="no column 'none'"):
        client.get_feature_group_version_metrics(version, selected_columns=["none"])


def test_metrics_of_an_empty_table_and_of_equal_rows(shared: Tables, client: abacusai.ApiClient) -> None:
    empty = client.get_feature_group_version_metrics(newest(client, shared.put("nothing_in_it", x=[], y=[])))
    assert (empty.num_rows, empty.metrics[0]["count"], empty.num_duplicate_rows) == (0, 0, 0)
    equal = client.get_feature_group_version_metrics(newest(client, shared.put("equal_rows", x=[1, 1, 1, 2])))
    assert equal.num_duplicate_rows == 2


def test_a_datasets_version_is_measured_too_and_its_history_told(shared: Tables, client: abacusai.ApiClient) -> None:
    upload = client.create_dataset_from_upload(table_name="uploaded_and_measured")
    dataset = upload.upload_file(io.BytesIO(b"a,b\n1,x\n2,y\n"))
    dataset.wait_for_import()
    version = client.describe_dataset(dataset.dataset_id).latest_dataset_version.dataset_version
    found = client.get_dataset_version_metrics(version)
    assert [(each["name"], each["distinct"]) for each in found.metrics] == [("a", 2), ("b", 2)]
    logs = client.get_dataset_version_logs(version).logs
    assert logs[0].endswith("Version made, to be uploaded")
    assert logs[-1].endswith("COMPLETE with 2 rows")


def test_a_versions_history_holds_what_its_function_printed(shared: Tables, client: abacusai.ApiClient) -> None:
    shared.put("told", x=[1])
    group = shared.function("teller", "def tell(rows):\n    print('told you')\n    return rows\n", "tell", ["told"])
    version = shared.materialize(group)["featureGroupVersion"]
    logs = client.get_feature_group_version_logs(version).logs
    assert logs[0].endswith("Version 1 requested")
    assert any(line.endswith("told you") for line in logs)
    assert logs[-1].endswith("COMPLETE with 1 rows")


def test_old_versions_go_unless_something_stands_on_them(shared: Tables, client: abacusai.ApiClient) -> None:
    group = shared.put("kept_rows", x=[0])
    with shared.yard.database.write() as session:
        note_version_users(session, [FeatureGroupVersionId(newest(client, group))], "model version", "abc", "Churn")
    for number in range(1, 34):
        shared.put("kept_rows", x=[number])
    assert [version.number for version in shared.versions(group)] == [1, *range(5, 35)]
    with pytest.raises(CallFailed, match="at least 30"):
        shared.yard.call("updateFeatureGroupVersionLimit", "GET", featureGroupId=group, versionLimit=29)
    assert client.update_feature_group_version_limit(group, 40).version_limit == 40
    for number in range(10):
        shared.put("kept_rows", x=[number])
    assert len(shared.versions(group)) == 40 + 1
    client.update_feature_group_version_limit(group, 30)
    assert [version.number for version in shared.versions(group)] == [1, *range(15, 45)]
    first, second = shared.versions(group)[:2]
    with pytest.raises(abacusai.client.ConflictError, match=r"model version abc \(Churn\)"):
        client.delete_feature_group_version(first.feature_group_version)
    client.delete_feature_group_version(second.feature_group_version)
    assert len(shared.versions(group)) == 30


def test_a_version_that_another_was_made_from_is_kept(shared: Tables, client: abacusai.ApiClient) -> None:
    below = shared.put("below_rows", x=[1])
    above = shared.sql("above_rows", "SELECT x FROM below_rows")
    made = shared.materialize(above)["featureGroupVersion"]
    stood_on = newest(client, below)
    with pytest.raises(abacusai.client.ConflictError, match="above_rows"):
        client.delete_feature_group_version(stood_on)
    client.delete_feature_group_version(made)
    client.delete_feature_group_version(stood_on)


def test_a_column_has_the_type_that_somebody_said_from_the_next_version_on(
    shared: Tables, client: abacusai.ApiClient
) -> None:
    upload = client.create_dataset_from_upload(table_name="said_types")
    text = b"code,amount,day\n1.50, 1 ,2024-01-01\n2.00,2.5,2024-01-02\n"
    dataset = upload.upload_file(io.BytesIO(text))
    dataset.wait_for_import()
    assert [each.data_type for each in client.get_dataset_schema(dataset.dataset_id)][:1] == ["FLOAT"]
    client.set_dataset_column_data_type(dataset.dataset_id, "code", "string")
    client.set_dataset_column_data_type(dataset.dataset_id, "amount", "FLOAT")
    client.set_dataset_column_data_type(dataset.dataset_id, "day", "DATETIME")
    client.create_dataset_version_from_upload(dataset.dataset_id).upload_file(io.BytesIO(text)).wait_for_import()
    assert [each.data_type for each in client.get_dataset_schema(dataset.dataset_id)] == ["STRING", "FLOAT", "DATETIME"]
    rows = client.describe_feature_group_by_table_name("said_types").load_as_pandas()
    assert (list(rows.code), list(rows.amount)) == (["1.50", "2.00"], [1.0, 2.5])
    client.set_dataset_column_data_type(dataset.dataset_id, "amount", "INTEGER")
    version = client.create_dataset_version_from_upload(dataset.dataset_id).upload_file(io.BytesIO(text))
    version.wait_for_import()
    newest = client.list_dataset_versions(dataset.dataset_id)[0]
    assert (newest.status, newest.error) == ("FAILED", "Row 2, column 'amount': '2.5' is no INTEGER.")
    with pytest.raises(abacusai.client.InvalidParameterError, match="did you mean amount"):
        client.set_dataset_column_data_type(dataset.dataset_id, "amuont", "FLOAT")
    with pytest.raises(abacusai.client.InvalidEnumParameterError, match="INTEGER, FLOAT"):
        client.set_dataset_column_data_type(dataset.dataset_id, "amount", "number")


def test_a_datasets_old_versions_go_with_its_tables(shared: Tables, client: abacusai.ApiClient) -> None:
    upload = client.create_dataset_from_upload(table_name="limited_dataset")
    dataset = upload.upload_file(io.BytesIO(b"a\n1\n"))
    dataset.wait_for_import()
    assert client.update_dataset_version_limit(dataset.dataset_id, 31).version_limit == 31
    assert client.describe_feature_group_by_table_name("limited_dataset").version_limit == 31
    version: Any = client.describe_dataset(dataset.dataset_id).latest_dataset_version.dataset_version
    again: Any = upload_again(client, dataset.dataset_id)
    client.delete_dataset_version(version)
    assert [each.dataset_version for each in client.list_dataset_versions(dataset.dataset_id)] == [again]
    group = client.describe_feature_group_by_table_name("limited_dataset")
    assert len(client.list_feature_group_versions(group.id)) == 1


def upload_again(client: abacusai.ApiClient, dataset_id: str) -> str:
    upload = client.create_dataset_version_from_upload(dataset_id)
    upload.upload_file(io.BytesIO(b"a\n2\n")).wait_for_import()
    return str(client.describe_dataset(dataset_id).latest_dataset_version.dataset_version)


def test_what_stands_on_a_dataset_or_its_version_is_named(shared: Tables, client: abacusai.ApiClient) -> None:
    upload = client.create_dataset_from_upload(table_name="stood_on")
    dataset = upload.upload_file(io.BytesIO(b"a\n1\n"))
    dataset.wait_for_import()
    version: Any = client.describe_dataset(dataset.dataset_id).latest_dataset_version.dataset_version
    group = client.describe_feature_group_by_table_name("stood_on")
    upper = shared.sql("stands", "SELECT a FROM stood_on")
    made = shared.materialize(upper)["featureGroupVersion"]
    project = client.create_project("p", "PYTHON_MODEL")
    source = "def train(t):\n    return len(t)\n\ndef predict(model, query):\n    return model\n"
    model = client.create_model_from_python(
        project.project_id, source, "train", ["stood_on"], predict_function_name="predict", name="Stander"
    )
    model.wait_for_training()
    snapshot = client.create_snapshot_feature_group(newest(client, group.id), "still")
    with pytest.raises(abacusai.client.ConflictError) as refused:
        client.delete_dataset_version(version)
    for name in (made, "stands", "Stander", model.latest_model_version.model_version, "still"):
        assert name in str(refused.value), str(refused.value)
    with pytest.raises(abacusai.client.ConflictError) as refused:
        client.delete_dataset(dataset.dataset_id)
    for name in ("feature group stands", "model Stander", "snapshot still"):
        assert name in str(refused.value), str(refused.value)
    client.delete_feature_group(snapshot.id)
    client.delete_feature_group(upper)
    shared.put("elsewhere", a=[1])
    client.update_python_model(model.model_id, training_input_tables=["elsewhere"])
    with pytest.raises(abacusai.client.ConflictError, match=r"model version .*Stander"):
        client.delete_dataset(dataset.dataset_id)
    client.delete_model(model.model_id)
    client.delete_dataset(dataset.dataset_id)
