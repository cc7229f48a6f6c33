"""Runs on PostgreSQL, where two transactions that take their locks in different orders end each other."""

import threading

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.container import Container
from modelyard.database import Database
from modelyard.execution import Demand, Run, RunContext, cancel, claims
from modelyard.execution.context import ClaimLost
from modelyard.ids import AgentId, RunId
from modelyard.settings import Settings
from tests.execution.conftest import Bench
from tests.execution.kinds import KINDS
from tests.waiting import wait_until


@pytest.fixture
def on_postgresql(postgresql_url: str, settings: Settings) -> Bench:
    database = Database(postgresql_url)
    database.migrate()
    return Bench(database, settings)


def claimed(bench: Bench, run_id: RunId) -> RunContext:
    """The run as an agent has it."""
    with bench.database.write() as session:
        room = claims.Room(Demand(cores=8, memory_gib=8), Demand(cores=8, memory_gib=8))
        found = claims.claim_runs(session, AgentId("someone"), KINDS, room, utc_now(), 60)
    claim = next(each for each in found if each.run_id == run_id)
    return RunContext(claim, bench.database, Container(), bench.settings, utc_now, ())


def lock(session: Session, run_id: RunId) -> None:
    session.execute(select(Run.run_id).where(Run.run_id == run_id).with_for_update())


def waits(database: Database) -> bool:
    """Whether somebody waits for a lock."""
    with database.read() as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def test_who_holds_what_a_run_writes_can_cancel_it_meanwhile(on_postgresql: Bench) -> None:
    bench = on_postgresql
    row, mine = bench.enqueue("wait"), bench.enqueue("wait")
    run, written = claimed(bench, mine), list[str]()

    def write() -> None:
        with run.transaction() as session:
            lock(session, row)
        written.append("committed")

    with bench.database.write() as session:
        lock(session, row)
        writing = threading.Thread(target=write)
        writing.start()
        wait_until(lambda: waits(bench.database))
        cancel(session, mine)
    writing.join(20)
    assert written == ["committed"]
    assert bench.run(mine).cancel_requested
    bench.database.close()


def test_what_was_taken_over_in_the_middle_of_a_transaction_is_not_committed(on_postgresql: Bench) -> None:
    bench = on_postgresql
    mine, other = bench.enqueue("wait"), bench.enqueue("wait")
    run = claimed(bench, mine)

    def write() -> None:
        with run.transaction() as session:
            session.get_one(Run, other).reason = "written by a run that was taken over"
            session.flush()
            with bench.database.write() as elsewhere:
                elsewhere.get_one(Run, mine).fence += 1

    with pytest.raises(ClaimLost):
        write()
    assert bench.run(other).reason is None
    bench.database.close()
