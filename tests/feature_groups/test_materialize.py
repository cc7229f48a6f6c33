"""From definitions to versions: ancestors first, each once, nothing made twice, and failures that say why."""

import threading

import pytest

from modelyard.feature_groups.records import VersionStatus
from tests.feature_groups.conftest import Tables
from tests.yard import CallFailed

pytestmark = pytest.mark.sandbox

DOUBLE = """
import pandas as pd

def double(rows):
    print("doubling", len(rows))
    rows["amount"] = rows["amount"] * 2
    return rows
"""
FAILING = """
def broken(rows):
    print("so far so good")
    return rows["no_such_column"]
"""


def test_a_query_becomes_a_version_that_the_client_loads(tables: Tables) -> None:
    tables.put("events", id=[1, 2, 3], amount=[1.5, None, 3.0], name=["a", "b", None])
    group = tables.sql("big_events", "SELECT id, name, IF(amount > 2, 'big', 'small') AS size FROM events ORDER BY id")
    version = tables.materialize(group)
    assert version["status"] == "COMPLETE", version
    frame = tables.rows(version)
    assert frame["id"].tolist() == [1, 2, 3]
    assert frame["name"].tolist() == ["a", "b", None]
    assert frame["size"].tolist() == ["small", "small", "big"]
    assert [(each["name"], each["dataType"], each["featureType"]) for each in version["features"]] == [
        ("id", "INTEGER", "NUMERICAL"),
        ("name", "STRING", "CATEGORICAL"),
        ("size", "STRING", "CATEGORICAL"),
    ]


def test_a_function_gets_its_tables_in_order_and_its_prints_are_kept(tables: Tables) -> None:
    tables.put("events", id=[1, 2], amount=[1.5, 3.0])
    group = tables.function("doubled", DOUBLE, "double", ["events"])
    version = tables.materialize(group)
    assert version["status"] == "COMPLETE", version
    assert tables.rows(version)["amount"].tolist() == [3.0, 6.0]
    (logs,) = tables.yard.call(
        "getMaterializationLogs", "GET", featureGroupVersion=version["featureGroupVersion"], stdout=True
    )
    assert "doubling 2" in logs["stdout"]
    assert logs["stderr"] is None
    assert logs["function"] == "double"


def test_a_function_that_raises_makes_a_failed_version_with_its_own_frames(tables: Tables) -> None:
    tables.put("events", id=[1])
    group = tables.function("broken_rows", FAILING, "broken", ["events"])
    version = tables.materialize(group)
    assert version["status"] == "FAILED"
    assert "KeyError" in version["error"]
    (logs,) = tables.yard.call(
        "getMaterializationLogs", "GET", featureGroupVersion=version["featureGroupVersion"], stdout=True, stderr=True
    )
    assert "so far so good" in logs["stdout"]
    assert logs["exception"]["type"] == "KeyError"
    assert "no_such_column" in logs["exception"]["traceback"]
    assert "site-packages" not in logs["exception"]["traceback"]
    with pytest.raises(CallFailed, match="KeyError") as refused:
        tables.yard.call("_getFeatureGroupVersionParts", "GET", featureGroupVersion=version["featureGroupVersion"])
    assert refused.value.error_type == "ConflictError"


def test_outdated_ancestors_are_made_first_and_each_once(tables: Tables) -> None:
    tables.put("events", id=[1, 2], amount=[1.0, 2.0])
    left = tables.sql("left_side", "SELECT id, amount + 1 AS a FROM events")
    right = tables.sql("right_side", "SELECT id, a * 10 AS b FROM left_side")
    top = tables.sql("top", "SELECT id, a, b FROM left_side JOIN right_side USING (id) ORDER BY id")
    version = tables.materialize(top)
    assert version["status"] == "COMPLETE", version
    assert tables.rows(version).values.tolist() == [[1, 2.0, 20.0], [2, 3.0, 30.0]]
    assert [len(tables.versions(each)) for each in (left, right, top)] == [1, 1, 1]
    (made,) = tables.versions(top)
    assert made.parents == {
        left: tables.versions(left)[0].feature_group_version,
        right: tables.versions(right)[0].feature_group_version,
    }


def test_a_group_is_outdated_exactly_when_it_or_an_ancestor_changed(tables: Tables) -> None:
    tables.put("events", id=[1], amount=[1.0])
    middle = tables.sql("middle", "SELECT id, amount FROM events")
    top = tables.sql("top", "SELECT SUM(amount) AS total FROM middle")
    assert tables.describe(top)["latestVersionOutdated"] is False
    tables.materialize(top)
    assert [tables.describe(each)["latestVersionOutdated"] for each in (middle, top)] == [False, False]
    tables.put("events", id=[1, 2], amount=[1.0, 5.0])
    assert [tables.describe(each)["latestVersionOutdated"] for each in (middle, top)] == [True, True]
    version = tables.materialize(top)
    assert tables.rows(version)["total"].tolist() == [6.0]
    assert [tables.describe(each)["latestVersionOutdated"] for each in (middle, top)] == [False, False]
    tables.yard.call(
        "updateFeatureGroupSqlDefinition", "PATCH", featureGroupId=top, sql="SELECT COUNT(*) AS total FROM middle"
    )
    assert tables.describe(top)["latestVersionOutdated"] is True
    assert tables.describe(middle)["latestVersionOutdated"] is False
    tables.yard.call(
        "updateFeatureGroupSqlDefinition", "PATCH", featureGroupId=top, sql="SELECT SUM(amount) AS total FROM middle"
    )
    assert tables.describe(top)["latestVersionOutdated"] is False


def test_a_failing_ancestor_is_named_in_the_error(tables: Tables) -> None:
    tables.put("events", id=[1])
    tables.function("broken_rows", FAILING, "broken", ["events"])
    top = tables.sql("top", "SELECT * FROM broken_rows")
    version = tables.materialize(top)
    assert version["status"] == "FAILED"
    assert "broken_rows" in version["error"]
    assert "KeyError" in version["error"]


def test_two_runs_that_need_the_same_group_make_it_once(tables: Tables) -> None:
    tables.put("events", id=[1])
    slow = "import time\n\ndef slow(rows):\n    time.sleep(1.5)\n    return rows\n"
    shared = tables.function("shared_rows", slow, "slow", ["events"])
    tops = [tables.sql(f"top_{number}", f"SELECT id + {number} AS id FROM shared_rows") for number in range(2)]
    ended: list[str] = []

    def make(group: str) -> None:
        ended.append(tables.materialize(group)["status"])

    threads = [threading.Thread(target=make, args=(group,)) for group in tops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["COMPLETE", "COMPLETE"]
    assert [version.status for version in tables.versions(shared)] == [VersionStatus.COMPLETE]
    used = {version.parents[shared] for group in tops for version in tables.versions(group) if version.parents}
    assert len(used) == 1


def test_a_table_without_rows_has_one_part_and_its_columns(tables: Tables) -> None:
    tables.put("events", id=[1], amount=[1.0])
    group = tables.sql("nothing", "SELECT id, amount FROM events WHERE id > 5")
    frame = tables.rows(tables.materialize(group))
    assert len(frame) == 0
    assert list(frame.columns) == ["id", "amount"]


def test_what_the_engine_refuses_is_the_versions_error(tables: Tables) -> None:
    tables.put("events", id=[1], name=["x"])
    group = tables.sql("wrong", "SELECT name + id AS x FROM events")
    version = tables.materialize(group)
    assert version["status"] == "FAILED"
    assert "no function matches" in version["error"].lower()
    assert "/" not in version["error"]


def test_bindings_give_tables_by_keyword_and_values(tables: Tables) -> None:
    tables.put("events", id=[1, 2])
    source = "def keep(*, rows, least):\n    return rows[rows['id'] >= least]\n"
    group = tables.function(
        "kept", source, "keep", [],
        pythonFunctionBindings=[
            {"name": "rows", "variableType": "FEATURE_GROUP", "value": "events"},
            {"name": "least", "variableType": "INTEGER", "value": 2},
        ],
    )  # fmt: skip
    version = tables.materialize(group)
    assert version["status"] == "COMPLETE", version
    assert tables.rows(version)["id"].tolist() == [2]
