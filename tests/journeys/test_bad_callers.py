"""What the official client raises for each way of asking wrongly, and that nothing is lost by it."""

from collections.abc import Callable

import abacusai
import pytest
import requests
from abacusai import client as sdk

from tests.models.house import SOURCE, make_table
from tests.yard import Yard

Ask = Callable[[abacusai.ApiClient, dict[str, str]], object]

WRONG: dict[str, tuple[Ask, str, str]] = {
    "unknown id": (lambda c, _: c.describe_model("0123456789"), "DataNotFoundError", "0123456789"),
    "an id of another kind": (lambda c, ids: c.describe_model(ids["project"]), "DataNotFoundError", "was not found"),
    "wrong type": (lambda c, ids: c.rename_model(ids["model"], {"a": 1}), "InvalidParameterError", "name"),
    "unknown enum": (
        lambda c, ids: c.update_python_model(ids["model"], cpu_size="enormous"),
        "InvalidEnumParameterError",
        "small, medium, large",
    ),
    "unknown parameter": (
        lambda c, ids: c._call_api("updatePythonModel", "POST", {}, {"modelId": ids["model"], "memoryGb": 2}),
        "InvalidParameterError",
        "memoryGb",
    ),
    "missing parameter": (
        lambda c, _: c._call_api("updatePythonModel", "POST", {}, {"memory": 2}), "MissingParameterError", "modelId",
    ),
    "absent table": (
        lambda c, ids: c.update_python_model(ids["model"], training_input_tables=["concret"]),
        "InvalidParameterError",
        "did you mean concrete?",
    ),
    "source that is none": (
        lambda c, ids: c.update_python_model(ids["model"], function_source_code="def train(:\n"),
        "ConflictError",
        "line 1",
    ),
    "requirement that is none": (
        lambda c, ids: c.update_python_model(ids["model"], package_requirements=["--index-url=http://x"]),
        "InvalidParameterError",
        "--index-url",
    ),
    "rows of a version that is not there": (
        lambda c, ids: c.download_batch_prediction_result_chunk(ids["model"]), "DataNotFoundError", "was not found",
    ),
    "a metric before its training": (
        lambda c, ids: c.get_model_metrics(ids["model"]), "NotReadyError", "no complete version",
    ),
    "an action that is not there": (
        lambda c, _: c._call_api("makeCoffee", "POST", {}, {}), "Generic404Error", "makeCoffee",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def things(shared_yard: Yard) -> dict[str, str]:
    """A project with a model whose training can only fail, for want of memory."""
    make_table(shared_yard, "concrete", {"x": [1]})
    project = shared_yard.call("createProject", name="Asked", useCase="PYTHON_MODEL")["projectId"]
    model = shared_yard.call(
        "createModelFromPython", projectId=project, functionSourceCode=SOURCE, trainFunctionName="train",
        predictFunctionName="predict", memory=1024,
    )  # fmt: skip
    return {"project": project, "model": model["modelId"]}


@pytest.mark.parametrize("way", WRONG)
def test_each_way_of_asking_wrongly_is_told_by_the_client(shared_yard: Yard, things: dict[str, str], way: str) -> None:
    ask, error_type, words = WRONG[way]
    client = shared_yard.client()
    before = shared_yard.call("describeModel", "GET", modelId=things["model"])
    with pytest.raises(getattr(sdk, error_type), match="Request ID") as raised:
        ask(client, things)
    assert words in str(raised.value)
    after = shared_yard.call("describeModel", "GET", modelId=things["model"])
    changing = ("latestModelVersion",)
    assert {k: v for k, v in before.items() if k not in changing} == {
        k: v for k, v in after.items() if k not in changing
    }


@pytest.mark.parametrize("way", ["uploadPart", "createProject", "predict"])
def test_a_body_of_a_gigabyte_is_refused_at_once_wherever_it_goes(shared_yard: Yard, way: str) -> None:
    kind = "multipart/form-data; boundary=x" if way == "uploadPart" else "application/json"
    headers = {"apiKey": shared_yard.key, "content-type": kind}
    token = "?deploymentId=0" if way == "predict" else ""
    request = requests.Request("POST", f"{shared_yard.url}/api/v0/{way}{token}", headers=headers, data=b"{}").prepare()
    request.headers["content-length"] = str(1024**3)
    answer = requests.Session().send(request, timeout=10)
    assert answer.status_code == (404 if way == "predict" else 413), answer.text


def test_a_wrong_key_is_told_by_the_client(shared_yard: Yard) -> None:
    client = shared_yard.client()
    client.api_key = "s2_" + "0" * 32
    with pytest.raises(sdk.GenericPermissionDeniedError, match="Invalid API Key"):
        client.list_projects()
    client.api_key = None
    with pytest.raises(sdk.GenericPermissionDeniedError, match="header apiKey"):
        client.list_projects()
