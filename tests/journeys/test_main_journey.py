"""From a table and a source to a prediction, by the unmodified official client, on both databases."""

import abacusai
import msgspec
import pandas as pd
import pytest

from modelyard.settings import Settings
from tests.journeys.models import DOUBLED, SOURCE, concrete, dry_mixes, predict, train
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(240)]


@pytest.fixture
def client_of(settings: Settings, database_url: str):  # type: ignore[no-untyped-def]
    with Yard(msgspec.structs.replace(settings, database_url=database_url)) as yard:
        yield yard.client()


def test_the_whole_life_of_a_model(client_of: abacusai.ApiClient) -> None:
    client, table = client_of, concrete()
    project = client.create_project("Concrete", "PYTHON_MODEL")
    group = client.create_feature_group_from_pandas_df("concrete", table)
    group.wait_for_upload()
    pd.testing.assert_frame_equal(group.load_as_pandas(), table, check_dtype=False)
    client.create_feature_group_from_function("dry_mixes", dry_mixes, "dry_mixes", input_feature_groups=["concrete"])
    counted = client.execute_feature_group_sql("SELECT COUNT(*) AS n FROM concrete WHERE water < cement")
    assert counted["n"].tolist() == [len(dry_mixes(table))]  # type: ignore[no-untyped-call]

    model = client.create_model_from_python(project.project_id, SOURCE, "train", ["dry_mixes"], "predict")
    model.wait_for_training()
    version = model.latest_model_version.refresh()
    assert (version.status, version.error) == ("COMPLETE", None)
    [logs] = version.get_training_logs(stdout=True, stderr=True)
    assert logs.stdout == f"trained on {len(dry_mixes(table))} mixes\n"  # type: ignore[no-untyped-call]

    token = client.create_deployment_token(project.project_id).deployment_token
    deployment = client.create_deployment(model_id=model.model_id)
    deployment.wait_for_deployment()
    assert deployment.refresh().status == "ACTIVE"
    queries = [row.to_dict() for _, row in dry_mixes(table).head(5).iterrows()]  # type: ignore[no-untyped-call]
    local = train(dry_mixes(table))  # type: ignore[no-untyped-call]
    expected = [predict(local, query) for query in queries]  # type: ignore[no-untyped-call]
    assert [client.predict(token, deployment.deployment_id, query) for query in queries] == expected
    assert client.predict_multiple(token, deployment.deployment_id, queries) == expected

    model = client.update_python_model(
        model.model_id, function_source_code=DOUBLED, predict_function_name="predict_times_two"
    )
    assert model.training_required
    model.refresh()
    client.retrain_model(model.model_id)
    model.wait_for_training()
    newest = client.describe_model(model.model_id).latest_model_version
    assert (newest.status, newest.error) == ("COMPLETE", None)
    assert newest.model_version != version.model_version
    assert not client.describe_model(model.model_id).training_required

    client.set_deployment_model_version(deployment.deployment_id, newest.model_version)
    deployment.wait_for_pending_deployment_update()
    doubled = client.predict(token, deployment.deployment_id, queries[0])
    assert doubled["csMPa"] == pytest.approx(2 * expected[0]["csMPa"], abs=1e-5)
    assert [v.model_version for v in client.list_model_versions(model.model_id)][:2] == [
        newest.model_version,
        version.model_version,
    ]

    client.stop_deployment(deployment.deployment_id)
    with pytest.raises(abacusai.client.NotReadyError):
        client.predict(token, deployment.deployment_id, queries[0])
    client.start_deployment(deployment.deployment_id)
    deployment.wait_for_deployment()
    assert client.predict(token, deployment.deployment_id, queries[0]) == doubled
