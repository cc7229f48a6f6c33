"""The installed official client against our table of actions: verbs, parameter names, and where each is sent."""

import pytest

from modelyard.actions import Action, FileBytes, RawBytes
from modelyard.app import all_actions
from tests.contract.groups import WHOLE
from tests.contract.sdk import SdkAction, read_actions

OURS = all_actions()
SDK = read_actions()
SHARED = sorted(OURS.keys() & SDK.keys())

#: The 57 actions of the official walk from source to prediction, and the seven more that administer it.
NEEDED = [
    "version",
    "getApiEndpoint",
    "createProject",
    "describeProject",
    "listProjects",
    "deleteProject",
    "createDatasetFromUpload",
    "createDatasetVersionFromUpload",
    "uploadPart",
    "markUploadComplete",
    "describeUpload",
    "createDatasetFromFileConnector",
    "describeDataset",
    "describeDatasetVersion",
    "describeFeatureGroup",
    "describeFeatureGroupByTableName",
    "createFeatureGroup",
    "createFeatureGroupFromFunction",
    "createFeatureGroupVersion",
    "listFeatureGroupVersions",
    "describeFeatureGroupVersion",
    "getFeatureGroupSchema",
    "getMaterializationLogs",
    "_getFeatureGroupVersionParts",
    "_downloadFeatureGroupVersionPartChunk",
    "executeAsyncFeatureGroupOperation",
    "describeAsyncFeatureGroupOperation",
    "_getExecuteFeatureGroupOperationResultParts",
    "downloadExecuteFeatureGroupOperationResultPartChunk",
    "createModelFromPython",
    "updatePythonModel",
    "retrainModel",
    "describeModel",
    "describeModelVersion",
    "listModels",
    "listModelVersions",
    "getTrainingLogs",
    "deleteModel",
    "createDeploymentToken",
    "createDeployment",
    "describeDeployment",
    "listDeployments",
    "startDeployment",
    "stopDeployment",
    "deleteDeployment",
    "setDeploymentModelVersion",
    "setAutoDeployment",
    "predict",
    "predictMultiple",
    "createBatchPrediction",
    "setBatchPredictionDatasetRemap",
    "startBatchPrediction",
    "describeBatchPrediction",
    "describeBatchPredictionVersion",
    "downloadBatchPredictionResultChunk",
    "createRefreshPolicy",
    "listRefreshPolicies",
    "listDeploymentTokens",
    "deleteDeploymentToken",
    "renameModel",
    "renameProject",
    "listApiKeys",
    "deleteApiKey",
    "describeUser",
]

#: Parameters of ours that the client doesn't send: what its older releases or the documentation send, and the pages of
#: lists that it takes as a whole.
EXTRA: dict[str, set[str]] = {
    "listModels": {"limit", "startAfterId"},
    "listDeployments": {"limit", "startAfterId"},
}


def test_how_many_of_the_clients_actions_exist() -> None:
    print(f"\n{len(SHARED)} of the official client's {len(SDK)} actions exist here; {len(OURS)} actions in all")
    assert len(SDK) > 500


@pytest.mark.parametrize("name", NEEDED)
def test_every_needed_action_exists(name: str) -> None:
    assert name in OURS


@pytest.mark.parametrize(("group", "count"), [
    ("projects", 21), ("datasets and uploads", 26), ("feature groups", 37), ("versions, SQL, download, export", 24),
    ("rows online", 9), ("Python functions and modules", 10), ("connectors", 19), ("refresh policies", 10),
])  # fmt: skip
def test_a_group_of_actions_is_here_as_a_whole(group: str, count: int) -> None:
    assert len(WHOLE[group]) == count
    assert set(WHOLE[group]) <= set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_an_action_is_called_as_the_client_calls_it(name: str) -> None:
    ours, sdk = OURS[name], SDK[name]
    assert sdk.verbs <= set(ours.verbs)
    assert not sdk.by_proxy or ours.proxy, "the client calls it by the proxy base"
    assert sdk.streams == (ours.result in (FileBytes, RawBytes) or _may_stream(ours)), "raw bytes or an envelope?"


@pytest.mark.parametrize("name", SHARED)
def test_an_action_takes_exactly_what_the_client_sends(name: str) -> None:
    ours, sdk = {parameter.wire_name for parameter in OURS[name].parameters}, SDK[name]
    assert sdk.parameters <= ours, "the client sends what we don't take"
    if not sdk.open_ended:
        assert ours - sdk.parameters <= EXTRA.get(name, set()), "we take what the client never sends"


@pytest.mark.parametrize("name", SHARED)
def test_required_parameters_are_always_sent(name: str) -> None:
    required = {parameter.wire_name for parameter in OURS[name].parameters if parameter.required}
    assert required <= SDK[name].parameters


def test_the_openapi_document_says_where_the_client_sends_each_parameter() -> None:
    from modelyard.api.openapi import document

    paths = document(OURS)["paths"]
    for name in SHARED:
        operation = paths[f"/api/v0/{name}"][OURS[name].verb.lower()]
        in_query = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert _always_in_query(SDK[name], OURS[name]) <= in_query, name


def _always_in_query(sdk: SdkAction, ours: Action) -> set[str]:
    return sdk.query if ours.verb in ("GET", "DELETE") else set()


def _may_stream(action: Action) -> bool:
    return bool({FileBytes, RawBytes} & set(getattr(action.result, "__args__", ())))
