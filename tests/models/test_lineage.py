"""Lineage of a trained model: up to the versions of tables that it was made from, down to what serves it."""

from typing import Any

import pytest

from tests.models.house import make_model, make_table, wait_for_end
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox


def lineage(yard: Yard, **of: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = yard.call("describeLineage", "GET", **of)
    return found


def names(nodes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(node["kind"], node["name"]) for node in nodes]


def test_a_models_lineage_goes_up_to_its_rows_and_down_to_its_deployment(shared_yard: Yard) -> None:
    raw = make_table(shared_yard, "lineage_raw", {"x": [1, 2]})
    shared_yard.call("createFeatureGroup", tableName="lineage_clean", sql="SELECT x FROM lineage_raw WHERE x > 1")
    model = make_model(shared_yard, trainingInputTables=["lineage_clean"])
    version = model["latestModelVersion"]["modelVersion"]
    assert wait_for_end(shared_yard, version)["status"] == "COMPLETE"
    deployment = shared_yard.call("createDeployment", modelVersion=version, start=False, name="Live")
    up = lineage(shared_yard, modelVersion=version)["ancestors"]
    assert names(up) == [
        ("model version", model["name"]),
        ("feature group version", "lineage_clean"),
        ("feature group version", "lineage_raw"),
    ]
    assert up[0]["madeFrom"] == [f"feature group version {up[1]['id']}"]
    assert "def train" in up[0]["madeWith"]["sourceCode"]
    assert up[0]["madeWith"]["lock"]
    assert up[1]["madeWith"]["definition"]["sql"] == "SELECT x FROM lineage_raw WHERE x > 1"
    assert up[1]["madeWith"]["lock"]
    [first] = shared_yard.call("listFeatureGroupVersions", "GET", featureGroupId=raw)
    down = lineage(shared_yard, featureGroupVersion=first["featureGroupVersion"])["descendants"]
    assert names(down) == [
        ("feature group version", "lineage_clean"),
        ("model version", model["name"]),
        ("deployment", "Live"),
    ]
    assert down[-1]["id"] == deployment["deploymentId"]
    assert down[-1]["madeFrom"] == [f"model version {version}"]
    with pytest.raises(CallFailed, match="was made from"):
        shared_yard.call("deleteFeatureGroupVersion", "DELETE", featureGroupVersion=up[1]["id"])


def test_lineage_is_of_one_version_that_is_there(shared_yard: Yard) -> None:
    for given in ({}, {"modelVersion": "a", "datasetVersion": "b"}):
        with pytest.raises(CallFailed, match="Pass one of"):
            lineage(shared_yard, **given)
    for name in ("modelVersion", "datasetVersion", "featureGroupVersion"):
        with pytest.raises(CallFailed, match="DataNotFoundError"):
            lineage(shared_yard, **{name: "0000000000"})
