"""Other datasets in the place of those that the model was trained on, by the official client from beginning to end."""

import io
from typing import Any

import pandas as pd
import pytest

from tests.batch_predictions.bench import ECHO, Bench
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox

TRAINING = pd.DataFrame({"a": [1, 2, 3], "b": [10.0, 20.0, 30.0]})
LATER = pd.DataFrame({"a": [7, 8], "b": [70.0, 80.0]})
DOUBLED = "def clean(df):\n    df['x'] = df['x'] * 2\n    return df\n"


@pytest.fixture(scope="module")
def datasets(bench: Bench) -> dict[str, Any]:
    """Two datasets, and over the first a query, and over that a function."""
    (training_id, training), (later_id, _) = bench.dataset(TRAINING), bench.dataset(LATER)
    sql = f"SELECT a, a + b AS x FROM {training} WHERE a <> 2"
    bench.yard.call("createFeatureGroup", tableName=f"{training}_sql", sql=sql)
    bench.yard.call(
        "createFeatureGroupFromFunction", tableName=f"{training}_python", functionSourceCode=DOUBLED,
        functionName="clean", inputFeatureGroups=[f"{training}_sql"],
    )  # fmt: skip
    return {"training": training_id, "later": later_id, "table": training}


def test_the_official_client_predicts_rows_that_came_later(bench: Bench, datasets: dict[str, Any]) -> None:
    client = bench.yard.client()
    deployment_id = bench.deploy(ECHO, f"{datasets['table']}_python")
    batch = client.create_batch_prediction(deployment_id, name="later", batch_prediction_args={"threshold": 0.5})
    batch.set_dataset_remap({datasets["training"]: datasets["later"]})
    run = batch.start()
    run.wait_for_predictions()
    run.refresh()
    assert run.status == "COMPLETE", run.error
    found = run.load_results_as_pandas()
    assert found.to_dict("list") == {"a": [7, 8], "x": [154.0, 176.0], "prediction": [1540.0, 1760.0]}
    file = io.BytesIO()
    run.download_result_to_file(file)
    assert file.getvalue() == bench.raw(bench.describe(run.batch_prediction_version))
    described = client.describe_batch_prediction(batch.batch_prediction_id)
    assert described.latest_batch_prediction_version.total_predictions == 2
    assert described.batch_inputs.dataset_id_remap == {datasets["training"]: datasets["later"]}
    assert described.get_status() == "COMPLETE"
    assert [each.name for each in client.list_batch_predictions(bench.project_id)] == ["later"]
    assert len(batch.list_versions()) == 1
    # the table of the training is what it was
    assert len(client.describe_feature_group_by_table_name(f"{datasets['table']}_python").load_as_pandas()) == 2


def test_a_dataset_that_was_trained_on_itself_is_swapped_whole(bench: Bench, datasets: dict[str, Any]) -> None:
    deployment_id = bench.deploy(ECHO.replace("'x'", "'a'"), datasets["table"])
    batch = bench.define(deployment_id)
    assert [line["a"] for line in bench.lines(bench.start(batch))] == [1, 2, 3]
    remap = {datasets["training"]: datasets["later"]}
    changed = bench.yard.call("setBatchPredictionDatasetRemap", batchPredictionId=batch, datasetIdRemap=remap)
    assert changed["batchInputs"]["datasets"][0]["datasetId"] == datasets["later"]
    assert [line["prediction"] for line in bench.lines(bench.start(batch))] == [70, 80]
    bench.yard.call("setBatchPredictionDatasetRemap", batchPredictionId=batch, datasetIdRemap={})
    assert len(bench.lines(bench.start(batch))) == 3


def test_a_remap_of_what_the_input_does_not_read_is_refused(bench: Bench, datasets: dict[str, Any]) -> None:
    batch = bench.define(bench.deploy(ECHO, f"{datasets['table']}_sql"))

    def remap(old: str, new: str) -> None:
        bench.yard.call("setBatchPredictionDatasetRemap", batchPredictionId=batch, datasetIdRemap={old: new})

    with pytest.raises(CallFailed, match=f"replaces dataset {datasets['later']}, but the input reads") as refused:
        remap(datasets["later"], datasets["training"])
    assert refused.value.error_type == "InvalidParameterError"
    with pytest.raises(CallFailed, match="DataNotFoundError: Dataset 0123456789 was not found"):
        remap(datasets["training"], "0123456789")


def test_rows_that_the_definition_can_not_digest_fail_the_version(bench: Bench, datasets: dict[str, Any]) -> None:
    other_id, _ = bench.dataset(pd.DataFrame({"a": [1]}))
    batch = bench.define(bench.deploy(ECHO, f"{datasets['table']}_sql"))
    remap = {datasets["training"]: other_id}
    bench.yard.call("setBatchPredictionDatasetRemap", batchPredictionId=batch, datasetIdRemap=remap)
    version = bench.start(batch)
    assert version["status"] == "FAILED"
    assert f"{datasets['table']}_sql could not be made from the datasets of the prediction" in version["error"]


def test_a_dataset_that_takes_anothers_place_can_not_be_deleted(bench: Bench, datasets: dict[str, Any]) -> None:
    other_id, _ = bench.dataset(LATER)
    batch = bench.define(bench.deploy(ECHO, f"{datasets['table']}_sql"), name="holds it")
    remap = {datasets["training"]: other_id}
    bench.yard.call("setBatchPredictionDatasetRemap", batchPredictionId=batch, datasetIdRemap=remap)
    with pytest.raises(CallFailed, match="used by batch prediction holds it"):
        bench.yard.call("deleteDataset", "DELETE", datasetId=other_id)
    bench.yard.call("deleteBatchPrediction", "DELETE", batchPredictionId=batch)
    bench.yard.call("deleteDataset", "DELETE", datasetId=other_id)
