"""Models, versions and projects deleted: refused with the names of what stands on them, or gone with their bytes."""

from datetime import timedelta
from typing import Any

import pytest

from modelyard.clock import utc_now
from modelyard.storage import BlobStore
from modelyard.upkeep.collecting import collect
from tests.models.house import make_model, make_project, make_table, wait_for_end
from tests.models.trees import FILES, NAMES, send, wait_for_code, zipped
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

SOURCE = """
from pathlib import Path


def train(rows):
    Path("left.txt").write_text("left by NAME")
    return {"name": "NAME", "rows": len(rows)}


def predict(model, query):
    return query["z"]
"""


def kept(yard: Yard) -> set[str]:
    """The blobs that are there after a collection."""
    store = BlobStore(yard.settings.home / "blobs")
    # No run is under way here, so all that nothing names may go, however young.
    collect(yard.database, store, utc_now() + timedelta(hours=1), 0)
    return set(store.digests())


def trained(yard: Yard, project_id: str, name: str) -> dict[str, Any]:
    model = make_model(
        yard, projectId=project_id, name=name, functionSourceCode=SOURCE.replace("NAME", name),
        trainingInputTables=["bytes"], trainingConfig={"TARGET": "x"},
    )  # fmt: skip
    version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    return version


def exported(yard: Yard, version: dict[str, Any]) -> None:
    export = yard.client().export_custom_model_version(version["modelVersion"], "")
    export.wait_for_results()
    assert export.describe().status == "COMPLETE"


def test_what_a_version_or_a_model_leaves_goes_with_it(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    make_table(yard, "bytes", {"x": [1, 2, 3], "z": [1, 2, 3]})
    project_id = make_project(yard, "Bytes")
    staying = trained(yard, project_id, "staying")
    before = kept(yard)

    second = yard.call("retrainModel", modelId=staying["modelId"], trainingConfig={"SEED": 1, "TARGET": "x"})
    second = wait_for_end(yard, second["latestModelVersion"]["modelVersion"])
    yard.call("getFeatureImportanceByModelVersion", "GET", modelVersion=second["modelVersion"])
    yard.call("deleteModelVersion", "DELETE", modelVersion=second["modelVersion"])
    assert kept(yard) == before

    going = trained(yard, project_id, "going")
    exported(yard, going)
    upload = yard.call("updatePythonModelZip", modelId=going["modelId"], trainingInputTables=[], **NAMES)
    send(yard, upload["uploadId"], zipped(FILES))
    assert wait_for_code(yard, going["modelId"])["codeSource"]["status"] == "COMPLETE"
    again = yard.call("retrainModel", modelId=going["modelId"])["latestModelVersion"]["modelVersion"]
    assert wait_for_end(yard, again)["status"] == "COMPLETE"
    assert len(kept(yard) - before) >= 5  # artifacts, files, the zip as it came, its tree, the export
    yard.call("deleteModel", "DELETE", modelId=going["modelId"])
    assert kept(yard) == before


def test_a_project_goes_when_nothing_stands_in_it_and_leaves_no_bytes(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    group = make_table(yard, "bytes2", {"x": [4, 5, 6], "z": [4, 5, 6]})
    before = kept(yard)
    client, project_id = yard.client(), make_project(yard, "Going")
    model = make_model(
        yard, projectId=project_id, name="Priced", functionSourceCode=SOURCE, trainingInputTables=["bytes2"]
    )
    version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])
    exported(yard, version)
    deployment = client.create_deployment(name="online", model_id=model["modelId"]).wait_for_deployment()
    batch = client.create_batch_prediction(
        deployment.deployment_id, name="nightly", input_feature_groups={"ROWS": group}
    )
    done = batch.start()
    done.wait_for_predictions()
    assert done.describe().status == "COMPLETE"

    refused = {
        "deleteModelVersion": ({"modelVersion": version["modelVersion"]}, ["deployment online"]),
        "deleteModel": ({"modelId": model["modelId"]}, ["deployment online"]),
        "deleteProject": ({"projectId": project_id}, ["model Priced", "deployment online", "batch prediction nightly"]),
        "deleteDeployment": ({"deploymentId": deployment.deployment_id}, ["batch prediction nightly"]),
    }
    for action, (which, names) in refused.items():
        with pytest.raises(CallFailed) as error:
            yard.call(action, "DELETE", **which)
        assert error.value.error_type == "ConflictError"
        missing = [name for name in names if name not in error.value.error]
        assert not missing, (action, error.value.error)

    yard.call("deleteBatchPrediction", "DELETE", batchPredictionId=batch.batch_prediction_id)
    with pytest.raises(CallFailed, match="deployment online"):
        yard.call("deleteModel", "DELETE", modelId=model["modelId"])
    yard.call("deleteDeployment", "DELETE", deploymentId=deployment.deployment_id)
    with pytest.raises(CallFailed, match="model Priced") as error:
        yard.call("deleteProject", "DELETE", projectId=project_id)
    assert "online" not in error.value.error
    yard.call("deleteModel", "DELETE", modelId=model["modelId"])
    yard.call("deleteProject", "DELETE", projectId=project_id)
    agent = yard.agent
    assert agent is not None
    wait_until(lambda: not agent.running)  # the replica's run ends within a heartbeat
    assert kept(yard) == before


def test_what_was_uploaded_goes_with_its_dataset_version(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    nothing = kept(yard)

    def uploaded(upload: dict[str, Any], content: bytes) -> str:
        send(yard, upload["uploadId"], content)
        version = str(upload["datasetVersion"])
        described: dict[str, Any] = {}

        def has_ended() -> bool:
            described.update(yard.call("describeDatasetVersion", "GET", datasetVersion=version))
            return described["status"] in ("COMPLETE", "FAILED")

        wait_until(has_ended, 60)
        assert described["status"] == "COMPLETE", described
        return version

    first = yard.call("createDatasetFromUpload", tableName="uploaded_bytes", fileFormat="CSV")
    dataset_id = first["datasetId"]
    uploaded(first, b"a\n1\n")
    before = kept(yard)
    second = yard.call("createDatasetVersionFromUpload", datasetId=dataset_id, fileFormat="CSV")
    version = uploaded(second, b"a\n2\n")
    assert len(kept(yard)) == len(before) + 2  # as it came, and as it is read
    yard.call("deleteDatasetVersion", "DELETE", datasetVersion=version)
    assert kept(yard) == before
    yard.call("deleteDataset", "DELETE", datasetId=dataset_id)
    assert kept(yard) == nothing
