"""What the tests of batch predictions share: models trained on nothing, deployed without replicas, and results read."""

import io
import json
import time
import uuid
from typing import Any

import pandas as pd
import requests

from tests.models.house import make_project, make_table, wait_for_end
from tests.yard import Yard

#: Predicts what it is given.
ECHO = "def train(*tables):\n    return 10\n\n\ndef predict(model, query):\n    return query['x'] * model\n"


class Bench:
    """Makes models and tables in a house and predicts in batches."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.project_id = make_project(yard)

    def table(self, **columns: list[Any]) -> str:
        """A table's name."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        make_table(self.yard, name, columns)
        return name

    def group_id(self, table_name: str) -> str:
        found = self.yard.call("describeFeatureGroupByTableName", "GET", tableName=table_name)
        return str(found["featureGroupId"])

    def dataset(self, rows: pd.DataFrame) -> tuple[str, str]:
        """An uploaded dataset's id and the name of its table."""
        name = f"d_{uuid.uuid4().hex[:12]}"
        group = self.yard.client().create_dataset_from_pandas(name, rows)
        return group.dataset_id, name

    def deploy(self, source: str, *tables: str, **parameters: Any) -> str:
        """The id of a deployment, never started, of a model trained on those tables."""
        roles = {"predict": "predictFunctionName", "predict_many": "predictManyFunctionName"}
        roles["initialize"] = "initializeFunctionName"
        names: dict[str, Any] = {role: name for name, role in roles.items() if f"def {name}(" in source}
        model = self.yard.call(
            "createModelFromPython",
            projectId=self.project_id,
            functionSourceCode=source,
            trainFunctionName="train",
            trainingInputTables=list(tables),
            **(names | parameters),
        )
        trained = wait_for_end(self.yard, model["latestModelVersion"]["modelVersion"])
        assert trained["status"] == "COMPLETE", trained["error"]
        deployed = self.yard.call("createDeployment", modelId=model["modelId"], start=False)
        return str(deployed["deploymentId"])

    def define(self, deployment_id: str, **parameters: Any) -> str:
        batch = self.yard.call("createBatchPrediction", deploymentId=deployment_id, **parameters)
        return str(batch["batchPredictionId"])

    def start(self, batch_prediction_id: str) -> dict[str, Any]:
        """The ended version of a new start."""
        version = self.yard.call("startBatchPrediction", batchPredictionId=batch_prediction_id)
        assert version["status"] == "PENDING"
        return self.ended(version["batchPredictionVersion"])

    def predict(self, deployment_id: str, **parameters: Any) -> dict[str, Any]:
        """The ended version of a new batch prediction."""
        return self.start(self.define(deployment_id, **parameters))

    def ended(self, version_id: str, timeout_s: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            version: dict[str, Any] = self.describe(version_id)
            if version["status"] in ("COMPLETE", "FAILED"):
                return version
            time.sleep(0.05)
        raise AssertionError(f"the batch took longer than {timeout_s} s")

    def describe(self, version_id: str) -> dict[str, Any]:
        described: dict[str, Any] = self.yard.call(
            "describeBatchPredictionVersion", "GET", batchPredictionVersion=version_id
        )
        return described

    def chunk(self, version: dict[str, Any], **parameters: str) -> requests.Response:
        return requests.get(
            f"{self.yard.url}/api/v0/downloadBatchPredictionResultChunk",
            params={"batchPredictionVersion": version["batchPredictionVersion"], **parameters},
            headers={"apiKey": self.yard.key},
            timeout=60,
        )

    def raw(self, version: dict[str, Any]) -> bytes:
        assert version["status"] == "COMPLETE", version["error"]
        answer = self.chunk(version)
        assert answer.status_code == 200, answer.text
        return answer.content

    def lines(self, version: dict[str, Any]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw(version).splitlines()]

    def csv(self, version: dict[str, Any]) -> pd.DataFrame:
        return pd.read_csv(io.BytesIO(self.raw(version)))
