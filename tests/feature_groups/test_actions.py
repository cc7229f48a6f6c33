"""Every action of the room: that it works, and each error that it declares."""

import io
from typing import Any

import fastavro
import pandas as pd
import pytest

from modelyard.datasets.records import DatasetVersion
from modelyard.errors import DataNotFoundError, InvalidParameterError
from modelyard.feature_groups.tables import get_by_table_names, get_feature_group, get_version
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId, OrganizationId
from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox

IDENTITY = "def same(rows):\n    return rows\n"


@pytest.fixture(autouse=True)
def _events(shared: Tables) -> None:
    shared.put("events", id=[1, 2, 3], amount=[1.5, None, 3.0])


def refused(tables: Tables, action: str, verb: str = "POST", /, **parameters: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        tables.yard.call(action, verb, **parameters)
    return failed.value


def test_a_group_is_described_by_id_and_by_name(shared: Tables) -> None:
    group = shared.sql("described", "SELECT id FROM events")
    by_id = shared.describe(group)
    assert by_id == shared.yard.call("describeFeatureGroupByTableName", "GET", tableName="described")
    assert by_id["featureGroupSourceType"] == "SQL"
    assert by_id["sourceTables"] == ["events"]
    assert by_id["latestFeatureGroupVersion"] is None
    assert refused(shared, "describeFeatureGroup", "GET", featureGroupId="0000000000").error_type == "DataNotFoundError"
    unknown = refused(shared, "describeFeatureGroupByTableName", "GET", tableName="describd")
    assert (unknown.status, unknown.error_type) == (404, "DataNotFoundError")
    assert "did you mean described?" in unknown.error


def test_a_query_over_unknown_tables_and_columns_is_refused_with_place_and_nearest(shared: Tables) -> None:
    error = refused(shared, "createFeatureGroup", tableName="wrong_table", sql="SELECT *\nFROM evens")
    assert error.error_type == "InvalidParameterError"
    assert "line 2, column 6" in error.error
    assert "did you mean events?" in error.error
    error = refused(shared, "createFeatureGroup", tableName="wrong_column", sql="SELECT amuont FROM events")
    assert "did you mean amount?" in error.error
    assert refused(shared, "describeFeatureGroupByTableName", "GET", tableName="wrong_column").status == 404


@pytest.mark.parametrize("name", ["", "a b", "a-b", "a" * 121, 'x"; --', "é"])
def test_what_is_no_table_name_is_refused(shared: Tables, name: str) -> None:
    error = refused(shared, "createFeatureGroup", tableName=name, sql="SELECT 1 AS x")
    assert error.error_type == "InvalidParameterError"


def test_a_name_is_taken_once_whatever_its_case(shared: Tables) -> None:
    shared.sql("taken_name", "SELECT 1 AS x")
    assert refused(shared, "createFeatureGroup", tableName="Taken_Name", sql="SELECT 1 AS x").status == 409


def test_a_circle_is_refused_with_its_path(shared: Tables) -> None:
    first = shared.sql("circle_a", "SELECT id FROM events")
    shared.sql("circle_b", "SELECT id FROM circle_a")
    shared.sql("circle_c", "SELECT id FROM circle_b")
    error = refused(
        shared, "updateFeatureGroupSqlDefinition", "PATCH", featureGroupId=first, sql="SELECT id FROM circle_c"
    )
    assert error.error_type == "InvalidParameterError"
    assert "circle_a -> circle_c -> circle_b -> circle_a" in error.error


def test_a_function_that_can_not_run_is_refused_before_anything_is_kept(shared: Tables) -> None:
    given: dict[str, Any] = {"tableName": "no_function", "functionSourceCode": IDENTITY}
    given["inputFeatureGroups"] = ["events"]
    assert refused(shared, "createFeatureGroupFromFunction", **given).error_type == "MissingParameterError"
    error = refused(shared, "createFeatureGroupFromFunction", **given, functionName="other")
    assert (error.status, error.error_type) == (409, "ConflictError")
    error = refused(shared, "createFeatureGroupFromFunction", **given, functionName="same", cpuSize="huge")
    assert error.error_type == "InvalidEnumParameterError"
    error = refused(shared, "createFeatureGroupFromFunction", **given, functionName="same", memory=0)
    assert error.error_type == "InvalidParameterError"
    given["inputFeatureGroups"] = ["evnts"]
    error = refused(shared, "createFeatureGroupFromFunction", **given, functionName="same")
    assert "did you mean events?" in error.error


def test_groups_are_listed_in_pages(shared: Tables) -> None:
    made = [shared.sql(f"page_{number}", "SELECT 1 AS x") for number in range(3)]
    everything = [each["featureGroupId"] for each in shared.yard.call("listFeatureGroups", "GET")]
    assert [each for each in everything if each in made] == made
    page = shared.yard.call("listFeatureGroups", "GET", limit=2, startAfterId=made[0])
    assert [each["featureGroupId"] for each in page][:2] == made[1:]
    assert refused(shared, "listFeatureGroups", "GET", limit=0).error_type == "InvalidParameterError"


def test_versions_are_listed_newest_first_in_pages(shared: Tables) -> None:
    group = shared.sql("many_versions", "SELECT 1 AS x")
    made = [shared.materialize(group)["featureGroupVersion"] for _ in range(3)]
    listed = shared.yard.call("listFeatureGroupVersions", "GET", featureGroupId=group)
    assert [each["featureGroupVersion"] for each in listed] == made[::-1]
    rest = shared.yard.call("listFeatureGroupVersions", "GET", featureGroupId=group, startAfterVersion=made[2], limit=1)
    assert [each["featureGroupVersion"] for each in rest] == [made[1]]


def test_a_group_that_others_stand_on_is_not_deleted(shared: Tables) -> None:
    lower = shared.sql("lower_group", "SELECT id FROM events")
    upper = shared.sql("upper_group", "SELECT id FROM lower_group")
    error = refused(shared, "deleteFeatureGroup", "DELETE", featureGroupId=lower)
    assert (error.status, error.error_type) == (409, "ConflictError")
    assert "feature group upper_group" in error.error
    shared.yard.call("deleteFeatureGroup", "DELETE", featureGroupId=upper)
    shared.yard.call("deleteFeatureGroup", "DELETE", featureGroupId=lower)
    assert refused(shared, "describeFeatureGroup", "GET", featureGroupId=lower).status == 404


def test_a_description_is_changed(shared: Tables) -> None:
    group = shared.sql("with_words", "SELECT 1 AS x")
    changed = shared.yard.call("updateFeatureGroup", "PATCH", featureGroupId=group, description="numbers")
    assert changed["description"] == "numbers"


def test_parts_are_downloaded_by_offset_until_nothing_is_left(shared: Tables) -> None:
    version = shared.materialize(shared.sql("in_parts", "SELECT id, amount FROM events ORDER BY id"))
    version_id = version["featureGroupVersion"]
    parts = shared.yard.call("_getFeatureGroupVersionParts", "GET", featureGroupVersion=version_id)
    assert len(parts) == 1
    client, offset, received = shared.yard.client(), 0, b""
    while True:
        query = {"featureGroupVersion": version_id, "part": 0, "offset": offset}
        with client._call_api(
            "_downloadFeatureGroupVersionPartChunk", "GET", query_params=query, streamable_response=True
        ) as chunk:
            piece = chunk.read()
        if not piece:
            break
        received, offset = received + piece, offset + len(piece)
    assert list(fastavro.reader(io.BytesIO(received))) == [
        {"id": 1, "amount": 1.5}, {"id": 2, "amount": None}, {"id": 3, "amount": 3.0},
    ]  # fmt: skip
    for wrong in ({"part": 1}, {"part": -1}, {"part": 0, "offset": -1}):
        error = refused(shared, "_downloadFeatureGroupVersionPartChunk", "GET", featureGroupVersion=version_id, **wrong)
        assert error.error_type == "InvalidParameterError"


def test_a_query_runs_once_over_the_newest_versions(shared: Tables) -> None:
    frame = shared.yard.client().execute_feature_group_sql("SELECT SUM(id) AS total FROM events", delay=0.1)
    assert frame["total"].tolist() == [6]


def test_a_query_needs_versions_or_the_leave_to_make_them(shared: Tables) -> None:
    shared.sql("never_made", "SELECT id + 1 AS next FROM events")
    query = "SELECT MAX(next) AS most FROM never_made"
    error = refused(shared, "executeAsyncFeatureGroupOperation", query=query, useLatestVersion=True)
    assert (error.status, error.error_type) == (424, "FailedDependencyError")
    assert "never_made" in error.error
    frame = shared.yard.client().execute_feature_group_sql(query, use_latest_version=False, delay=0.1)
    assert frame["most"].tolist() == [4]


def test_a_query_that_fails_says_so_where_its_rows_are_asked_for(shared: Tables) -> None:
    begun = shared.yard.call(
        "executeAsyncFeatureGroupOperation", query="SELECT CAST(id AS DATE) / 'x' AS y FROM events"
    )
    operation = shared.yard.client().describe_async_feature_group_operation(begun["featureGroupOperationRunId"])
    operation.wait_for_execution(delay=0.1)
    assert operation.status == "FAILED"
    with pytest.raises(Exception, match="has no rows, since it failed"):
        operation.load_as_pandas()


def test_the_official_client_defines_materializes_and_loads(shared: Tables) -> None:
    client = shared.yard.client()
    group = client.create_feature_group_from_function(
        table_name="from_client", function_source_code=IDENTITY, function_name="same", input_feature_groups=["events"],
    )  # fmt: skip
    frame = group.load_as_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["id"].tolist() == [1, 2, 3]
    assert [feature.name for feature in client.get_feature_group_schema(group.id)] == ["id", "amount"]
    group.refresh()
    assert group.latest_feature_group_version.status == "COMPLETE"


def test_another_organisations_groups_and_versions_look_like_none(shared: Tables) -> None:
    group = shared.sql("not_yours", "SELECT 1 AS x")
    version = shared.materialize(group)["featureGroupVersion"]
    other = OrganizationId("ffffffffff")
    with shared.yard.database.read() as session:
        with pytest.raises(DataNotFoundError, match=f"Feature group {group} was not found"):
            get_feature_group(session, other, FeatureGroupId(group))
        with pytest.raises(DataNotFoundError, match=f"Feature group version {version} was not found"):
            get_version(session, other, FeatureGroupVersionId(version))
        with pytest.raises(InvalidParameterError, match="There is no table 'not_yours'"):
            get_by_table_names(session, other, ["not_yours"])


def test_a_dataset_has_its_group_at_once_and_its_versions_without_a_copy(shared: Tables) -> None:
    client = shared.yard.client()
    group = client.create_feature_group_from_pandas_df("uploaded", pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    assert group.feature_group_source_type == "DATASET"
    assert group.load_as_pandas()["a"].tolist() == [1, 2]
    group.refresh()
    assert group.latest_version_outdated is False
    upper = shared.sql("over_uploaded", "SELECT SUM(a) AS total FROM uploaded")
    assert shared.rows(shared.materialize(upper))["total"].tolist() == [3]
    client.update_feature_group_from_pandas_df("uploaded", pd.DataFrame({"a": [5], "b": ["z"]})).wait_for_upload()
    assert shared.describe(upper)["latestVersionOutdated"] is True
    assert shared.rows(shared.materialize(upper))["total"].tolist() == [5]
    newest = shared.versions(group.id)[-1]
    with shared.yard.database.read() as session:
        dataset_version = session.get_one(DatasetVersion, newest.dataset_version)
        assert newest.table == dataset_version.table
    assert shared.describe(group.id)["latestFeatureGroupVersion"]["sourceDatasetVersions"] == [newest.dataset_version]
    error = refused(shared, "deleteFeatureGroup", "DELETE", featureGroupId=group.id)
    assert "delete that instead" in error.error
    with pytest.raises(Exception, match="is used by feature group over_uploaded"):
        client.delete_dataset(group.dataset_id)


def test_a_version_can_be_asked_for_while_its_dataset_is_still_being_imported(shared: Tables) -> None:
    client = shared.yard.client()
    group = client.create_feature_group_from_pandas_df("just_uploaded", pd.DataFrame({"a": [7]}))
    version = shared.materialize(group.id)
    assert version["status"] == "COMPLETE", version
    assert shared.rows(version)["a"].tolist() == [7]
