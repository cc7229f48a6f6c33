"""An agent that is killed in the middle of a materialisation: another takes it over, and each version ends once."""

import signal
import time

import pytest
from sqlalchemy import select

from modelyard.execution import Run, RunState
from modelyard.settings import Settings
from tests.agents import agent_process, guests
from tests.feature_groups.conftest import Tables
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SLOW = "import time\n\ndef slow(rows):\n    print('begun', flush=True)\n    time.sleep(3)\n    return rows\n"


def test_what_a_killed_agent_was_making_is_made_again_ancestors_too(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        tables = Tables(yard)
        tables.put("events", id=[1, 2])
        ancestor = tables.function("slow_rows", SLOW, "slow", ["events"])
        top = tables.sql("top", "SELECT sum(id) AS total FROM slow_rows")
        version_id = yard.call("createFeatureGroupVersion", featureGroupId=top)["featureGroupVersion"]
        with agent_process(yard.settings) as first:
            tables.wait_until(lambda: any(each.status == "GENERATING" for each in tables.versions(ancestor)))
            time.sleep(1)
            first.send_signal(signal.SIGKILL)
            first.wait()
        wait_until(lambda: guests(settings.home) == [])
        assert [each.status for each in tables.versions(ancestor)] == ["GENERATING"]
        with agent_process(yard.settings):
            ended = tables.wait(version_id)
            assert ended["status"] == "COMPLETE", ended["error"]
            assert tables.rows(version_id)["total"].tolist() == [3]
        for group in (ancestor, top):
            assert [each.status for each in tables.versions(group)] == ["COMPLETE"]
        with yard.database.read() as session:
            (run,) = session.scalars(select(Run).where(Run.target == version_id)).all()
        assert (run.state, run.attempt) == (RunState.COMPLETE, 2)


def test_a_chain_of_groups_is_killed_at_each_of_its_steps_and_nothing_half_made_is_left(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        tables = Tables(yard)
        tables.put("events", id=[1, 2, 3])
        first = tables.function("first", SLOW, "slow", ["events"])
        middle = tables.sql("middle", "SELECT id * 10 AS id FROM first")
        last = tables.function("last", SLOW, "slow", ["middle"])
        version_id = yard.call("createFeatureGroupVersion", featureGroupId=last)["featureGroupVersion"]
        for group in (first, last):
            with agent_process(yard.settings) as agent:
                tables.wait_until(lambda: any(each.status == "GENERATING" for each in tables.versions(group)))  # noqa: B023
                time.sleep(1)
                agent.send_signal(signal.SIGKILL)
                agent.wait()
            tables.wait_until(lambda: not guests(settings.home), 20)
        with agent_process(yard.settings):
            ended = tables.wait(version_id)
            assert ended["status"] == "COMPLETE", ended["error"]
            assert sorted(tables.rows(version_id)["id"]) == [10, 20, 30]
        for group in (first, middle, last):
            assert [each.status for each in tables.versions(group)] == ["COMPLETE"]
        left = [each for each in (settings.home / "blobs" / "incoming").rglob("*") if each.is_file()]
        assert left == []
        half = [each.name for each in (settings.cache_dir / "tables").rglob(".*") if each.is_file()]
        digests = {each.manifest.digest for group in (first, middle, last) for each in tables.versions(group)}
        assert not [name for name in half if any(digest in name for digest in digests)]
