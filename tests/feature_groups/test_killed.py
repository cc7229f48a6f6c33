"""An agent that is killed in the middle of a materialisation: another takes it over, and each version ends once."""

import signal
import time

import pytest
from sqlalchemy import select

from modelyard.execution import Run, RunState
from modelyard.settings import Settings
from tests.agents import agent_process, guests
from tests.feature_groups.conftest import Tables
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
        time.sleep(1)
        assert guests(settings.home) == []
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
