"""Modules and registered functions through their whole life, by the unmodified official client, on both databases."""

from collections.abc import Iterator

import abacusai
import msgspec
import pandas as pd
import pytest
from abacusai.api_class import PythonFunctionArgument, PythonFunctionArgumentType

from modelyard.settings import Settings
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(240)]

UNITS = "FACTOR = 10\n\n\ndef scaled(value):\n    return value * FACTOR\n"
CLEANING = "from units import *\n\n\nclass Mean:\n    def __init__(self, value):\n        self.value = scaled(value)\n"


def train(rows):  # type: ignore[no-untyped-def]
    return Mean(float(rows["x"].mean()))  # type: ignore[name-defined] # noqa: F821 - the module brings it


def predict(model, query):  # type: ignore[no-untyped-def]
    import units  # type: ignore[import-not-found]

    return {"mean": model.value, "query": units.scaled(query["x"])}


def above(table, least, labels=None):  # type: ignore[no-untyped-def]
    from units import scaled

    kept = table[table["x"].map(scaled) > least].reset_index(drop=True)
    return kept.assign(label=(labels or {}).get("all", "none"))


@pytest.fixture
def client_of(settings: Settings, database_url: str) -> Iterator[abacusai.ApiClient]:
    with Yard(msgspec.structs.replace(settings, database_url=database_url)) as yard:
        yield yard.client()


def test_a_model_that_imports_modules_keeps_what_they_held_when_it_was_trained(client_of: abacusai.ApiClient) -> None:
    client = client_of
    client.create_module("units", UNITS)
    assert client.create_module("cleaning", CLEANING).code_source.module_dependencies == ["units"]
    group = client.create_feature_group_from_pandas_df("measures", pd.DataFrame({"x": [1.0, 2.0, 3.0]}))
    group.wait_for_upload()
    project = client.create_project("Modules", "PYTHON_MODEL")
    model = client.create_model_from_functions(
        project.project_id, train, predict, training_input_tables=["measures"], included_modules=["cleaning"]
    )
    assert model.code_source.source_type == "TEXT"
    assert sorted(model.code_source.module_dependencies) == ["cleaning", "units"]
    model.wait_for_training()
    version = model.latest_model_version.refresh()
    assert (version.status, version.error) == ("COMPLETE", None)
    assert version.code_source.module_dependencies == ["cleaning", "units"]

    token = client.create_deployment_token(project.project_id).deployment_token
    deployment = client.create_deployment(model_id=model.model_id)
    deployment.wait_for_deployment()
    before = {"mean": 20.0, "query": 10}
    assert client.predict(token, deployment.deployment_id, {"x": 1}) == before

    assert not client.describe_model(model.model_id).training_required
    client.update_module("units", UNITS.replace("10", "100"))
    assert client.describe_model(model.model_id).training_required
    client.stop_deployment(deployment.deployment_id)
    client.start_deployment(deployment.deployment_id)
    deployment.wait_for_deployment()
    assert client.predict(token, deployment.deployment_id, {"x": 1}) == before, "a version keeps what it was made with"

    client.retrain_model(model.model_id, deployment_ids=[deployment.deployment_id])
    model.refresh()
    model.wait_for_training()
    assert not client.describe_model(model.model_id).training_required
    deployment.wait_for_pending_deployment_update()
    assert client.predict(token, deployment.deployment_id, {"x": 1}) == {"mean": 200.0, "query": 100}

    batch = client.create_batch_prediction(deployment.deployment_id)
    started = client.start_batch_prediction(batch.batch_prediction_id)
    started.wait_for_predictions()
    assert started.refresh().status == "COMPLETE"
    with pytest.raises(abacusai.client.ConflictError, match=r"module cleaning"):
        client.delete_module("units")
    with pytest.raises(abacusai.client.ConflictError, match=rf"model .* \({model.model_id}\)"):
        client.delete_module("cleaning")


def test_a_feature_group_made_by_a_registered_function_follows_it(client_of: abacusai.ApiClient) -> None:
    client, kind = client_of, PythonFunctionArgumentType
    client.create_module("units", UNITS)
    client.create_feature_group_from_pandas_df("measures", pd.DataFrame({"x": [1.0, 2.0, 3.0]})).wait_for_upload()
    function = client.create_python_function_from_function(
        "above_least",
        above,
        [
            PythonFunctionArgument(kind.FEATURE_GROUP, "table"),
            PythonFunctionArgument(kind.INTEGER, "least"),
            PythonFunctionArgument(kind.JSON, "labels", is_required=False),
        ],
    )
    assert function.code_source.module_dependencies == ["units"]
    group = client.create_feature_group_from_function(
        "high_measures",
        python_function_name="above_least",
        python_function_bindings=[
            PythonFunctionArgument(kind.FEATURE_GROUP, "table", value="measures"),
            {"name": "least", "variable_type": "INTEGER", "value": 15},
        ],
    )
    assert (group.python_function_name, group.source_tables) == ("above_least", ["measures"])
    assert group.load_as_pandas()["x"].tolist() == [2.0, 3.0]
    assert not group.refresh().latest_version_outdated

    client.update_module("units", UNITS.replace("10", "6"))
    assert group.refresh().latest_version_outdated
    group.materialize()
    assert group.load_as_pandas()["x"].tolist() == [3.0]

    client.update_feature_group_python_function_bindings(
        group.feature_group_id,
        [
            {"name": "table", "variable_type": "FEATURE_GROUP", "value": "measures"},
            {"name": "least", "variable_type": "INTEGER", "value": 1},
            {"name": "labels", "variable_type": "JSON", "value": {"all": "high"}},
        ],
    )
    assert group.refresh().latest_version_outdated
    group.materialize()
    assert group.load_as_pandas()["label"].tolist() == ["high"] * 3

    client.update_python_function("above_least", function.code_source.source_code.replace("> least", "< least + 10"))
    assert group.refresh().latest_version_outdated
    group.materialize()
    assert group.load_as_pandas()["x"].tolist() == [1.0]
    [found] = client.list_python_function_feature_groups("above_least")
    assert found.table_name == "high_measures"
    with pytest.raises(abacusai.client.ConflictError, match="feature group high_measures"):
        client.delete_python_function("above_least")
    group.delete()
    client.delete_python_function("above_least")
    client.delete_module("units")


def test_the_clients_local_helpers(client_of: abacusai.ApiClient) -> None:
    client = client_of
    client.create_module("yard_units", UNITS)
    imported = client.import_module("yard_units", target_name="yard_units")
    assert imported.scaled(2) == 20
    source = "def scale_all(table, by=1):\n    from yard_units import scaled\n    return table.x.map(scaled) * by\n"
    function = client.create_python_function(
        "scale_all",
        source,
        function_variable_mappings=[
            {"name": "table", "variableType": "FEATURE_GROUP"},
            {"name": "by", "variableType": "INTEGER", "isRequired": False},
        ],
    )
    table = pd.DataFrame({"x": [1, 2]})
    assert function.validate_locally({"table": table, "by": 2}).tolist() == [20, 40]
    with pytest.raises(TypeError, match="Missing required argument: 'table'"):
        function.validate_locally({})
    client.create_feature_group_from_pandas_df("small", table).wait_for_upload()
    assert function.validate_locally({"table": "small"}).tolist() == [10, 20]
