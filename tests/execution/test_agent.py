"""Agents claim, work, retry, give up, stop and die; on SQLite and on PostgreSQL."""

import signal
from pathlib import Path

import pytest

from modelyard.clock import utc_now
from modelyard.container import Container
from modelyard.execution import ClaimLost, Demand, RunContext, RunState, cancel, enqueue, read_logs
from modelyard.execution.claims import claim_runs
from modelyard.execution.records import Run
from modelyard.ids import AgentId, OrganizationId
from tests.execution.conftest import Bench, lines
from tests.waiting import wait_until


def test_a_run_is_worked_once_and_its_output_is_kept(bench: Bench) -> None:
    bench.start_agent()
    run_id = bench.enqueue("say", text="good morning\n")
    run = bench.ended(run_id)
    assert (run.state, run.attempt, run.claimed_by, run.lease_until) == (RunState.COMPLETE, 1, None, None)
    with bench.database.read() as session:
        assert read_logs(session, run_id).stdout == "good morning\n"


def test_a_run_that_was_rolled_back_with_its_caller_is_never_seen(bench: Bench) -> None:
    def fail_after_enqueueing() -> None:
        with bench.database.write() as session:
            enqueue(session, "say", {"text": "x"}, target="test", organization_id=OrganizationId("0123456789"))
            raise ValueError("the caller failed")

    with pytest.raises(ValueError, match="the caller failed"):
        fail_after_enqueueing()
    with bench.database.read() as session:
        assert session.query(Run).count() == 0


def test_a_permanent_failure_is_told_to_the_owner_and_not_tried_again(bench: Bench, tmp_path: Path) -> None:
    bench.start_agent()
    run = bench.ended(bench.enqueue("fail", why="no such thing", folder=str(tmp_path)))
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, "no such thing", 1)
    assert lines(tmp_path / "given-up") == ["no such thing"]


def test_a_retry_is_another_attempt(bench: Bench) -> None:
    bench.start_agent()
    run = bench.ended(bench.enqueue("stumble", times=2))
    assert (run.state, run.attempt) == (RunState.COMPLETE, 3)


def test_attempts_end_with_the_last_reason(bench: Bench, tmp_path: Path) -> None:
    bench.start_agent()
    run = bench.ended(bench.enqueue("stumble", times=9, max_attempts=2, folder=str(tmp_path)))
    assert (run.state, run.attempt, run.reason) == (RunState.FAILED, 2, "not yet")
    assert lines(tmp_path / "given-up") == ["not yet"]


def test_waiting_for_something_else_costs_no_attempt(bench: Bench, tmp_path: Path) -> None:
    bench.start_agent()
    run_id = bench.enqueue("wait", max_attempts=1, folder=str(tmp_path))
    wait_until(lambda: len(lines(tmp_path / "waited")) > 3)
    (tmp_path / "go").touch()
    run = bench.ended(run_id)
    assert (run.state, run.attempt) == (RunState.COMPLETE, 1)
    assert set(lines(tmp_path / "waited")) == {"1"}


def test_who_listens_hears_of_runs_that_were_given_up(bench: Bench) -> None:
    heard: list[tuple[str, str]] = []
    bench.events.given_up.append(lambda _, run_id, reason: heard.append((run_id, reason)))
    bench.start_agent()
    bench.ended(bench.enqueue("stumble", times=1))
    run = bench.ended(bench.enqueue("fail", why="no such thing"))
    assert heard == [(run.run_id, "no such thing")]


def test_an_unexpected_error_ends_the_run_and_not_the_agent(bench: Bench) -> None:
    bench.start_agent()
    run = bench.ended(bench.enqueue("crash", max_attempts=1))
    assert run.state == RunState.FAILED
    assert run.reason is not None
    assert "ZeroDivisionError" in run.reason
    assert bench.ended(bench.enqueue("say", text="still here")).state == RunState.COMPLETE


def test_cancelling_ends_a_running_and_a_waiting_run_and_tells_their_owners(bench: Bench, tmp_path: Path) -> None:
    running, waiting = tmp_path / "running", tmp_path / "waiting"
    running.mkdir()
    waiting.mkdir()
    bench.start_agent(agent_cores=1)
    first = bench.enqueue("linger", folder=str(running))
    wait_until((running / "began-1").exists)
    second = bench.enqueue("linger", folder=str(waiting))
    with bench.database.write() as session:
        cancel(session, first)
        cancel(session, second)
    assert bench.ended(first).state == RunState.CANCELLED
    assert bench.ended(second).state == RunState.CANCELLED
    assert not (waiting / "began-1").exists()
    assert lines(running / "given-up") == ["cancelled"]
    assert lines(waiting / "given-up") == ["cancelled before it began"]


def test_runs_wait_until_there_is_room_for_them(bench: Bench, tmp_path: Path) -> None:
    bench.start_agent(agent_cores=2, agent_memory_gib=4)
    large = bench.enqueue("linger", Demand(cores=1, memory_gib=3), folder=str(tmp_path))
    wait_until((tmp_path / "began-1").exists)
    too_much = bench.enqueue("say", Demand(cores=1, memory_gib=2), text="")
    fits = bench.enqueue("say", Demand(cores=1, memory_gib=1), text="")
    assert bench.ended(fits).state == RunState.COMPLETE
    assert bench.run(too_much).state == RunState.PENDING
    (tmp_path / "go").touch()
    assert bench.ended(too_much).state == RunState.COMPLETE
    assert bench.ended(large).state == RunState.COMPLETE


def test_two_agents_never_work_the_same_run(bench: Bench, tmp_path: Path) -> None:
    for _ in range(2):
        bench.start_agent(agent_cores=8)
    (tmp_path / "go").touch()
    runs = [bench.enqueue("linger", folder=str(tmp_path)) for _ in range(40)]
    assert {bench.ended(run).state for run in runs} == {RunState.COMPLETE}
    assert len(lines(tmp_path / "ends")) == 40


def test_a_stopped_agent_gives_its_runs_back_without_losing_an_attempt(bench: Bench, tmp_path: Path) -> None:
    agent = bench.start_agent()
    run_id = bench.enqueue("linger", folder=str(tmp_path))
    wait_until((tmp_path / "began-1").exists)
    agent.stop()
    assert (bench.run(run_id).state, bench.run(run_id).attempt) == (RunState.PENDING, 0)
    (tmp_path / "go").touch()
    bench.start_agent()
    assert (bench.ended(run_id).state, bench.run(run_id).attempt) == (RunState.COMPLETE, 1)


def test_runs_of_a_killed_agent_are_taken_over_at_once_though_its_lease_is_long(
    bench: Bench, tmp_path: Path, database_url: str
) -> None:
    process = bench.start_process(database_url)
    run_id = bench.enqueue("linger", folder=str(tmp_path))
    wait_until((tmp_path / "began-1").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / "go").touch()
    bench.start_agent()
    run = bench.ended(run_id, timeout_s=15)
    assert (run.state, run.attempt) == (RunState.COMPLETE, 2)
    assert lines(tmp_path / "ends") == ["2"]


def test_a_run_that_kills_every_agent_is_given_up_after_its_attempts(
    bench: Bench, tmp_path: Path, database_url: str
) -> None:
    run_id = bench.enqueue("linger", max_attempts=2, folder=str(tmp_path))
    for attempt in (1, 2):
        process = bench.start_process(database_url)
        wait_until((tmp_path / f"began-{attempt}").exists)
        process.send_signal(signal.SIGKILL)
        process.wait()
    bench.start_agent()
    run = bench.ended(run_id)
    assert run.state == RunState.FAILED
    assert lines(tmp_path / "given-up") == ["the agent that worked on this was lost 2 times"]


def test_serving_is_taken_over_without_end(bench: Bench, tmp_path: Path, database_url: str) -> None:
    run_id = bench.enqueue("serve", max_attempts=1, folder=str(tmp_path))
    for _ in range(3):
        process = bench.start_process(database_url)
        wait_until((tmp_path / "began-1").exists)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (tmp_path / "began-1").unlink()
    (tmp_path / "go").touch()
    bench.start_agent()
    assert bench.ended(run_id).state == RunState.COMPLETE


def test_an_attempt_that_was_taken_over_can_write_nothing(bench: Bench) -> None:
    run_id = bench.enqueue("say", text="")
    contexts: list[RunContext] = []
    for name in ("first", "second"):
        with bench.database.write() as session:
            if contexts:
                run = session.get(Run, run_id)
                assert run is not None
                run.state = RunState.PENDING  # as a reaper leaves it
                session.flush()
            claims = claim_runs(session, AgentId(name), ["say"], Demand(9, 9, 0), utc_now(), 30)
        contexts.append(RunContext(claims[0], bench.database, Container(), bench.settings, utc_now))
    with pytest.raises(ClaimLost), contexts[0].transaction():
        pytest.fail("the transaction must not even begin")
    with contexts[1].transaction() as session:
        contexts[1].complete(session)
    assert bench.run(run_id).state == RunState.COMPLETE
