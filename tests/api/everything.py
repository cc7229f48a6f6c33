"""One object of every kind in an organisation, and which of them each id parameter of an action means.

The table `MEANING` is what the tests that try every action stand on: a new id parameter that is not in it fails them,
so that no action is forgotten.
"""

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NewType, get_args

import requests

from modelyard.accounts.first_run import add_organization, add_user
from modelyard.accounts.keys import create_key
from modelyard.actions import Action, Parameter
from modelyard.clock import utc_now
from modelyard.ids import ModelId, OrganizationId, ProjectId, new_id
from modelyard.observability.records import PredictionLog
from tests.deployments.conftest import Workshop
from tests.models.house import make_table
from tests.yard import Yard

#: A lock that can be read; nothing is installed from it.
LOCK = f"numpy==1.0 --hash=sha256:{'0' * 64}\n"
SOURCE = "def train(*tables):\n    return 1\n\ndef predict(model, query):\n    return 1\n"


@dataclass(frozen=True)
class Everything:
    """One organisation's objects, by the wire name of a parameter that means one."""

    yard: Yard
    organization_id: OrganizationId
    ids: dict[str, str]
    #: Name of a table that is there, and whose feature group has a complete version.
    table_name: str

    def value(self, name: str) -> object:
        """A value for that id parameter, in the form in which it takes it."""
        return MEANING[name](self)


def one(kind: str) -> Callable[[Everything], object]:
    return lambda house: house.ids[kind]


def many(kind: str) -> Callable[[Everything], object]:
    return lambda house: [house.ids[kind]]


def table(house: Everything) -> object:
    return house.table_name


#: What each parameter that names an object means.
MEANING: dict[str, Callable[[Everything], object]] = {
    **{
        kind: one(kind)
        for kind in (
            "apiKeyId", "applicationConnectorId", "batchPredictionId", "batchPredictionVersion", "databaseConnectorId",
            "datasetId", "datasetVersion", "deploymentId", "deploymentToken",
            "featureGroupExportId", "featureGroupId", "featureGroupOperationRunId", "featureGroupVersion",
            "modelArtifactsExportId", "modelId",
            "modelRevision", "modelValidation", "modelVersion", "projectId", "refreshPipelineRunId",
            "refreshPolicyId", "streamingToken",
            "uploadId",
        )
    },
    "sinceProjectId": one("projectId"),
    "lastLogRequestId": one("requestId"),
    "baseModelRevision": one("modelRevision"),
    "startAfterRevision": one("modelRevision"),
    "baseModelVersion": one("modelVersion"),
    "batchPredictionIds": many("batchPredictionId"),
    "datasetIds": many("datasetId"),
    "deploymentIds": many("deploymentId"),
    "featureGroupIds": many("featureGroupId"),
    "modelIds": many("modelId"),
    "datasetIdRemap": lambda house: {house.ids["datasetId"]: house.ids["datasetId"]},
    "sourceFeatureGroupId": one("featureGroupId"),
    "inputFeatureGroups": lambda house: {"ROWS": house.ids["featureGroupId"]},
    "trainingInputTables": lambda house: [house.table_name],
    "tableName": table,
    "sql": lambda house: f"SELECT * FROM {house.table_name}",
    "query": lambda house: f"SELECT * FROM {house.table_name}",
}  # fmt: skip
#: Parameters that mean another thing in one action than elsewhere.
MEANING_IN: dict[tuple[str, str], Callable[[Everything], object]] = {
    ("listProjects", "startAfterId"): one("projectId"),
    ("listProjectsDashboard", "sinceProjectId"): one("projectId"),
    ("listDatasets", "startAfterId"): one("datasetId"),
    ("listFeatureGroups", "startAfterId"): one("featureGroupId"),
    ("listProjectFeatureGroups", "startAfterId"): one("featureGroupId"),
    ("listModels", "startAfterId"): one("modelId"),
    ("listDeployments", "startAfterId"): one("deploymentId"),
    ("listModelVersions", "startAfterVersion"): one("modelVersion"),
    ("listDatasetVersions", "startAfterVersion"): one("datasetVersion"),
    ("listFeatureGroupVersions", "startAfterVersion"): one("featureGroupVersion"),
    ("listBatchPredictionVersions", "startAfterVersion"): one("batchPredictionVersion"),
    ("createFeatureGroupFromFunction", "inputFeatureGroups"): lambda house: [house.table_name],
}
#: Things that this platform has none of: their ids are refused, or passed over, whatever they say.
ABSENT = {
    "environmentId",  # made by an agent only; tests/upkeep tries another organisation's
    "featureGroupTemplateId", "modelMonitorIds", "notebookId", "notebookIds",
    "predictionOperatorId",
}  # fmt: skip
#: Where a parameter names what is to be made, and so means nothing that is there.
MAKES = {
    ("createDatasetFromFileConnector", "tableName"), ("createDatasetFromUpload", "tableName"),
    ("createFeatureGroup", "tableName"), ("createFeatureGroupFromFunction", "tableName"),
    ("createDatasetFromDatabaseConnector", "tableName"), ("queryDatabaseConnector", "query"),
    ("createBatchPrediction", "tableName"), ("setBatchPredictionFeatureGroupOutput", "tableName"),
    ("createSamplingFeatureGroup", "tableName"), ("createMergeFeatureGroup", "tableName"),
    ("createSnapshotFeatureGroup", "tableName"), ("exportModelArtifactAsFeatureGroup", "tableName"),
    ("createOnlineFeatureGroup", "tableName"), ("createStreamingDataset", "tableName"),
}  # fmt: skip


def names_an_object(parameter: Parameter) -> bool:
    """Whether the parameter's type or name says that it takes an id or the name of a table."""
    if any(isinstance(kind, NewType) for kind in _opened(parameter.type)):
        return True
    name = parameter.wire_name
    ends = ("Id", "Ids", "Token", "IdRemap", "FeatureGroups", "InputTables", "TableName", "AfterVersion")
    return name in ("tableName", "sql", "query") or name.endswith(ends)


def meaning_of(action: Action, parameter: Parameter) -> Callable[[Everything], object] | None:
    """What the parameter means in that action; None where it means nothing that is there."""
    if parameter.wire_name in ABSENT or (action.name, parameter.wire_name) in MAKES:
        return None
    found = MEANING_IN.get((action.name, parameter.wire_name)) or MEANING.get(parameter.wire_name)
    assert found, (
        f"{action.name} takes {parameter.wire_name}, which names an object: say in tests/api/everything.py which "
        "(MEANING), so that another organisation's is tried there too"
    )
    return found


#: Values for required parameters that name nothing.
PLAIN: dict[str, Callable[[Everything], object]] = {
    "name": lambda _: "Another name",
    "useCase": lambda _: "PYTHON_MODEL",
    "functionSourceCode": lambda _: SOURCE,
    "pythonFunctionName": lambda _: "a_function",
    "pythonFunctionBindings": lambda _: [],
    "trainFunctionName": lambda _: "train",
    "predictionConfig": lambda _: {"more": 1},
    "trainModuleName": lambda _: "package.training",
    "trainingConfig": lambda _: {"LR": 1},
    "predictionArguments": lambda _: {"depth": 1},
    "featureGroupType": lambda _: "ROWS",
    "featureType": lambda _: "NUMERICAL",
    "cron": lambda _: "0 4 * * *",
    "refreshType": lambda _: "MODEL",
    "location": lambda _: "file:///nowhere.csv",
    "exportFileFormat": lambda _: "CSV",
    "objectName": lambda _: "rows_there",
    "writeMode": lambda _: "REPLACE",
    "databaseFeatureMapping": lambda _: {},
    "enable": lambda _: False,
    "startDate": lambda _: "2026-03-01",
    "endDate": lambda _: "2026-03-02",
    "part": lambda _: 0,
    "partNumber": lambda _: 1,
    "problemType": lambda _: "regression",
    "tags": lambda _: ["green"],
    "samplingConfig": lambda _: {"samplingMethod": "N_SAMPLING", "sampleCount": 1},
    "mergeConfig": lambda _: {"mergeMode": "LAST_N", "numVersions": 2},
    "column": lambda _: "x",
    "dataType": lambda _: "FLOAT",
    "featureExpression": lambda _: "",
    "selectExpression": lambda _: "x + 1",
    "schema": lambda _: [{"name": "x", "dataType": "FLOAT"}],
    "mergeType": lambda _: "UNION",
    "versionLimit": lambda _: 30,
    "tag": lambda _: "green",
    "text": lambda _: "rows",
    "feature": lambda _: "x",
    "featureName": lambda _: "x",
    "email": lambda _: "nobody@localhost",
    "auth": lambda _: {"url": "https://localhost/code.git"},
    "bucket": lambda _: "s3://bucket",
    "connectionString": lambda _: "AccountName=account;AccountKey=a2V5",
    "service": lambda _: "POSTGRESQL",
    "primaryKey": lambda _: "id",
    "queryData": lambda _: {"x": 1},
    "data": lambda _: {"id": "1"},
    "options": lambda _: {"maxReplicas": 2},
    "percent": lambda _: 10,
}
#: As above, where a name means another thing in one action than elsewhere.
PLAIN_IN: dict[tuple[str, str], object] = {("appendMultipleData", "data"): [{"id": "1"}]}


def valid_values(action: Action, mine: Everything) -> dict[str, Any]:
    """Values for every required parameter that would do, all of that organisation."""
    values: dict[str, Any] = {}
    for parameter in action.parameters:
        if not parameter.required or parameter.wire_name == "partData":
            continue
        name = parameter.wire_name
        if (action.name, name) in MAKES:
            values[name] = "a_new_table"
        elif name in PLAIN:
            values[name] = PLAIN_IN.get((action.name, name)) or PLAIN[name](mine)
        else:
            assert names_an_object(parameter), f"{action.name} requires {name}: give a value for it in PLAIN"
            means = meaning_of(action, parameter)
            values[name] = means(mine) if means else "0"
    return values


def ask(yard: Yard, action: Action, values: dict[str, Any], key: str | None = None) -> requests.Response:
    """The answer to the action over real HTTP, whatever it is."""
    url, headers = f"{yard.url}/api/v0/{action.name}", {"apiKey": key or yard.key}
    if any(parameter.wire_name == "partData" for parameter in action.parameters):
        data = {name: str(value) for name, value in values.items() if name != "partData"}
        files = {"partData": ("part", io.BytesIO(b"a\n1\n"))}
        return requests.post(url, data=data, files=files, headers=headers, timeout=60)
    if action.verb in ("GET", "DELETE"):
        texts = {name: value if isinstance(value, str) else _json(value) for name, value in values.items()}
        return requests.request(action.verb, url, params=texts, headers=headers, timeout=60)
    return requests.request(action.verb, url, data=_json(values), headers=headers, timeout=60)


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def logged_call(deployment_id: str, request_id: str) -> PredictionLog:
    """A call in the deployment's log."""
    return PredictionLog(
        deployment_id=deployment_id, timestamp_ms=1, request_id=request_id, action="predict", status=200, took_us=1,
        query_size=2, query=b"{}", response_size=1, response=b"1",
    )  # fmt: skip


def make_everything(yard: Yard, organization_id: OrganizationId, prefix: str) -> Everything:
    """Makes one of each in the organisation whose key the yard calls with. No agent is needed."""
    table_name = f"{prefix}_rows"
    group_id = make_table(yard, table_name, {"x": [1, 2]}, organization_id)
    versions = yard.call("listFeatureGroupVersions", "GET", featureGroupId=group_id)
    upload = yard.call("createDatasetFromUpload", tableName=f"{prefix}_uploaded")
    project_id = yard.call("createProject", name=prefix, useCase="PYTHON_MODEL")["projectId"]
    bench = Workshop(yard.database, yard.settings, organization_id, LOCK, yard, ProjectId(project_id))
    model = yard.call(
        "createModelFromPython", projectId=project_id, functionSourceCode=SOURCE, trainFunctionName="train",
        predictFunctionName="predict", trainingInputTables=[table_name],
    )  # fmt: skip
    yard.call("updatePythonModel", modelId=model["modelId"], memory=2)
    revisions = yard.call("listModelRevisions", "GET", modelId=model["modelId"])
    model_version = bench.make_version(model_id=ModelId(model["modelId"]))
    deployment_id = yard.call("createDeployment", modelVersion=model_version, start=False)["deploymentId"]
    token = bench.token()
    request_id = new_id()
    with yard.database.write() as session:
        session.add(logged_call(deployment_id, request_id))
    batch = yard.call("createBatchPrediction", deploymentId=deployment_id, inputFeatureGroups={"ROWS": group_id})
    begun = yard.call("startBatchPrediction", batchPredictionId=batch["batchPredictionId"])
    policy = yard.call("createRefreshPolicy", cron="0 4 * * *", refreshType="MODEL", modelIds=[model["modelId"]])
    fired = yard.call("runRefreshPolicy", refreshPolicyId=policy["refreshPolicyId"])
    yard.call("addFeatureGroupToProject", featureGroupId=group_id, projectId=project_id)
    made = yard.call("createFeatureGroup", tableName=f"{prefix}_sql", sql=f"SELECT x FROM {table_name}")
    operation = yard.call("executeAsyncFeatureGroupOperation", query=f"SELECT x FROM {table_name}")
    auth = {"host": "localhost", "database": "shop", "user": "reader"}
    version = versions[0]["featureGroupVersion"]
    export = yard.call("exportFeatureGroupVersionToConsole", featureGroupVersion=version, exportFileFormat="CSV")
    database = yard.call("createDatabaseConnector", name="shop", service="POSTGRESQL", auth=auth)
    repository = yard.call("createApplicationConnector", name="code", auth={"url": "https://localhost/code.git"})
    ids = {
        "apiKeyId": yard.call("listApiKeys", "GET")[0]["apiKeyId"],
        "applicationConnectorId": repository["applicationConnectorId"],
        "batchPredictionId": batch["batchPredictionId"],
        "batchPredictionVersion": begun["batchPredictionVersion"],
        "databaseConnectorId": database["databaseConnectorId"],
        "datasetId": upload["datasetId"],
        "datasetVersion": upload["datasetVersion"],
        "deploymentId": deployment_id,
        "deploymentToken": token,
        "featureGroupExportId": export["featureGroupExportId"],
        "featureGroupId": group_id,
        "featureGroupOperationRunId": operation["featureGroupOperationRunId"],
        "featureGroupVersion": version,
        "modelId": model["modelId"],
        "modelArtifactsExportId": yard.call("exportCustomModelVersion", modelVersion=model_version)[
            "modelArtifactsExportId"
        ],
        "modelRevision": revisions[-1]["modelRevision"],
        "modelValidation": yard.call("validatePythonModel", modelId=model["modelId"])["modelValidation"],
        "modelVersion": model_version,
        "projectId": project_id,
        "refreshPipelineRunId": fired["refreshPipelineRunId"],
        "refreshPolicyId": policy["refreshPolicyId"],
        "requestId": request_id,
        "sqlFeatureGroupId": made["featureGroupId"],
        "streamingToken": yard.call("createStreamingToken")["streamingToken"],
        "uploadId": upload["uploadId"],
    }
    return Everything(yard, organization_id, ids, table_name)


def make_strangers(yard: Yard, name: str) -> tuple[Yard, OrganizationId]:
    """The same house as a user of a new organisation sees it."""
    with yard.database.write() as session:
        organization = add_organization(session, name, utc_now)
        user = add_user(session, organization, name, f"{name}@localhost", utc_now)
        key = create_key(session, user.user_id, "test", utc_now())[1]
    theirs = copy.copy(yard)
    theirs.key = key
    return theirs, organization.organization_id


def _opened(hint: Any) -> list[Any]:
    """The type and all types that it is made of."""
    return [hint, *(kind for member in get_args(hint) for kind in _opened(member))]
