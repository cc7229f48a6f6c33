"""Tables that `predict` takes beside model and query: those of the training, in replicas and in batches alike."""

import time
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from modelyard.feature_groups.records import FeatureGroupVersion
from tests.batch_predictions.bench import Bench
from tests.models.house import add_table_version, make_table, wait_for_end
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

PRICES = """
import pyarrow
import polars
import pandas

def train(prices, regions):
    return len(prices)

def predict(model, query, prices: pyarrow.Table, regions: polars.DataFrame, factor=1):
    found = prices.column("price")[query["row"]].as_py()
    return {"price": found * factor, "regions": regions.height, "trained": model, "table": id(prices)}
"""


class Priced:
    """A model of two tables, deployed."""

    def __init__(self, yard: Yard, source: str) -> None:
        self.yard, self.bench = yard, Bench(yard)
        self.names = [f"{name}_{uuid.uuid4().hex[:8]}" for name in ("prices", "regions")]
        columns: list[dict[str, list[Any]]] = [{"price": [1.5, 2.5, 3.5]}, {"region": ["a", "b"]}]
        self.groups = [make_table(yard, name, each) for name, each in zip(self.names, columns, strict=True)]
        self.deployment_id = self.bench.deploy(source, *self.names)
        self.token = yard.call("createDeploymentToken", projectId=self.bench.project_id)["deploymentToken"]

    def start(self) -> dict[str, Any]:
        self.yard.call("startDeployment", deploymentId=self.deployment_id)
        deadline = time.monotonic() + 60
        while True:
            found: dict[str, Any] = self.yard.call("describeDeployment", "GET", deploymentId=self.deployment_id)
            if found["status"] not in ("PENDING", "DEPLOYING"):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def predict(self, row: int, **arguments: object) -> dict[str, Any]:
        found: dict[str, Any] = self.yard.client().predict(self.token, self.deployment_id, {"row": row}, **arguments)
        return found


def test_predict_gets_the_tables_that_the_version_was_trained_on(shared_yard: Yard) -> None:
    priced = Priced(shared_yard, PRICES)
    add_table_version(shared_yard, priced.groups[0], {"price": [100.0, 200.0, 300.0]})
    assert priced.start()["status"] == "ACTIVE"
    first, second = priced.predict(1), priced.predict(2, factor=10)
    assert (first["price"], first["regions"], first["trained"]) == (2.5, 2, 3)
    assert second["price"] == 35.0
    assert first["table"] == second["table"], "a table is loaded once for each replica"
    # A further training takes the newer rows, and goes to the deployment by itself.
    deployed = shared_yard.call("describeDeployment", "GET", deploymentId=priced.deployment_id)
    again = shared_yard.call("retrainModel", modelId=deployed["modelId"])["latestModelVersion"]["modelVersion"]
    assert wait_for_end(shared_yard, again)["status"] == "COMPLETE"
    deadline = time.monotonic() + 60
    while priced.predict(1)["price"] != 200.0:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_batch_gets_them_too(shared_yard: Yard) -> None:
    priced = Priced(shared_yard, PRICES)
    rows = priced.bench.group_id(priced.bench.table(row=[0, 2]))
    version = priced.bench.predict(
        priced.deployment_id, inputFeatureGroups={"DATA": rows}, batchPredictionArgs={"factor": 2}
    )
    assert [line["prediction"]["price"] for line in priced.bench.lines(version)] == [3.0, 7.0]


def test_a_predict_that_can_do_without_tables_gets_none(shared_yard: Yard) -> None:
    source = """
def train(prices, regions):
    return 1

def predict(model, query, more=None, *tables):
    return {"more": more, "tables": len(tables)}
"""
    priced = Priced(shared_yard, source)
    priced.start()
    assert priced.predict(0) == {"more": None, "tables": 0}


def test_a_training_on_too_few_tables_for_predict_is_refused_before_its_work(shared_yard: Yard) -> None:
    priced = Priced(shared_yard, PRICES)
    model_id = shared_yard.call("describeDeployment", "GET", deploymentId=priced.deployment_id)["modelId"]
    asked = shared_yard.call("retrainModel", modelId=model_id, featureGroupIds=priced.groups[:1])
    ended = wait_for_end(shared_yard, asked["latestModelVersion"]["modelVersion"])
    assert ended["status"] == "FAILED"
    assert "takes 2 table(s) after model and query, and the training has 1" in ended["error"]


def test_tables_that_are_gone_are_named(shared_yard: Yard) -> None:
    priced = Priced(shared_yard, PRICES)
    with shared_yard.database.write() as session:
        for row in session.scalars(
            select(FeatureGroupVersion).where(FeatureGroupVersion.feature_group_id == priced.groups[0])
        ):
            session.delete(row)
    found = priced.start()
    assert found["status"] == "FAILED"
    assert "has been deleted. Train the model again" in found["error"]
