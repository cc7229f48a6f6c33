"""Models of several files: uploaded as a zip, checked file by file, the same at training, prediction and in batches."""

import io
from typing import Any

import msgspec
import pytest
from abacusai.upload import Upload

from modelyard.settings import Settings
from tests.models.house import make_model, make_project, make_table, wait_for_end
from tests.models.trees import FILES, NAMES, send, wait_for_code, zipped
from tests.yard import CallFailed, Yard

Files = dict[str, str | bytes]


def _updated(yard: Yard, files: Files, **names: Any) -> dict[str, Any]:
    """A model whose code was replaced by that zip, or was to be."""
    return _send(yard, make_model(yard)["modelId"], files, **names)


def _send(yard: Yard, model_id: str, files: Files, **names: Any) -> dict[str, Any]:
    upload = yard.call("updatePythonModelZip", modelId=model_id, **(NAMES | names))
    assert (upload["modelId"], upload["status"], upload["parts"]) == (model_id, "PENDING", [])
    send(yard, upload["uploadId"], zipped(files), parts=3)
    return wait_for_code(yard, model_id)


def _trained(yard: Yard, model_id: str) -> dict[str, Any]:
    begun = yard.call("retrainModel", modelId=model_id)["latestModelVersion"]["modelVersion"]
    return wait_for_end(yard, begun)


def test_a_zip_is_trained_deployed_and_predicted_with_in_batches(shared_yard: Yard) -> None:
    yard = shared_yard
    model = _updated(yard, FILES, packageRequirements=["numpy"], cpuSize="medium", memory=2, useGpu=False)
    source = model["codeSource"]
    assert (source["status"], source["sourceType"], source["sourceCode"]) == ("COMPLETE", "FILE_UPLOAD", None), source
    assert (model["cpuSize"], model["memory"], source["packageRequirements"]) == ("medium", 2, ["numpy"])
    version = _trained(yard, model["modelId"])
    assert version["status"] == "COMPLETE", version["error"]
    assert version["codeSource"]["sourceType"] == "FILE_UPLOAD"
    client = yard.client()
    deployment = client.create_deployment(model_id=model["modelId"])
    deployment.wait_for_deployment()
    token = client.create_deployment_token(model["projectId"]).deployment_token
    assert client.predict(token, deployment.deployment_id, {"x": 2}) == 16
    assert client.predict_multiple(token, deployment.deployment_id, [{"x": 0}, {"x": 1}]) == [10, 13]
    group = make_table(yard, "batch_of_a_tree", {"x": [1, 2, 3]})
    batch = client.create_batch_prediction(deployment.deployment_id, input_feature_groups={"ROWS": group})
    done = batch.start()
    done.wait_for_predictions()
    assert done.describe().status == "COMPLETE", done.describe()
    yard.call("stopDeployment", deploymentId=deployment.deployment_id)


def test_a_model_is_created_of_a_zip_and_trains_at_once(shared_yard: Yard) -> None:
    yard = shared_yard
    upload = yard.call("createModelFromZip", projectId=make_project(yard), name="Of a zip", **NAMES)
    model = yard.call("describeModel", "GET", modelId=upload["modelId"])
    assert (model["codeSource"]["status"], model["latestModelVersion"]) == ("PENDING", None)
    listed = yard.call("listModels", "GET", projectId=model["projectId"])
    assert [each["modelId"] for each in listed] == [upload["modelId"]]
    with pytest.raises(CallFailed, match="NotReadyError"):
        yard.call("retrainModel", modelId=upload["modelId"])
    with pytest.raises(CallFailed, match="NotReadyError"):
        yard.call("updatePythonModel", modelId=upload["modelId"], memory=2)
    send(yard, upload["uploadId"], zipped(FILES))
    model = wait_for_code(yard, upload["modelId"])
    assert model["codeSource"]["status"] == "COMPLETE"
    assert wait_for_end(yard, model["latestModelVersion"]["modelVersion"])["status"] == "COMPLETE"


def test_a_failed_zip_leaves_the_model_as_it_was_and_says_where_the_fault_is(shared_yard: Yard) -> None:
    yard = shared_yard
    model = _updated(yard, FILES | {"pricing/tables.py": "def factor():\n    return (1\n"})
    source = model["codeSource"]
    assert (source["status"], source["sourceType"]) == ("FAILED", "FILE_UPLOAD")
    assert source["error"].startswith("pricing/tables.py: ")
    assert "line 2, column 12" in source["error"]
    version = _trained(yard, model["modelId"])
    assert (version["status"], version["codeSource"]["sourceType"]) == ("COMPLETE", "TEXT")


@pytest.mark.parametrize(
    ("changed", "names", "said"),
    [
        ({"pricing/shapes.py": "from .nothing import x\n"}, {}, "pricing/shapes.py: .*no module `pricing.nothing`"),
        ({"helper.py": "from . import pricing\n"}, {}, "leads out of the code"),
        ({"helper.py": "import pricing.absent\n"}, {}, "no module `pricing.absent`"),
        ({"helper.py": "import no_such_package\n"}, {}, "Nothing provides `no_such_package`"),
        ({"helper.py": b"OFFSET = '\xff'\n"}, {}, "helper.py, line 1: it is not UTF-8"),
        ({}, {"trainModuleName": "pricing.absent"}, "holds no pricing/absent.py"),
        ({}, {"trainModuleName": "helper"}, "helper.py: .*train"),
        ({}, {"predictFunctionName": "absent"}, "pricing/predicting.py: .*absent"),
        ({}, {"trainingInputTables": ["rows_of_trees"]}, None),
    ],
)
def test_what_cannot_run_is_refused_with_its_file(
    shared_yard: Yard, changed: Files, names: dict[str, Any], said: str | None
) -> None:
    import re

    if said is None:
        make_table(shared_yard, "rows_of_trees", {"x": [1]})
    source = _updated(shared_yard, FILES | changed, **names)["codeSource"]
    if said is None:
        assert source["status"] == "COMPLETE"
    else:
        assert source["status"] == "FAILED"
        assert re.search(said, source["error"], re.DOTALL), source["error"]


def test_a_traceback_names_the_users_files_and_code_cannot_be_changed_by_itself(shared_yard: Yard) -> None:
    files: Files = {
        "a/train.py": "from pathlib import Path\nfrom a import b\n\n\ndef train():\n    b.change()\n",
        "a/b.py": "from pathlib import Path\n\n\ndef change():\n    Path(__file__).write_text('x')\n",
    }
    names = {"trainModuleName": "a.train", "predictModuleName": None, "predictManyFunctionName": None}
    model = _updated(shared_yard, files, **names, predictFunctionName="")
    assert model["codeSource"]["status"] == "COMPLETE", model["codeSource"]["error"]
    version = _trained(shared_yard, model["modelId"])
    assert version["status"] == "FAILED"
    assert "PermissionError" in version["error"]
    [logs] = shared_yard.call("getTrainingLogs", "GET", modelVersion=version["modelVersion"])
    assert 'File "a/train.py", line 6, in train' in logs["exception"]["traceback"]
    assert 'File "a/b.py", line 5, in change' in logs["exception"]["traceback"]
    assert 'File "/' not in logs["exception"]["traceback"]


def test_the_plain_update_changes_sizes_of_a_tree_and_a_source_replaces_it(shared_yard: Yard) -> None:
    yard, model = shared_yard, _updated(shared_yard, FILES)
    sized = yard.call("updatePythonModel", modelId=model["modelId"], memory=3, packageRequirements=["numpy"])
    assert (sized["memory"], sized["codeSource"]["sourceType"]) == (3, "FILE_UPLOAD")
    with pytest.raises(CallFailed, match=r"pricing/predicting.py: .*\n.*`absent`"):
        yard.call("updatePythonModel", modelId=model["modelId"], predictFunctionName="absent")
    plain = yard.call(
        "updatePythonModel", modelId=model["modelId"], predictManyFunctionName="",
        functionSourceCode="def train():\n    return 1\n\ndef predict(model, query):\n    return model\n",
    )  # fmt: skip
    assert plain["codeSource"]["sourceType"] == "TEXT"
    assert _trained(yard, model["modelId"])["status"] == "COMPLETE"


def test_a_zip_imports_modules_of_the_organisation(shared_yard: Yard) -> None:
    yard = shared_yard
    yard.call("createModule", name="shared_offsets", sourceCode="OFFSET = 5\n")
    model = _updated(yard, FILES | {"helper.py": "from shared_offsets import OFFSET\n"})
    assert model["codeSource"]["moduleDependencies"] == ["shared_offsets"]
    assert _trained(yard, model["modelId"])["status"] == "COMPLETE"


def test_a_cancelled_or_too_large_zip_is_no_revision(shared_yard: Yard) -> None:
    yard, model = shared_yard, make_model(shared_yard)
    upload = yard.call("updatePythonModelZip", modelId=model["modelId"], **NAMES)
    assert yard.call("describeUpload", "GET", uploadId=upload["uploadId"])["modelId"] == model["modelId"]
    yard.call("cancelUpload", "DELETE", uploadId=upload["uploadId"])
    described = yard.call("describeModel", "GET", modelId=model["modelId"])
    assert (described["codeSource"]["status"], described["codeSource"]["sourceType"]) == ("COMPLETE", "TEXT")


PATHS = ["../up", "a/../b", "/etc/passwd", "a\\b", "a;b", "a\x00b", "%2e%2e/x", "file:///x", "a..b"]


@pytest.mark.parametrize("name", PATHS)
def test_a_module_name_is_never_a_path(shared_yard: Yard, name: str) -> None:
    model = make_model(shared_yard)
    with pytest.raises(CallFailed, match="InvalidParameterError"):
        shared_yard.call("updatePythonModelZip", modelId=model["modelId"], trainModuleName=name)


def test_a_zip_arrives_on_each_kind_of_database(settings: Settings, database_url: str) -> None:
    with Yard(msgspec.structs.replace(settings, database_url=database_url)) as yard:
        model = _updated(yard, FILES)
        assert model["codeSource"]["status"] == "COMPLETE", model["codeSource"]["error"]
        assert _updated(yard, {"x.py": "("})["codeSource"]["status"] == "FAILED"
        yard.call("deleteModel", "DELETE", modelId=model["modelId"])


def test_a_tree_is_compared_file_by_file_and_can_be_brought_back(shared_yard: Yard) -> None:
    yard, model = shared_yard, _updated(shared_yard, FILES)
    [tree, first] = yard.call("listModelRevisions", "GET", modelId=model["modelId"])
    yard.call("rollbackModel", modelId=model["modelId"], modelRevision=first["modelRevision"])
    back = yard.call("rollbackModel", modelId=model["modelId"], modelRevision=tree["modelRevision"])
    assert (back["codeSource"]["sourceType"], back["trainFunctionName"]) == ("FILE_UPLOAD", "train")
    assert _trained(yard, model["modelId"])["status"] == "COMPLETE"
    changed = _send(yard, model["modelId"], FILES | {"helper.py": "OFFSET = 11\n"})
    newest = yard.call("listModelRevisions", "GET", modelId=changed["modelId"])[0]["modelRevision"]
    diff = yard.call("diffModelRevisions", "GET", modelRevision=newest)
    assert (diff["linesAdded"], diff["linesRemoved"]) == (1, 1)
    assert " helper.py" in diff["sourceDiff"]


def test_the_official_client_sends_a_zip_by_its_own_means(shared_yard: Yard) -> None:
    client, model = shared_yard.client(), make_model(shared_yard)
    body = NAMES | {"modelId": model["modelId"]}
    upload = client._call_api("updatePythonModelZip", "POST", query_params={}, body=body, parse_type=Upload)
    ended = upload.upload_file(io.BytesIO(zipped(FILES)), chunksize=300)
    assert ended.model_id == model["modelId"]  # the client gives back the model that an upload is for
    wait_for_code(shared_yard, model["modelId"])
    source = client.describe_model(model["modelId"]).code_source
    assert (source.source_type, source.status, source.error) == ("FILE_UPLOAD", "COMPLETE", None)
    trained = client.retrain_model(model["modelId"])
    trained.wait_for_training()
    assert trained.describe().latest_model_version.status == "COMPLETE"
