"""How materialisations end that don't end well: cancelled, killed with their agent, given up, taken over."""

import time

import pytest
from sqlalchemy import select

from modelyard import app
from modelyard.clock import utc_now
from modelyard.execution import Run, RunState, cancel
from modelyard.execution.claims import end
from modelyard.execution.context import Claim
from modelyard.feature_groups import materialize
from modelyard.ids import RunId
from tests.datasets.conftest import Files
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

    def states() -> list[str]:
        with tables.yard.database.read() as session:
            return [str(each) for each in session.scalars(select(Run.state).where(Run.target == version_id))]

    tables.wait_until(lambda: "RUNNING" not in states())
    assert states() == ["COMPLETE"]


def test_what_another_kind_of_run_was_making_on_its_way_ends_with_it(tables: Tables) -> None:
    tables.put("events", id=[1])
    ancestor = tables.function("slow_rows", SLOW.format(60), "slow", ["events"])
    operation = tables.yard.call(
        "executeAsyncFeatureGroupOperation", query="SELECT id FROM slow_rows", useLatestVersion=False
    )
    tables.wait_until(lambda: any(each.status == "GENERATING" for each in tables.versions(ancestor)))
    run_id = tables.versions(ancestor)[0].run_id
    assert run_id is not None
    assert tables.yard.agent is not None
    # As if the platform had failed this run for good, in the middle of what it does.
    with tables.yard.database.write() as session:
        run = session.get_one(Run, run_id)
        assert run.target == operation["featureGroupOperationRunId"]
        claim = Claim(
            run_id, run.kind, run.target, run.payload, run.attempt, run.fence, run.cores, run.memory_gib, run.gpus,
            cancel_requested=False,
        )  # fmt: skip
        events = tables.yard.agent.events
        assert end(session, claim, tables.yard.house.kinds[run.kind], RunState.FAILED, "lost", utc_now(), events)
    [version] = tables.versions(ancestor)
    assert (version.status, version.error) == ("FAILED", "lost")


def test_a_version_waits_for_its_import_without_losing_attempts(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialize, "IMPORT_WAIT_S", 0.2)
    monkeypatch.setattr(materialize, "AGAIN_AFTER_S", 0.1)
    upload = tables.yard.call("createDatasetFromUpload", tableName="late")
    group = tables.sql("later", "SELECT count(*) AS n FROM late")
    version_id = tables.yard.call("createFeatureGroupVersion", featureGroupId=group)["featureGroupVersion"]

    def run() -> Run:
        with tables.yard.database.read() as session:
            return session.scalars(select(Run).where(Run.target == version_id)).one()

    fence = tables.yard.settings.run_attempts + 2
    tables.wait_until(lambda: run().fence >= fence)
    assert "still being imported" in (run().reason or "")
    Files(tables.yard).finish(upload, b"a\n1\n2\n")
    assert tables.wait(version_id)["status"] == "COMPLETE"
    assert run().attempt == 1
    assert tables.rows(version_id)["n"].tolist() == [2]


def test_what_a_cancelled_run_was_making_for_its_target_ends_as_well(tables: Tables) -> None:
    tables.put("events", id=[1])
    ancestor = tables.function("slow_rows", SLOW.format(60), "slow", ["events"])
    top = tables.sql("top", "SELECT id FROM slow_rows")
    version_id = tables.yard.call("createFeatureGroupVersion", featureGroupId=top)["featureGroupVersion"]
    tables.wait_until(lambda: any(each.status == "GENERATING" for each in tables.versions(ancestor)))
    with tables.yard.database.write() as session:
        cancel(session, RunId(session.scalars(select(Run.run_id).where(Run.target == version_id)).one()))
    assert tables.wait(version_id, 20)["status"] == "FAILED"
    assert [each.status for each in tables.versions(ancestor)] == ["FAILED"]
