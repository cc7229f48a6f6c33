"""Models that were trained elsewhere, by real files of real libraries: opened in a guest, served, and run in batches.

The files in `imported/` were written by scikit-learn with skl2onnx, onnx, xgboost, lightgbm, catboost and safetensors;
`expected.json` has what the libraries themselves predicted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from abacusai.client import ApiException

from modelyard.settings import Settings
from tests.models.house import make_model, make_project, make_table, wait_for_end
from tests.models.trees import send
from tests.yard import CallFailed, Yard

FILES = Path(__file__).parent / "imported"
EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text())
TENSORS = """
def predict(tensors, query):
    return float(tensors["weights"] @ [query["a"], query["b"]] + tensors["bias"][0])
"""


def _uploaded(yard: Yard, file: str | bytes, verifications: object = None, **config: Any) -> dict[str, Any]:
    """The first version of a model that was uploaded, once it has ended."""
    artifacts = ["verifications"] if verifications is not None else []
    upload = yard.client().create_model_from_local_files(
        make_project(yard), name="Imported", optional_artifacts=artifacts, model_config=config
    )
    content = file if isinstance(file, bytes) else (FILES / file).read_bytes()
    send(yard, upload.model_upload_id, content, parts=2)
    if verifications is not None:
        pending = yard.call("describeModelVersion", "GET", modelVersion=upload.model_version)
        assert pending["status"] == "PENDING"
        send(yard, upload.verifications_upload_id, json.dumps(verifications).encode())
    return wait_for_end(yard, upload.model_version, 240)


def _predictor(yard: Yard, version: dict[str, Any]) -> tuple[Any, str]:
    assert version["status"] == "COMPLETE", version["error"]
    client = yard.client()
    deployment = client.create_deployment(model_id=version["modelId"])
    deployment.wait_for_deployment()
    model = yard.call("describeModel", "GET", modelId=version["modelId"])
    token = client.create_deployment_token(model["projectId"]).deployment_token
    return (lambda query: client.predict(token, deployment.deployment_id, query)), deployment.deployment_id


def test_an_onnx_model_with_the_names_of_its_file_serves_singly_and_in_batches(shared_yard: Yard) -> None:
    yard = shared_yard
    version = _uploaded(
        yard, "linear.onnx", [{"input": {"b": 0.25, "a": 0.5}, "output": {"variable": [2.0]}}], format="onnx"
    )
    assert version["codeSource"]["packageRequirements"] == ["onnxruntime"]
    metrics = yard.call("getModelMetrics", "GET", modelId=version["modelId"])
    assert metrics["algoMetrics"][version["modelId"]]["metrics"] == {"verifications": 1}
    with pytest.raises(CallFailed, match="was trained elsewhere: there are no rows here"):
        yard.call("getFeatureImportanceByModelVersion", "GET", modelVersion=version["modelVersion"])
    predict, deployment_id = _predictor(yard, version)
    [value] = predict({"b": 0.25, "a": 0.5})["variable"]
    assert value == pytest.approx(2.0, abs=1e-5)
    with pytest.raises(Exception, match="lacks the feature 'b'"):
        predict({"a": 1})
    group = make_table(yard, "rows_for_onnx", {"a": [0.5, 0.0], "b": [0.25, 0.0], "c": [1, 2]})
    done = yard.client().create_batch_prediction(deployment_id, input_feature_groups={"ROWS": group}).start()
    done.wait_for_predictions()
    assert done.describe().status == "COMPLETE", done.describe()
    yard.call("stopDeployment", deploymentId=deployment_id)


def test_an_onnx_model_with_an_input_for_each_feature(shared_yard: Yard) -> None:
    version = _uploaded(shared_yard, "sum.onnx", [{"input": {"a": 1, "b": 2}, "output": {"sum": [3]}}], format="ONNX")
    with pytest.raises(CallFailed, match=r"ConflictError.*it was not trained here"):
        shared_yard.call("reproduceModelVersion", modelVersion=version["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "config"),
    [
        ("model.json", {"format": "XGBOOST", "requirements": ["xgboost-cpu"]}),
        ("model.ubj", {"format": "XGBOOST", "requirements": ["xgboost-cpu"]}),
        ("model.txt", {"format": "LIGHTGBM", "features": ["a", "b"]}),
        ("model.cbm", {"format": "CATBOOST"}),
    ],
)
def test_a_model_of_trees_predicts_what_its_own_library_did(
    shared_yard: Yard, file: str, config: dict[str, Any]
) -> None:
    version = _uploaded(shared_yard, file, [{"input": EXPECTED["query"], "output": EXPECTED[file]}], **config)
    assert version["status"] == "COMPLETE", version["error"]
    wrong = _uploaded(shared_yard, file, [{"input": EXPECTED["query"], "output": 99.0}], **config)
    assert "verification 1 expects 99.0" in wrong["error"]


def test_tensors_need_a_source_that_predicts_with_them(shared_yard: Yard) -> None:
    version = _uploaded(shared_yard, "model.safetensors", format="SAFETENSORS", predictSource=TENSORS)
    predict, deployment_id = _predictor(shared_yard, version)
    assert predict({"a": 1, "b": 1}) == 2.0
    shared_yard.call("stopDeployment", deploymentId=deployment_id)
    with pytest.raises(ApiException, match=r"needs modelConfig.predictSource"):
        _uploaded(shared_yard, "model.safetensors", format="SAFETENSORS")
    with pytest.raises(ApiException, match=r"takes no modelConfig.predictSource"):
        _uploaded(shared_yard, "linear.onnx", format="ONNX", predictSource=TENSORS)


def test_what_is_no_model_fails_with_the_librarys_words(shared_yard: Yard) -> None:
    version = _uploaded(shared_yard, b"this is no model", format="ONNX")
    assert version["status"] == "FAILED"
    assert "Protobuf" in version["error"] or "INVALID" in version["error"], version["error"]


def test_pickles_are_refused_unless_the_operator_allows_them(shared_yard: Yard, settings: Settings) -> None:
    import pickle

    config = {"format": "PICKLE", "predictSource": "def predict(model, query):\n    return model[query['x']]\n"}
    with pytest.raises(ApiException, match="pickled_models"):
        _uploaded(shared_yard, b"", **config)
    with Yard(msgspec.structs.replace(settings, pickled_models=True)) as yard:
        version = _uploaded(yard, pickle.dumps([5, 6]), **config)
        predict, _ = _predictor(yard, version)
        assert predict({"x": 1}) == 6


@pytest.fixture
def opened(settings: Settings, tmp_path: Path) -> Iterator[tuple[Yard, Path]]:
    """A house that may read a folder with a model in it."""
    place = tmp_path / "models"
    place.mkdir()
    (place / "first.onnx").write_bytes((FILES / "linear.onnx").read_bytes())
    with Yard(msgspec.structs.replace(settings, file_roots=(place,))) as yard:
        yield yard, place


def test_a_model_is_imported_from_a_location_and_again(opened: tuple[Yard, Path]) -> None:
    yard, place = opened
    client = yard.client()
    model = client.create_model_from_files(make_project(yard), f"file://{place}/first.onnx", name="Located")
    assert (model.is_python_model, model.latest_model_version.status) == (False, "PENDING")
    described = yard.call("describeModel", "GET", modelId=model.model_id)
    assert described["location"] == {"location": f"file://{place}/first.onnx", "artifactNames": {}}
    assert wait_for_end(yard, model.latest_model_version.model_version, 240)["status"] == "COMPLETE"
    (place / "first.onnx").write_bytes(b"broken since")
    again = client.create_model_version_from_files(model.model_id)
    assert wait_for_end(yard, again.model_version, 240)["status"] == "FAILED"
    (place / "first.onnx").unlink()
    gone = client.create_model_version_from_files(model.model_id)
    assert "no such file" in wait_for_end(yard, gone.model_version, 240)["error"]
    for action in ("updatePythonModel", "retrainModel", "updatePythonModelZip"):
        with pytest.raises(CallFailed, match="InvalidParameterError"):
            yard.call(action, modelId=model.model_id, memory=2)
    (place / "checks.json").write_text(json.dumps([{"input": {"a": 0.5, "b": 0.25}, "output": {"variable": [2.0]}}]))
    (place / "second").write_bytes((FILES / "linear.onnx").read_bytes())
    named = client.create_model_from_files(
        make_project(yard),
        f"file://{place}/",
        custom_artifact_filenames={"model": "second", "verifications": "checks.json"},
        model_config={"format": "ONNX"},
    )
    assert wait_for_end(yard, named.latest_model_version.model_version, 240)["status"] == "COMPLETE"


def test_what_cannot_be_imported_is_refused_at_once(shared_yard: Yard) -> None:
    yard, project_id = shared_yard, make_project(shared_yard)
    for given, said in (
        ({"location": "file:///etc/passwd.onnx"}, "file_roots"),
        ({"location": "file:///x/"}, "customArtifactFilenames"),
        ({"location": "s3://b/", "customArtifactFilenames": {"model": "../x.onnx"}}, "plain file name"),
        ({"location": "s3://b/", "customArtifactFilenames": {"model": "x.onnx", "embeddings": "y"}}, "no artifact"),
        ({"location": "s3://b/model.bin"}, "ONNX, XGBOOST"),
        ({"location": "s3://b/m.onnx", "modelConfig": {"frmat": "ONNX"}}, "Its keys are"),
        ({"location": "s3://b/m.onnx", "modelConfig": {"requirements": ["x @ file:///y"]}}, "x @ file"),
        ({"location": "s3://bucket/m.onnx"}, "no file connector"),
    ):
        with pytest.raises(CallFailed, match=said):
            yard.call("createModelFromFiles", projectId=project_id, **given)
    with pytest.raises(CallFailed, match="was not imported"):
        yard.call("createModelVersionFromFiles", modelId=make_model(yard)["modelId"])


def test_a_cancelled_upload_ends_its_version(shared_yard: Yard) -> None:
    upload = shared_yard.client().create_model_from_local_files(
        make_project(shared_yard), model_config={"format": "ONNX"}
    )
    shared_yard.call("cancelUpload", "DELETE", uploadId=upload.model_upload_id)
    assert wait_for_end(shared_yard, upload.model_version)["error"] == "An upload of its files was cancelled."
