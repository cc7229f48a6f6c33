"""How materialisations end that don't end well: cancelled, killed with their agent, given up, taken over."""

import time

import pytest
from sqlalchemy import select

from modelyard import app
from modelyard.execution import Run, cancel
from modelyard.ids import FeatureGroupVersionId, RunId
from tests.feature_groups.conftest import Tables

pytestmark = pytest.mark.sandbox

SLOW = "import time\n\ndef slow(rows):\n    print('begun', flush=True)\n    time.sleep({})\n    return rows\n"


def begin(tables: Tables, group: str) -> str:
    """Asks for a version and waits until its function runs."""
    version_id = tables.yard.call("createFeatureGroupVersion", featureGroupId=group)["featureGroupVersion"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        (logs,) = tables.yard.call("getMaterializationLogs", "GET", featureGroupVersion=version_id, stdout=True)
        if "begun" in logs["stdout"]:
            return str(version_id)
        time.sleep(0.1)
    raise AssertionError("it did not begin")


def test_a_cancelled_materialization_ends_soon_and_says_so(tables: Tables) -> None:
    tables.put("events", id=[1])
    version_id = begin(tables, tables.function("slow_rows", SLOW.format(60), "slow", ["events"]))
    with tables.yard.database.write() as session:
        run_id = session.scalars(select(Run.run_id).where(Run.target == version_id)).one()
        cancel(session, RunId(run_id))
    version = tables.wait(version_id, 20)
    assert version["status"] == "FAILED"
    assert "cancelled" in version["error"]


def test_an_agent_that_stops_leaves_the_version_to_the_next_one(tables: Tables) -> None:
    tables.put("events", id=[1])
    version_id = begin(tables, tables.function("slow_rows", SLOW.format(3), "slow", ["events"]))
    assert tables.yard.agent is not None
    tables.yard.agent.stop()
    assert (
        tables.yard.call("describeFeatureGroupVersion", "GET", featureGroupVersion=version_id)["status"] == "GENERATING"
    )
    tables.yard.agent = app.agent(tables.yard.house)
    tables.yard.agent.start()
    assert tables.wait(version_id)["status"] == "COMPLETE"
    with tables.yard.database.read() as session:
        found = session.scalars(select(Run).where(Run.target == FeatureGroupVersionId(version_id))).all()
    assert [run.state for run in found] == ["COMPLETE"]


def test_what_a_cancelled_run_was_making_for_its_target_ends_as_well(tables: Tables) -> None:
    tables.put("events", id=[1])
    ancestor = tables.function("slow_rows", SLOW.format(60), "slow", ["events"])
    top = tables.sql("top", "SELECT id FROM slow_rows")
    version_id = tables.yard.call("createFeatureGroupVersion", featureGroupId=top)["featureGroupVersion"]
    deadline = time.monotonic() + 60
    while not any(each.status == "GENERATING" for each in tables.versions(ancestor)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with tables.yard.database.write() as session:
        cancel(session, RunId(session.scalars(select(Run.run_id).where(Run.target == version_id)).one()))
    assert tables.wait(version_id, 20)["status"] == "FAILED"
    assert [each.status for each in tables.versions(ancestor)] == ["FAILED"]
