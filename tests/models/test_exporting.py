"""A trained version as a zip that runs elsewhere: served by its own small server, opened as MLflow opens it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from modelyard.clock import utc_now
from modelyard.ids import new_id
from modelyard.settings import Settings
from modelyard.upkeep.expiring import expire
from tests.connectors.conftest import SECRETS, Buckets
from tests.models.house import make_model, make_table, wait_for_end
from tests.models.trees import FILES, NAMES, send, wait_for_code, zipped
from tests.yard import CallFailed, Yard

SOURCE = """
import json
import os
import signal
import socket
from pathlib import Path

from units import SCALE


class Line:
    def __init__(self, slope):
        self.slope = slope


def train(rows):
    Path("offset.json").write_text(json.dumps(7))
    Path("metrics.json").write_text(json.dumps({"rmse": 0.5}))
    return Line(SCALE * len(rows))


def initialize(model):
    model.offset = json.loads(Path("offset.json").read_text())
    return model


def predict(model, query, rows, more=0):
    import numpy as np

    return {"y": np.float64(model.slope * query["x"] + model.offset + more), "rows": len(rows)}
"""


@pytest.fixture(scope="module")
def trained(shared_yard: Yard) -> dict[str, Any]:
    """A complete version that has a module, files, metrics, an initialize, and a predict that takes the table."""
    shared_yard.call("createModule", name="units", sourceCode="SCALE = 2\n")
    make_table(shared_yard, "exported_rows", {"a": [1, 2, 3]})
    model = make_model(
        shared_yard,
        functionSourceCode=SOURCE,
        trainingInputTables=["exported_rows"],
        initializeFunctionName="initialize",
    )
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "COMPLETE", version["error"]
    return version


def _downloaded(yard: Yard, model_version: str, folder: Path) -> Path:
    """The export unpacked."""
    export = yard.client().export_custom_model_version(model_version, "")
    export.wait_for_results()
    done = export.describe()
    assert (done.status, done.error) == ("COMPLETE", None)
    link = yard.call(
        "getModelArtifactsExportDownloadUrl", "GET", modelArtifactsExportId=done.model_artifacts_export_id
    )["downloadUrl"]
    answer = requests.get(link, timeout=60)
    assert answer.status_code == 200
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(folder)
    return folder


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-I", str(folder / "serve.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def _ask(url: str, **body: object) -> Any:
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as answer:
        return json.loads(answer.read())["result"]


def test_an_export_serves_elsewhere_as_the_platform_does(
    shared_yard: Yard, trained: dict[str, Any], tmp_path: Path
) -> None:
    folder = _downloaded(shared_yard, trained["modelVersion"], tmp_path)
    assert json.loads((folder / "metrics.json").read_text())["metrics"] == {"rmse": 0.5}
    assert (folder / "code" / "model.py").read_text() == SOURCE
    assert "--hash=sha256:" in (folder / "requirements.lock").read_text()
    assert "pandas==" in (folder / "requirements.txt").read_text()
    with _served(folder) as url:
        assert _ask(f"{url}/predict", queryData={"x": 1}) == {"y": 13.0, "rows": 3}
        assert _ask(f"{url}/predict", queryData={"x": 1}, more=1) == {"y": 14.0, "rows": 3}
        assert [each["y"] for each in _ask(f"{url}/predictMultiple", queryData=[{"x": 0}, {"x": 2}])] == [7.0, 19.0]
        assert urllib.request.urlopen(f"{url}/health", timeout=30).status == 200
        assert requests.post(f"{url}/predict", data="no", timeout=30).status_code == 400
        assert requests.post(f"{url}/predict", json={"queryData": {}}, timeout=30).status_code == 500


def test_an_export_of_several_files_serves_too(shared_yard: Yard, tmp_path: Path) -> None:
    yard = shared_yard
    model = make_model(yard)
    send(yard, yard.call("updatePythonModelZip", modelId=model["modelId"], **NAMES)["uploadId"], zipped(FILES))
    wait_for_code(yard, model["modelId"])
    begun = yard.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
    assert wait_for_end(yard, begun)["status"] == "COMPLETE"
    with _served(_downloaded(yard, begun, tmp_path)) as url:
        assert _ask(f"{url}/predict", queryData={"x": 2}) == 16
        assert _ask(f"{url}/predictMultiple", queryData=[{"x": 0}, {"x": 1}]) == [10, 13]


def test_the_same_version_gives_the_same_bytes_and_exports_are_listed(
    shared_yard: Yard, trained: dict[str, Any]
) -> None:
    client, digests, found = shared_yard.client(), set(), {"downloadUrl": ""}
    for _ in range(2):
        export = client.export_custom_model_version(trained["modelVersion"], "", algorithm=trained["modelId"])
        export.wait_for_results()
        found = shared_yard.call(
            "getModelArtifactsExportDownloadUrl", "GET", modelArtifactsExportId=export.model_artifacts_export_id
        )
        digests.add(requests.get(found["downloadUrl"], timeout=60).content)
    assert len(digests) == 1
    listed = client.list_model_artifacts_exports(trained["modelId"], limit=2)
    assert [each.status for each in listed] == ["COMPLETE", "COMPLETE"]
    tampered = found["downloadUrl"].replace("model.", "model.0", 1)
    assert requests.get(tampered, timeout=30).status_code == 403


def test_an_export_goes_to_a_bucket_from_each_kind_of_database(
    settings: Settings, database_url: str, buckets: Buckets
) -> None:
    reachable = msgspec.structs.replace(settings, database_url=database_url, allowed_networks=("127.0.0.1/32",))
    bucket = f"models-{new_id()}"
    buckets.put(bucket)
    with Yard(reachable) as yard:
        options = {"endpoint": buckets.endpoint, "region": "us-east-1"}
        yard.call("createFileConnector", bucket=f"s3://{bucket}", options=options, secrets=SECRETS)
        model = make_model(yard, name="Concrete")
        version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])["modelVersion"]
        export = yard.client().export_custom_model_version(version, f"s3://{bucket}/out/")
        export.wait_for_results()
        assert export.describe().status == "COMPLETE", export.describe()
    assert zipfile.is_zipfile(io.BytesIO(buckets.get(bucket, "out/concrete-v1.zip")))


def test_an_export_is_kept_for_a_while_and_can_be_asked_for_again(shared_yard: Yard, trained: dict[str, Any]) -> None:
    export = shared_yard.client().export_custom_model_version(trained["modelVersion"], "")
    export.wait_for_results()
    asked = {"modelArtifactsExportId": export.model_artifacts_export_id}
    link = shared_yard.call("getModelArtifactsExportDownloadUrl", "GET", **asked)["downloadUrl"]
    with shared_yard.database.write() as session:
        assert expire(session, utc_now() + timedelta(days=1), 1.0) > 0
    assert requests.get(link, timeout=30).status_code == 404


def test_an_export_goes_to_a_folder_that_the_operator_opened(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    with Yard(msgspec.structs.replace(settings, file_write_roots=(place,))) as yard:
        model = make_model(yard, name="Concrete & steel")
        version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])["modelVersion"]
        first = yard.client().export_custom_model_version(version, f"file://{place}/")
        first.wait_for_results()
        assert first.describe().status == "COMPLETE", first.describe()
        assert zipfile.is_zipfile(place / "concrete-steel-v1.zip")
        again = yard.client().export_custom_model_version(version, f"file://{place}/")
        again.wait_for_results()
        assert "There is a file" in again.describe().error
        for location in ("file:///etc/", f"file://{place}/x", "s3://nobody/", "nowhere"):
            with pytest.raises(CallFailed, match="InvalidParameterError"):
                yard.call("exportCustomModelVersion", modelVersion=version, outputLocation=location)
        with pytest.raises(CallFailed, match="algorithm"):
            yard.call("exportCustomModelVersion", modelVersion=version, algorithm="another")
        with pytest.raises(CallFailed, match="nothing is kept here"):
            yard.call(
                "getModelArtifactsExportDownloadUrl", "GET", modelArtifactsExportId=first.model_artifacts_export_id
            )
        yard.call("deleteModel", "DELETE", modelId=model["modelId"])
        with pytest.raises(CallFailed, match="DataNotFoundError"):
            yard.call("describeModelArtifactsExport", "GET", modelArtifactsExportId=first.model_artifacts_export_id)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("MLFLOW_PYTHON"), reason="MLFLOW_PYTHON names no Python with mlflow and pandas")
def test_mlflow_opens_and_serves_an_export(shared_yard: Yard, trained: dict[str, Any], tmp_path: Path) -> None:
    folder, python = _downloaded(shared_yard, trained["modelVersion"], tmp_path), os.environ["MLFLOW_PYTHON"]
    code = (
        f"import mlflow.pyfunc, pandas; m = mlflow.pyfunc.load_model({str(folder)!r}); "
        "print([each['y'] for each in m.predict(pandas.DataFrame({'x': [0, 1]}))])"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[7.0, 13.0]"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["models", "serve", "-m", str(folder), "--env-manager", "local", "--port", str(port)]
    environ = os.environ | {"PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen([python, "-m", "mlflow", *words], env=environ, start_new_session=True) as process:
        try:
            url, body = f"http://127.0.0.1:{port}", {"dataframe_records": [{"x": 0}, {"x": 1}]}
            retries = requests.adapters.Retry(connect=60, backoff_factor=0.2, backoff_max=2)
            with requests.Session() as session:
                session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
                answer = session.post(f"{url}/invocations", json=body, timeout=60).json()
            assert [each["y"] for each in answer["predictions"]] == [7.0, 13.0]
        finally:
            os.killpg(process.pid, signal.SIGTERM)
