"""Every key of the page "updatePythonModel" is in every answer, at every level. `documented_keys.json` is its list.

The SDK's class attributes `_SUPPORT_KWARGS` and `_UPPER_SNAKE_CASE_KEYS`, which the page lists too, are no keys of an
answer: the SDK itself can't read one that has them.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import abacusai
import msgspec
import pytest
from abacusai.api_class import TrainingConfig

from modelyard.models import wire
from tests.models.house import SOURCE, make_model, wait_for_end
from tests.yard import Yard

KEYS: dict[str, list[str]] = json.loads((Path(__file__).parent / "documented_keys.json").read_text())
NESTED = {
    "latestModelVersion": "ModelVersion", "codeSource": "CodeSource", "modelConfig": "TrainingConfig",
    "deployableAlgorithms": "DeployableAlgorithm", "location": "ModelLocation", "refreshSchedules": "RefreshSchedule",
    "databaseConnector": "DatabaseConnector",
}  # fmt: skip
ATTRIBUTES = {"_SUPPORT_KWARGS", "_UPPER_SNAKE_CASE_KEYS"}


def check_keys(answer: dict[str, Any], kind: str = "Model") -> None:
    missing = set(KEYS[kind]) - set(answer) - ATTRIBUTES
    assert not missing, f"{kind} lacks {missing}"
    if kind in ("Model", "ModelVersion"):
        known = set(inspect.signature(getattr(abacusai, kind).__init__).parameters) - {"self", "client"}
        assert known <= set(answer), f"{kind} lacks the SDK's {known - set(answer)}"
    for name, value in answer.items():
        for each in value if isinstance(value, list) else [value]:
            if name in NESTED and each is not None:
                check_keys(each, NESTED[name])


def test_every_key_is_there_after_create_update_and_describe(desk: Yard) -> None:
    model = make_model(desk)
    policy = {"name": "weekly", "cron": "0 6 * * 1", "refreshType": "MODEL", "projectId": model["projectId"]}
    desk.call("createRefreshPolicy", modelIds=[model["modelId"]], **policy)
    updated = desk.call("updatePythonModel", modelId=model["modelId"], memory=2)
    assert updated["refreshSchedules"][0]["cron"] == "0 6 * * 1"
    described = desk.call("describeModel", "GET", modelId=model["modelId"], waitForFullAutoml=True)
    assert described == updated
    for answer in (model, updated, *desk.call("listModels", "GET", projectId=model["projectId"])):
        check_keys(answer)
    for version in desk.call("listModelVersions", "GET", modelId=model["modelId"]):
        check_keys(version, "ModelVersion")


@pytest.mark.sandbox
@pytest.mark.parametrize("broken", [False, True])
def test_every_key_is_there_after_a_training_and_after_a_failed_one(yard: Yard, broken: bool) -> None:
    source = SOURCE.replace('print("training")', "1 / 0") if broken else SOURCE
    model = make_model(yard, functionSourceCode=source)
    version = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])
    check_keys(version, "ModelVersion")
    assert version["status"] == ("FAILED" if broken else "COMPLETE")
    assert version["automlComplete"] is True
    assert len(version["deployableAlgorithms"]) == (0 if broken else 1)
    check_keys(yard.call("describeModel", "GET", modelId=model["modelId"]))


@pytest.mark.parametrize(
    ("shape", "kind"),
    [(wire.DatabaseConnectorShape, "DatabaseConnector"), (wire.ModelLocationShape, "ModelLocation")],
)
def test_what_a_python_model_never_has_is_described_all_the_same(shape: type[msgspec.Struct], kind: str) -> None:
    assert set(KEYS[kind]) <= {field.encode_name for field in msgspec.structs.fields(shape)}


def test_the_sdk_can_not_read_its_own_class_attributes() -> None:
    for name in ATTRIBUTES:
        with pytest.raises(TypeError):
            TrainingConfig.from_dict({"PROBLEM_TYPE": "trainable_plug_and_play", name: True})


def test_the_sdk_reads_a_model_into_its_own_classes(desk: Yard) -> None:
    model = make_model(desk, trainingConfig={"TIMEOUT_MINUTES": 5, "LR": 0.1})
    read = desk.client().describe_model(model["modelId"])
    assert isinstance(read, abacusai.Model)
    assert isinstance(read.latest_model_version, abacusai.ModelVersion)
    assert type(read.model_config).__name__ == "CustomAlgorithmTrainingConfig"
    assert read.model_config.timeout_minutes == 5
    assert read.model_config.kwargs == {"LR": 0.1}
    again = desk.client().update_python_model(model["modelId"], training_config=read.model_config)
    assert again.model_config.kwargs == {"LR": 0.1}
    assert again.latest_model_version.training_config_updated is True or again.model_config.timeout_minutes == 5
