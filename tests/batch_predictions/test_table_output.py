"""Results that become a feature group: a version for each start, read back by the official client."""

import pytest

from tests.batch_predictions.bench import ECHO, Bench
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox

OBJECTS = "def train(*tables):\n    return 1\n\n\ndef predict(model, query):\n"
OBJECTS += "    return {'score': query['x'] / 2, 'why': {'first': query['name']}}\n"


def test_each_result_becomes_a_version_of_the_table(bench: Bench) -> None:
    client = bench.yard.client()
    deployment_id = bench.deploy(OBJECTS, bench.table(x=[1, 2], name=["=a", "2026"]))
    batch = client.create_batch_prediction(deployment_id, table_name="scored", csv_input_prefix="in_")
    assert (batch.connector_type, batch.output_feature_group_table_name) == ("FEATURE_GROUP", "scored")
    version = bench.start(batch.batch_prediction_id)
    assert version["status"] == "COMPLETE", version["error"]
    run = client.describe_batch_prediction_version(version["batchPredictionVersion"])
    found = run.load_results_as_pandas()
    assert list(found.columns) == ["in_x", "in_name", "prediction_score", "prediction_why_first"]
    assert found["prediction_score"].tolist() == [0.5, 1.0]
    assert found["in_name"].tolist() == ["=a", "2026"]
    assert version["fileOutputFormat"] == "CSV"
    assert bench.csv(version)["in_name"].tolist() == ["'=a", "2026"]
    group = client.describe_feature_group_by_table_name("scored")
    assert group.feature_group_source_type == "BATCH_PREDICTION"
    assert group.latest_feature_group_version.feature_group_version == version["outputFeatureGroupVersion"]
    assert bench.start(batch.batch_prediction_id)["outputFeatureGroupVersion"] != version["outputFeatureGroupVersion"]
    assert len(client.list_feature_group_versions(group.feature_group_id)) == 2


def test_a_table_of_no_rows_has_its_columns(bench: Bench) -> None:
    batch = bench.define(bench.deploy(ECHO, bench.table(x=[])), tableName="empty")
    version = bench.start(batch)
    assert version["status"] == "COMPLETE", version["error"]
    found = bench.yard.client().describe_batch_prediction_version(version["batchPredictionVersion"])
    assert list(found.load_results_as_pandas().columns) == ["x", "prediction"]


def test_an_output_is_set_and_taken_back(bench: Bench) -> None:
    batch = bench.define(bench.deploy(ECHO, bench.table(x=[1])))
    set_output = "setBatchPredictionFeatureGroupOutput"
    changed = bench.yard.call(set_output, batchPredictionId=batch, tableName="written")
    same = bench.yard.call(set_output, batchPredictionId=batch, tableName="written")
    assert same["outputFeatureGroupId"] == changed["outputFeatureGroupId"]
    with pytest.raises(CallFailed, match="used by batch prediction"):
        bench.yard.call("deleteFeatureGroup", "DELETE", featureGroupId=changed["outputFeatureGroupId"])
    back = bench.yard.call("setBatchPredictionOutputToConsole", batchPredictionId=batch)
    assert (back["outputFeatureGroupId"], back["connectorType"], back["fileOutputFormat"]) == (None, None, "JSON")
    other = bench.define(bench.deploy(ECHO, bench.table(x=[1])))
    with pytest.raises(CallFailed, match="AlreadyExistsError: There is a table written already"):
        bench.yard.call(set_output, batchPredictionId=other, tableName="WRITTEN")
