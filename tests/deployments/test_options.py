"""The options of a deployment: kept as far as they were set, checked, and taken back by null."""

import pytest

from modelyard.deployments.options import NONE, change_options, read_options
from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings
from tests.conftest import shared_cache
from tests.deployments.conftest import Workshop
from tests.yard import CallFailed, Yard


def test_only_what_is_named_changes_and_null_takes_it_back() -> None:
    first = change_options(None, {"minReplicas": 2, "maxReplicas": 5})
    second = change_options(first, {"maxReplicas": 3, "idleTimeoutS": 60})
    assert second == {"minReplicas": 2, "maxReplicas": 3, "idleTimeoutS": 60.0}
    assert change_options(second, {"minReplicas": None, "idleTimeoutS": None}) == {"maxReplicas": 3}
    assert read_options(None) == NONE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"maxReplica": 2}, "did you mean maxReplicas"),
        ({"minReplicas": 0}, "minReplicas is 0; expected `int` >= 1"),
        ({"minReplicas": 3, "maxReplicas": 2}, "minReplicas is 3 and maxReplicas 2"),
        ({"idleTimeoutS": "soon"}, "idleTimeoutS is 'soon'; expected `float | null`, got `str`"),
        ({"targetQueue": 0}, "targetQueue is 0; expected `float` > 0"),
        ({"maxBatchSize": 1.5}, "maxBatchSize is 1.5; expected `int`"),
    ],
)
def test_what_can_not_be_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        change_options({"maxReplicas": 2}, changes)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("set_", "by_default", "replicas"),
    [
        ({}, 1, (1, 1)),
        ({}, 3, (3, 3)),
        ({"minReplicas": 2}, 1, (2, 2)),
        ({"maxReplicas": 4}, 1, (1, 4)),
        ({"maxReplicas": 2}, 3, (2, 2)),
        ({"minReplicas": 2, "maxReplicas": 4}, 1, (2, 4)),
    ],
)
def test_how_many_replicas_there_are_follows_from_options_and_settings(
    set_: dict[str, object], by_default: int, replicas: tuple[int, int], tmp_path: object
) -> None:
    settings = Settings.load({}, home=tmp_path, cache=shared_cache(), replicas=by_default)
    assert read_options(change_options(None, set_)).replicas(settings) == replicas


@pytest.mark.sandbox
def test_options_are_set_and_described_over_the_wire(shared_yard: Yard, workshop: Workshop) -> None:
    deployment_id = shared_yard.call("createDeployment", modelVersion=workshop.make_version(), start=False)[
        "deploymentId"
    ]
    shared_yard.call(
        "setDeploymentOptions", "PATCH", deploymentId=deployment_id, options={"maxReplicas": 3, "maxBatchSize": 32}
    )
    shared_yard.call("setDeploymentOptions", "PATCH", deploymentId=deployment_id, options={"maxBatchSize": None})
    found = shared_yard.call("describeDeploymentOptions", "GET", deploymentId=deployment_id)
    assert (found["maxReplicas"], found["minReplicas"], found["maxBatchSize"]) == (3, None, 1)
    with pytest.raises(CallFailed, match="InvalidParameterError"):
        shared_yard.call("setDeploymentOptions", "PATCH", deploymentId=deployment_id, options={"replicas": 3})
