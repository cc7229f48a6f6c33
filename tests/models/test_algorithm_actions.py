"""What the official client asks of algorithms, of a model that is its own: an honest answer, or a clear refusal."""

from typing import Any

import pytest
from abacusai.client import ApiException

from tests.models.house import make_model, make_table, wait_for_end
from tests.yard import Yard

SOURCE = """
import json
from pathlib import Path


def train(rows):
    Path("metrics.json").write_text(json.dumps({"rmse": 0.5, "accuracy": 0.9}))
    Path("metrics.jsonl").write_text("".join(json.dumps({"step": n, "loss": 1 / n}) + "\\n" for n in (1, 2, 4)))
    return len(rows)


def predict(model, query, more=0):
    return model + more
"""


@pytest.fixture(scope="module")
def trained(shared_yard: Yard) -> dict[str, Any]:
    """A complete version on a table of two columns."""
    make_table(shared_yard, "algorithm_rows", {"a": [1, 2, 3], "b": ["x", "y", "z"]})
    model = make_model(shared_yard, functionSourceCode=SOURCE, trainingInputTables=["algorithm_rows"])
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    return version | {"projectId": model["projectId"]}


def test_the_data_of_a_training_is_told_with_its_schema(shared_yard: Yard, trained: dict[str, Any]) -> None:
    client = shared_yard.client()
    [logs] = client.get_training_data_logs(trained["modelVersion"])
    assert f"table algorithm_rows: version {trained['featureGroupVersions'][0]}, 3 rows" in logs.logs
    [table] = client.get_feature_group_schemas_for_model_version(trained["modelVersion"])
    assert (table.feature_group_name, [each.name for each in table.schema]) == ("algorithm_rows", ["a", "b"])


def test_a_train_function_can_be_called_locally_as_a_training_would(shared_yard: Yard, trained: dict[str, Any]) -> None:
    info = shared_yard.client().get_custom_train_function_info(
        trained["projectId"], ["algorithm_rows"], {"algorithm_rows": "rows"}, {"LR": 1}, {"depth": 2}
    )
    assert info.train_data_parameter_to_feature_group_ids == {"rows": trained["trainingFeatureGroupIds"][0]}
    assert info.training_data_parameter_name_mapping == {"algorithm_rows": "rows"}
    assert info.training_config == {"LR": 1, "depth": 2}
    with pytest.raises(ApiException, match="no table"):
        shared_yard.client().get_custom_train_function_info(trained["projectId"], [], {"other": "rows"})


def test_prediction_params_reach_replicas_and_batches_under_what_a_call_says(
    shared_yard: Yard, trained: dict[str, Any]
) -> None:
    yard, client = shared_yard, shared_yard.client()
    model = client.set_model_prediction_params(trained["modelId"], {"more": 10})
    assert model.model_prediction_config == {"more": 10}
    deployment = client.create_deployment(model_id=trained["modelId"])
    deployment.wait_for_deployment()
    token = client.create_deployment_token(trained["projectId"]).deployment_token
    assert client.predict(token, deployment.deployment_id, {}) == 13
    assert client.predict(token, deployment.deployment_id, {}, more=1) == 4
    yard.call("stopDeployment", deploymentId=deployment.deployment_id)
    with pytest.raises(ApiException, match="no parameter"):
        client.set_model_prediction_params(trained["modelId"], {"not a name": 1})
    client.set_model_prediction_params(trained["modelId"], {})


def test_the_objective_is_a_metric_of_the_version(shared_yard: Yard, trained: dict[str, Any]) -> None:
    client = shared_yard.client()
    client.set_model_objective(trained["modelVersion"], "rmse")
    client.set_model_objective(trained["modelVersion"])
    with pytest.raises(ApiException, match="accuracy, rmse"):
        client.set_model_objective(trained["modelVersion"], "loss")


def test_a_model_is_its_own_algorithm(shared_yard: Yard, trained: dict[str, Any]) -> None:
    client, model_id = shared_yard.client(), trained["modelId"]
    client.set_default_model_algorithm(model_id, algorithm=model_id)
    for given in ({"algorithm": "another"}, {"data_cluster_type": "x"}):
        with pytest.raises(ApiException):
            client.set_default_model_algorithm(model_id, **given)
    [kind] = client.get_model_training_types_for_deployment(model_id, trained["modelVersion"])
    assert kind.value == "PYTHON_MODEL"


def test_the_options_are_the_keys_that_the_platform_heeds(shared_yard: Yard, trained: dict[str, Any]) -> None:
    config = {"TIMEOUT_MINUTES": 5}
    options = shared_yard.client().get_training_config_options(trained["projectId"], current_training_config=config)
    assert [(each.name, each.value) for each in options] == [
        ("TIMEOUT_MINUTES", 5),
        ("SEED", None),
        ("TARGET", None),
    ]


def test_metrics_become_a_table(shared_yard: Yard, trained: dict[str, Any]) -> None:
    client = shared_yard.client()
    group = client.export_model_artifact_as_feature_group(trained["modelVersion"], "steps_of_a_version")
    assert group.table_name == "steps_of_a_version"
    client.describe_dataset(group.describe().dataset_id).wait_for_inspection()
    group.materialize()
    assert group.load_as_pandas()["loss"].tolist() == [1.0, 0.5, 0.25]
    with pytest.raises(ApiException, match="forecasts"):
        client.export_model_artifact_as_feature_group(trained["modelVersion"], "x", "bar_chart")
    plain = wait_for_end(shared_yard, make_model(shared_yard)["latestModelVersion"]["modelVersion"])
    with pytest.raises(ApiException, match="has no metrics"):
        client.export_model_artifact_as_feature_group(plain["modelVersion"], "x")
