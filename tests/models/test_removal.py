"""What may be taken away, what may not, and what goes with it; and the small verbs."""

from typing import Any

import pytest
from sqlalchemy import func, select

from modelyard.ids import DeploymentId, ModelId, ModelVersionId, OrganizationId
from modelyard.models import versions
from modelyard.models.records import Model, ModelRevision, ModelText, ModelVersion
from tests.models.house import SOURCE, make_model, make_table
from tests.yard import CallFailed, Yard


def test_a_model_goes_with_its_revisions_versions_and_texts(desk_on: Yard) -> None:
    make_table(desk_on, "under_it", {"x": [1]})
    model = make_model(desk_on, trainingInputTables=["under_it"])
    desk_on.call("updatePythonModel", modelId=model["modelId"], functionSourceCode=SOURCE + "# more")
    desk_on.call("retrainModel", modelId=model["modelId"])
    desk_on.call("deleteModel", "DELETE", modelId=model["modelId"])
    with desk_on.database.read() as session:
        for record in (Model, ModelRevision, ModelVersion, ModelText):
            assert session.scalar(select(func.count()).select_from(record)) == 0
    desk_on.call("deleteProject", "DELETE", projectId=model["projectId"])


def test_a_text_that_another_model_has_too_stays(desk_on: Yard) -> None:
    first, second = make_model(desk_on), make_model(desk_on)
    desk_on.call("deleteModel", "DELETE", modelId=first["modelId"])
    assert desk_on.call("describeModel", "GET", modelId=second["modelId"])["sourceCode"] == SOURCE


def test_what_a_deployment_stands_on_is_not_deleted(desk: Yard) -> None:
    model = make_model(desk)
    version = ModelVersionId(model["latestModelVersion"]["modelVersion"])
    with desk.database.write() as session:
        versions.note_user(session, version, "deployment", "5232d96000", "Concrete online")
    for action, what in (
        ("deleteModel", {"modelId": model["modelId"]}),
        ("deleteModelVersion", {"modelVersion": version}),
    ):
        with pytest.raises(CallFailed, match=r"ConflictError.*deployment Concrete online \(5232d96000\)"):
            desk.call(action, "DELETE", **what)
    with desk.database.write() as session:
        versions.forget_user(session, None, "deployment", "5232d96000")
    desk.call("deleteModelVersion", "DELETE", modelVersion=version)
    assert desk.call("describeModel", "GET", modelId=model["modelId"])["latestModelVersion"] is None


def test_the_newest_version_is_the_newest_that_is_left(desk: Yard) -> None:
    model = make_model(desk)
    second = desk.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
    desk.call("deleteModelVersion", "DELETE", modelVersion=second)
    left = desk.call("describeModel", "GET", modelId=model["modelId"])["latestModelVersion"]
    assert left["modelVersion"] == model["latestModelVersion"]["modelVersion"]
    third = desk.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
    with desk.database.read() as session:
        assert session.get_one(ModelVersion, ModelVersionId(third)).number == 3


def test_where_a_version_shall_go_is_noted_on_it(desk_on: Yard) -> None:
    version = make_model(desk_on)["latestModelVersion"]["modelVersion"]
    for state, pending, failed in (("pending", ["d1"], []), ("failed", [], ["d1"]), (None, [], [])):
        with desk_on.database.write() as session:
            versions.note_deployment(session, ModelVersionId(version), DeploymentId("d1"), state)
        shown = desk_on.call("describeModelVersion", "GET", modelVersion=version)
        assert (shown["pendingDeploymentIds"], shown["failedDeploymentIds"]) == (pending, failed)


def test_a_model_is_renamed_with_its_algorithm(desk: Yard) -> None:
    model = make_model(desk, name="Before")
    desk.call("renameModel", "PATCH", modelId=model["modelId"], name="After")
    shown = desk.call("describeModel", "GET", modelId=model["modelId"])
    assert shown["name"] == shown["latestModelVersion"]["defaultAlgorithm"]["name"] == "After"
    with pytest.raises(CallFailed, match="InvalidParameterError"):
        desk.call("renameModel", "PATCH", modelId=model["modelId"], name="")


@pytest.mark.parametrize(
    "parameters",
    [
        {"customAlgorithms": ["x"]},
        {"builtinAlgorithms": ["x"]},
        {"customAlgorithmConfigs": {"x": {}}},
        {"algorithmTrainingConfigs": [{"x": 1}]},
    ],
)
def test_other_algorithms_than_its_own_are_refused(desk: Yard, parameters: dict[str, Any]) -> None:
    model = make_model(desk)
    with pytest.raises(CallFailed, match=r"InvalidParameterError.*only algorithm"):
        desk.call("retrainModel", modelId=model["modelId"], **parameters)


def test_a_retraining_may_take_other_tables_than_its_model(desk: Yard) -> None:
    group = make_table(desk, "only_once", {"x": [1]})
    model = make_model(desk)
    answer = desk.call("retrainModel", modelId=model["modelId"], featureGroupIds=[group], cpuSize="large")
    assert answer["latestModelVersion"]["trainingFeatureGroupIds"] == [group]
    assert answer["latestModelVersion"]["cpuSize"] == "large"
    assert answer["trainingFeatureGroupIds"] == []
    with pytest.raises(CallFailed, match="DataNotFoundError"):
        desk.call("retrainModel", modelId=model["modelId"], featureGroupIds=["0123456789"])


def test_another_organisations_model_looks_like_none(desk: Yard) -> None:
    model = make_model(desk)
    version = model["latestModelVersion"]["modelVersion"]
    others = OrganizationId("ffffffffff")
    with desk.database.write() as session:
        session.get_one(Model, ModelId(model["modelId"])).organization_id = others
        session.get_one(ModelVersion, ModelVersionId(version)).organization_id = others
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("describeModel", "GET", {"modelId": model["modelId"]}),
        ("updatePythonModel", "POST", {"modelId": model["modelId"]}),
        ("setModelTrainingConfig", "PATCH", {"modelId": model["modelId"], "trainingConfig": {}}),
        ("retrainModel", "POST", {"modelId": model["modelId"]}),
        ("listModelVersions", "GET", {"modelId": model["modelId"]}),
        ("getModelMetrics", "GET", {"modelId": model["modelId"]}),
        ("renameModel", "PATCH", {"modelId": model["modelId"], "name": "x"}),
        ("deleteModel", "DELETE", {"modelId": model["modelId"]}),
        ("describeModelVersion", "GET", {"modelVersion": version}),
        ("getTrainingLogs", "GET", {"modelVersion": version}),
        ("deleteModelVersion", "DELETE", {"modelVersion": version}),
    ]
    for action, verb, parameters in calls:
        with pytest.raises(CallFailed, match="DataNotFoundError"):
            desk.call(action, verb, **parameters)
