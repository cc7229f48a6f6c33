"""Agents claim, work, retry, give up, stop and die; on SQLite and on PostgreSQL."""

import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from modelyard.clock import utc_now
from modelyard.container import Container
from modelyard.execution import ClaimLost, Demand, RunContext, RunState, agent, cancel, enqueue, read_logs
from modelyard.execution.claims import PATIENCE_S, Room, claim_runs
from modelyard.execution.queue import has_living_agent
from modelyard.execution.records import AgentRecord, Run
from modelyard.gpus import Gpu, find_gpus
from modelyard.ids import AgentId, OrganizationId, ProjectId
from modelyard.sandbox.bubblewrap import Walls
from modelyard.sandbox.limits import Limits
from tests.execution.conftest import ONE_CORE, Bench, lines
from tests.waiting import wait_until


def test_a_run_is_worked_once_and_its_output_is_kept(bench: Bench) -> None:
    bench.start_agent()
    run_id = bench.enqueue("say", text="good morning\n")
    run = bench.ended(run_id)
    assert (run.state, run.attempt, run.claimed_by, run.lease_until) == (RunState.COMPLETE, 1, None, None)
    with bench.database.read() as session:
        assert read_logs(session, run_id).stdout == "good morning\n"


def test_an_agent_shows_itself_as_long_as_it_lives(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "SIGN_S", 0.05)
    bench.start_agent(lease_s=0.5)
    with bench.database.write() as session:
        session.execute(update(AgentRecord).values(seen_at=utc_now() - timedelta(minutes=1)))

    def is_seen() -> bool:
        with bench.database.read() as session:
            return has_living_agent(session, utc_now())

    wait_until(is_seen)
    bench.agents[0].stop()
    with bench.database.read() as session:
        assert not has_living_agent(session, utc_now() + timedelta(seconds=11))


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
            claims = claim_runs(session, AgentId(name), ["say"], Room(Demand(9, 9, 0), Demand(9, 9, 0)), utc_now(), 30)
        contexts.append(RunContext(claims[0], bench.database, Container(), bench.settings, utc_now))
    with pytest.raises(ClaimLost), contexts[0].transaction():
        pytest.fail("the transaction must not even begin")
    with contexts[1].transaction() as session:
        contexts[1].complete(session)
    assert bench.run(run_id).state == RunState.COMPLETE


def waiting(bench: Bench, project: str, count: int, demand: Demand = ONE_CORE) -> list[str]:
    """Runs of a project that wait, oldest first."""
    with bench.database.write() as session:
        return [
            enqueue(
                session, "say", {"text": ""}, target="test", organization_id=OrganizationId("o"),
                project_id=ProjectId(project), demand=demand,
            )
            for _ in range(count)
        ]  # fmt: skip


def claimed(bench: Bench, cores: float, at: datetime | None = None, whole: float = 4) -> list[str]:
    room = Room(Demand(cores, 100, 0), Demand(whole, 100, 0))
    with bench.database.write() as session:
        return [each.run_id for each in claim_runs(session, AgentId("a"), ["say"], room, at or utc_now(), 30)]


def test_projects_take_turns_however_many_runs_one_of_them_has(bench: Bench) -> None:
    many = waiting(bench, "greedy", 200)
    few = waiting(bench, "modest", 3)
    assert claimed(bench, 4) == [many[0], few[0], many[1], few[1]]
    assert claimed(bench, 2) == [many[2], few[2]], "each has two at work by now"


def test_a_project_with_much_at_work_waits_for_one_with_nothing(bench: Bench) -> None:
    many = waiting(bench, "greedy", 10)
    assert claimed(bench, 4) == many[:4]
    late = waiting(bench, "late", 1)
    assert claimed(bench, 1) == late


def test_room_is_kept_for_a_run_that_was_overtaken_for_long(bench: Bench) -> None:
    [large] = waiting(bench, "large", 1, Demand(cores=4))
    small = waiting(bench, "small", 9)
    assert claimed(bench, 2) == small[:2], "at first it is overtaken"
    late = utc_now() + timedelta(seconds=PATIENCE_S + 1)
    nothing = waiting(bench, "refresh", 1, Demand(cores=0, memory_gib=0))
    assert claimed(bench, 2, late) == nothing, "what takes nothing goes on"
    assert claimed(bench, 4, late) == [large]


def test_no_room_is_kept_for_what_could_never_run_here(bench: Bench) -> None:
    waiting(bench, "large", 1, Demand(cores=4))
    small = waiting(bench, "small", 2)
    late = utc_now() + timedelta(seconds=PATIENCE_S + 1)
    assert claimed(bench, 2, late, whole=3) == small


def test_each_run_that_needs_a_gpu_gets_one_of_its_own(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = "Model: \t\t NVIDIA H100\nIRQ:   \t\t 24\nGPU UUID: \t GPU-%s\nDevice Minor: \t %d\n"
    for place, (uuid, minor) in enumerate((("0aa1-b", 1), ("77ff-c", 0))):
        folder = tmp_path / "driver" / f"0000:0{place}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(information % (uuid, minor))
    (tmp_path / "driver" / "0000:09:00.0").mkdir()
    gpus = find_gpus(tmp_path / "driver")
    assert gpus == (Gpu("GPU-0aa1-b", 1, "NVIDIA H100"), Gpu("GPU-77ff-c", 0, "NVIDIA H100"))
    monkeypatch.setattr("modelyard.execution.agent.find_gpus", lambda: gpus)
    agent = bench.start_agent(agent_cores=8)
    one = Demand(cores=1, memory_gib=1, gpus=1)
    runs = [bench.enqueue("linger", one, folder=str(tmp_path)) for _ in range(3)]
    wait_until(lambda: len(agent.running) == 2)
    held = [context.gpus for context, _ in agent._contexts()]
    assert sorted(held) == [(gpus[0],), (gpus[1],)]
    assert bench.run(runs[2]).state == RunState.PENDING
    (tmp_path / "go").touch()
    assert {bench.ended(run_id).state for run_id in runs} == {RunState.COMPLETE}


def test_a_guest_sees_the_gpus_of_its_run_alone() -> None:
    limits = Limits(gpus=(Gpu("GPU-0aa1-b", 3),))
    assert limits.environment(Path("/python"), "/work")["CUDA_VISIBLE_DEVICES"] == "GPU-0aa1-b"
    assert Limits().environment(Path("/python"), "/work")["CUDA_VISIBLE_DEVICES"] == ""
    walls = Walls(limits, None, Path("/g"), Path("/s"), {}, {}, {}, 1, 3, 4).arguments()
    assert [name for name in walls if name.startswith("/dev/nvidia") and name[11:].isdigit()] == ["/dev/nvidia3"] * 2
