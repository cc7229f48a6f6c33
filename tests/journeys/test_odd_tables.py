"""Tables of odd shapes on their whole way, by the official client: uploaded, queried, trained on, predicted, loaded."""

import io
from typing import Any

import abacusai
import fastavro
import pandas as pd
import pytest

from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

SOURCE = """
def train(table):
    print(list(table.columns)[:3], table.shape, [str(each) for each in table.dtypes[:3]])
    return {"columns": list(table.columns), "rows": len(table)}


def predict(model, query):
    return {"columns": len(model["columns"]), "rows": model["rows"], "asked": query}
"""


@pytest.fixture(scope="module")
def client(shared_yard: Yard) -> abacusai.ApiClient:
    return shared_yard.client()


def trained(client: abacusai.ApiClient, *tables: str) -> abacusai.ModelVersion:
    project = client.create_project("Odd", "PYTHON_MODEL")
    model = client.create_model_from_python(project.project_id, SOURCE, "train", list(tables), "predict")
    model.wait_for_training()
    return client.describe_model(model.model_id).latest_model_version


def upload_csv(client: abacusai.ApiClient, name: str, text: str) -> abacusai.DatasetVersion:
    upload = client.create_dataset_from_upload(name, file_format="CSV")
    dataset = upload.upload_file(io.BytesIO(text.encode()))
    dataset.wait_for_import()
    return dataset.refresh().latest_dataset_version.refresh()


def test_names_with_spaces_and_in_chinese_stay_as_they_are(client: abacusai.ApiClient) -> None:
    names = ["water content", "强度", "Größe (cm)", "select", "a.b", "x-y", '"quoted"', "Δ", "🙂", "1st"]
    frame = pd.DataFrame([list(range(len(names))), list(range(10, 10 + len(names)))], columns=names)
    assert upload_csv(client, "odd_names", frame.to_csv(index=False)).status == "COMPLETE"
    group = client.describe_feature_group_by_table_name("odd_names")
    pd.testing.assert_frame_equal(group.load_as_pandas(), frame, check_dtype=False)
    assert [column.name for column in group.get_schema()] == names
    queried = client.execute_feature_group_sql("SELECT `water content` AS w, `强度` FROM odd_names ORDER BY w DESC")
    assert queried.to_dict("list") == {"w": [10, 0], "强度": [11, 1]}
    version = trained(client, "odd_names")
    assert version.status == "COMPLETE", version.error
    assert "强度" in version.get_training_logs(stdout=True)[0].stdout
    deployment = client.create_deployment(model_version=version.model_version)
    deployment.wait_for_deployment()
    token = client.create_deployment_token(deployment.project_id).deployment_token
    query: dict[str, Any] = dict.fromkeys(names, 1)
    assert client.predict(token, deployment.deployment_id, query)["asked"] == query


def test_ten_thousand_columns_are_trained_on_and_loaded(client: abacusai.ApiClient) -> None:
    names = [f"c{number}" for number in range(10_000)]
    text = ",".join(names) + "\n" + "\n".join(",".join(map(str, range(start, start + 10_000))) for start in (0, 1))
    version = upload_csv(client, "wide", text)
    assert (version.status, version.row_count) == ("COMPLETE", 2), version.error
    made = trained(client, "wide")
    assert made.status == "COMPLETE", made.error
    assert "(2, 10000)" in made.get_training_logs(stdout=True)[0].stdout
    group = client.describe_feature_group_by_table_name("wide")
    # The client's own load_as_pandas takes half a minute for so many columns, so its answer is read here.
    latest = group.latest_feature_group_version.feature_group_version
    name, query = "_downloadFeatureGroupVersionPartChunk", {"featureGroupVersion": latest, "part": 0}
    client._call_api("_getFeatureGroupVersionParts", "GET", query_params={"featureGroupVersion": latest})
    avro = client._call_api(name, "GET", query_params=query, streamable_response=True)
    rows: list[Any] = list(fastavro.reader(io.BytesIO(avro.read())))
    assert [list(row.values()) for row in rows] == [list(range(10_000)), list(range(1, 10_001))]


def test_a_table_without_rows_is_trained_on_and_loaded(client: abacusai.ApiClient) -> None:
    version = upload_csv(client, "no_rows", "a,b\n")
    assert (version.status, version.row_count) == ("COMPLETE", 0), version.error
    made = trained(client, "no_rows")
    assert made.status == "COMPLETE", made.error
    assert "['a', 'b'] (0, 2)" in made.get_training_logs(stdout=True)[0].stdout
    loaded = client.describe_feature_group_by_table_name("no_rows").load_as_pandas()
    assert (list(loaded.columns), len(loaded)) == (["a", "b"], 0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("nothing", "", "no bytes"), ("no_columns", "\n\n", "no columns"), ("no_csv", "a,b\n1\n1,2,3\n", "Row 1")],
)
def test_what_is_no_table_fails_its_import_and_whoever_needs_it(
    client: abacusai.ApiClient, name: str, text: str, words: str
) -> None:
    upload = client.create_dataset_from_upload(name, file_format="CSV")
    client.upload_part(upload.upload_id, 1, io.BytesIO(text.encode()))
    client.mark_upload_complete(upload.upload_id)
    dataset = client.describe_dataset(upload.dataset_id)
    dataset.wait_for_import()
    version = dataset.refresh().latest_dataset_version.refresh()
    assert version.status == "FAILED"
    assert words in version.error
    made = trained(client, name)
    assert made.status == "FAILED"
    assert name in made.error
    assert words in made.error
    upload = client.create_dataset_version_from_upload(upload.dataset_id)
    client.upload_part(upload.upload_id, 1, io.BytesIO(b"a,b\n1,2\n"))
    client.mark_upload_complete(upload.upload_id)
    dataset.wait_for_import()
    assert client.describe_feature_group_by_table_name(name).load_as_pandas().to_dict("list") == {"a": [1], "b": [2]}
