"""An agent whose database is killed while it works on a run, and started again."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.postgresql import PostgreSQL, postgresql
from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.execution import RunState
from modelyard.execution.records import Run
from modelyard.ids import AgentId
from modelyard.settings import Settings
from tests.execution.conftest import Bench, lines
from tests.waiting import wait_until


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


def test_a_run_that_loses_its_database_is_made_again_by_the_same_agent(
    server: PostgreSQL, settings: Settings, tmp_path: Path
) -> None:
    database = Database(server.url)
    database.migrate()
    bench = Bench(database, settings)
    agent = bench.start_agent(lease_s=600)  # so nothing waits for its end
    run_id = bench.enqueue("linger", folder=str(tmp_path))
    wait_until((tmp_path / "began-1").exists)
    server.kill()
    (tmp_path / "go").touch()
    wait_until(lambda: agent.running == [], 20)
    server.start()
    assert bench.ended(run_id).state == RunState.COMPLETE
    assert lines(tmp_path / "ends") == ["2"]
    bench.close()
    database.close()


def test_a_claim_of_ones_own_that_nobody_works_on_is_taken_back_when_its_lease_is_over(
    bench: Bench, tmp_path: Path
) -> None:
    agent = bench.start_agent()
    (tmp_path / "go").touch()
    run_id = bench.enqueue("linger", folder=str(tmp_path))
    assert bench.ended(run_id).attempt == 1
    with bench.database.write() as session:  # as a claim leaves it whose answer was lost
        run = session.get_one(Run, run_id)
        run.state, run.completed_at = RunState.RUNNING, None
        run.claimed_by, run.lease_until = AgentId(agent.agent_id), utc_now() + timedelta(seconds=1)
    assert bench.ended(run_id).attempt == 2
