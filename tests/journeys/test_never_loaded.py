"""Through a whole life of a model, nothing that a user handed over is unpickled, compiled or run outside of a guest."""

import io
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import abacusai
import pandas as pd
import pytest

from tests.conftest import shared_cache
from tests.journeys.audited_house import MARKER

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

SOURCE = f'''
"""{MARKER}"""
WORDS = "{MARKER}"

class Bomb:
    """Unpickled anywhere, it says so."""

    def __reduce__(self):
        return print, ("{MARKER}",)

def rows(table):
    return table[table["x"] > 1].assign(y=len(WORDS))

def train(table):
    print(WORDS, len(table))
    return [Bomb(), int(table["x"].sum())]

def predict(model, query):
    return model[1] + query["x"], WORDS
'''


def test_gateway_and_agent_never_load_what_a_user_made(home: Path) -> None:
    command = [sys.executable, "-m", "tests.journeys.audited_house", str(home), str(shared_cache())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as house:
        assert house.stdin
        assert house.stdout
        try:
            there = json.loads(house.stdout.readline())
            live(abacusai.ApiClient(there["key"], server=there["url"]))
            house.stdin.close()
            said = json.loads(house.stdout.read())
        finally:
            house.kill()
    assert said == {"noticed": [], "loaded": []}


def test_the_hook_notices_what_it_is_there_for() -> None:
    code = f"""
import pickle, sys
from tests.journeys import audited_house
sys.addaudithook(audited_house.hook)
pickle.loads(pickle.dumps(pickle.Pickler))
exec("x = {MARKER!r}")
print(len(audited_house.noticed), audited_house.noticed)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "unpickled ('_pickle', 'Pickler')" in said
    assert "compiled" in said
    assert "executed" in said


def live(client: abacusai.ApiClient) -> None:
    project = client.create_project(f"Life {MARKER}", "PYTHON_MODEL")
    group = client.create_feature_group_from_pandas_df("raw", pd.DataFrame({"x": [1, 2, 3], "s": [MARKER] * 3}))
    group.wait_for_upload()
    client.create_feature_group_from_function("chosen", SOURCE, "rows", input_feature_groups=["raw"])
    assert client.execute_feature_group_sql(f"SELECT x, '{MARKER}' AS s FROM raw").shape == (3, 2)
    refused = client.create_dataset_from_upload("pickled")
    refused.upload_file(io.BytesIO(pickle.dumps({"x": MARKER})))
    model = client.create_model_from_python(project.project_id, SOURCE, "train", ["chosen"], "predict")
    model.wait_for_training()
    version = client.describe_model(model.model_id).latest_model_version
    assert version.status == "COMPLETE", version.error
    client.update_python_model(model.model_id, function_source_code=SOURCE + "\n# again\n")
    token = client.create_deployment_token(project.project_id).deployment_token
    deployment = client.create_deployment(model_id=model.model_id)
    deployment.wait_for_deployment()
    assert client.predict(token, deployment.deployment_id, {"x": 1}) == [6, MARKER]
    batch = client.create_batch_prediction(deployment.deployment_id)
    started = client.start_batch_prediction(batch.batch_prediction_id)
    deadline = time.monotonic() + 60
    while started.status not in ("COMPLETE", "FAILED") and time.monotonic() < deadline:
        started = client.describe_batch_prediction_version(started.batch_prediction_version)
    assert started.status == "COMPLETE"
