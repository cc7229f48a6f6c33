"""Tables from elsewhere, by the unmodified official client: from a bucket and a database to a trained model."""

import abacusai
import msgspec
import pytest
import sqlalchemy as sa

from modelyard.settings import Settings
from tests.connectors.conftest import SECRETS, Buckets
from tests.connectors.conftest import buckets as buckets
from tests.connectors.conftest import postgresql_tcp as postgresql_tcp
from tests.yard import CallFailed, Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(240)]
SOURCE = """
def train(points, weights):
    return (points.y / points.x).mean() * float(weights.weight.iloc[0])

def predict(slope, query):
    return {"y": float(slope * query["x"])}
"""


def test_a_table_from_a_bucket_and_one_from_a_database_are_trained_on(
    settings: Settings, buckets: Buckets, postgresql_tcp: sa.URL
) -> None:
    buckets.put("measured", points__1_DOT_csv=b"x,y\n1,2\n2,4\n", points__2_DOT_csv=b"x,y\n3,6\n", points___SUCCESS=b"")
    engine = sa.create_engine(postgresql_tcp, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE weights (weight numeric(6, 2), since date)")
        connection.exec_driver_sql("INSERT INTO weights VALUES (10.50, '2024-02-29')")
    with Yard(msgspec.structs.replace(settings, allowed_networks=("127.0.0.1/32",))) as yard:
        yard.call(
            "createFileConnector", bucket="s3://measured", options={"endpoint": buckets.endpoint}, secrets=SECRETS
        )
        auth = {
            "host": "127.0.0.1",
            "port": postgresql_tcp.port,
            "user": "postgres",
            "database": postgresql_tcp.database,
        }
        yard.call("createDatabaseConnector", name="shop", service="POSTGRESQL", auth=auth, secrets={"password": "any"})
        client = yard.client()
        _import_both(client)
        project = client.create_project("Points", "PYTHON_MODEL")
        model = client.create_model_from_python(project.project_id, SOURCE, "train", ["points", "weights"], "predict")
        model.wait_for_training()
        version = client.describe_model(model.model_id).latest_model_version
        assert (version.status, version.error) == ("COMPLETE", None)
        token = client.create_deployment_token(project.project_id).deployment_token
        deployment = client.create_deployment(model_id=model.model_id)
        deployment.wait_for_deployment()
        assert client.predict(token, deployment.deployment_id, {"x": 2}) == {"y": 42.0}
        with pytest.raises(CallFailed, match="dataset points"):
            yard.call("deleteFileConnector", "DELETE", bucket="s3://measured")
        assert SECRETS["secret_access_key"].encode() not in b"".join(
            path.read_bytes() for path in yard.settings.home.rglob("*") if path.is_file()
        )


def _import_both(client: abacusai.ApiClient) -> None:
    [bucket] = client.list_file_connectors()
    assert not bucket.verified
    seen = client.verify_file_connector(bucket.bucket)
    assert (seen.verified, seen.write_permission) == (True, True)
    assert client.list_file_connectors()[0].verified
    client.create_dataset_from_file_connector("points", "s3://measured/points/*.csv").wait_for_inspection()
    assert client.describe_feature_group_by_table_name("points").load_as_pandas()["y"].sum() == 12
    [database] = client.list_database_connectors()
    database.verify()
    assert client.list_database_connector_objects(database.database_connector_id) == ["weights"]
    dataset = client.create_dataset_from_database_connector("weights", database.database_connector_id, "weights")
    dataset.wait_for_inspection()
    assert dataset.refresh().latest_dataset_version.status == "COMPLETE"
