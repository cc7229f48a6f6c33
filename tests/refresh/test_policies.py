"""Policies over the API and the scheduler over the database; what is refreshed here is a kind made for the tests."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.execution import Run
from modelyard.ids import OrganizationId, RefreshPolicyId, new_id
from modelyard.refresh import scheduler
from modelyard.refresh.records import RefreshPipelineRun, RefreshPolicy, RefreshTarget, RefreshType
from modelyard.refresh.scheduler import fire_due
from modelyard.refresh.schedules import schedules_of
from tests.yard import CallFailed, Yard

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def a_policy(database: Database, cron: str = "@hourly", next_run_at: datetime = NOON) -> RefreshPolicyId:
    policy_id = RefreshPolicyId(new_id())
    with database.write() as session:
        policy = RefreshPolicy(
            refresh_policy_id=policy_id,
            organization_id=OrganizationId("0123456789"),
            name="nightly",
            cron=cron,
            refresh_type=RefreshType.MODEL,
            paused=False,
            next_run_at=next_run_at,
            created_at=NOON,
        )
        session.add(policy)
        session.flush()
        session.add(RefreshTarget(refresh_policy_id=policy_id, kind=RefreshType.MODEL, target_id="abc", position=0))
    return policy_id


def fired(session: Session) -> list[RefreshPipelineRun]:
    return list(session.scalars(select(RefreshPipelineRun)))


def test_a_policy_fires_when_it_is_due_and_not_before(database: Database) -> None:
    a_policy(database)
    assert fire_due(database, NOON - timedelta(seconds=1)) == 0
    assert fire_due(database, NOON) == 1
    assert fire_due(database, NOON + timedelta(seconds=1)) == 0
    with database.read() as session:
        assert [refresh.parts for refresh in fired(session)] == [
            [{"kind": "MODEL", "target_id": "abc", "version": None}]
        ]
        assert [run.kind for run in session.scalars(select(Run))] == ["refresh.run"]
        [schedule] = schedules_of(session, RefreshType.MODEL, "abc")
        assert schedule.next_run_time == "2026-11-23T13:00:00+00:00"


def test_more_policies_than_one_transaction_fires_are_all_fired(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "AT_ONCE", 2)
    for _ in range(5):
        a_policy(database)
    assert fire_due(database, NOON) == 5
    assert fire_due(database, NOON) == 0


def test_a_schedule_tells_what_the_newest_refresh_failed_with(database: Database) -> None:
    policy_id = a_policy(database)
    with database.write() as session:
        for hour, error in enumerate(["first", None, "last"]):
            refresh = scheduler.fire(session, session.get_one(RefreshPolicy, policy_id), NOON + timedelta(hours=hour))
            refresh.error = error
    with database.read() as session:
        [schedule] = schedules_of(session, RefreshType.MODEL, "abc")
    assert schedule.error == "last"


def test_ticks_missed_while_nobody_ran_come_down_to_one(database: Database) -> None:
    a_policy(database)
    assert fire_due(database, NOON + timedelta(days=3, minutes=5)) == 1
    assert fire_due(database, NOON + timedelta(days=3, minutes=6)) == 0
    with database.read() as session:
        assert session.scalar(select(RefreshPolicy.next_run_at)) == NOON + timedelta(days=3, hours=1)


def test_two_schedulers_never_fire_the_same_tick(database: Database) -> None:
    for _ in range(5):
        a_policy(database)
    barrier = threading.Barrier(4)

    def look() -> None:
        barrier.wait()
        fire_due(database, NOON)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert len(fired(session)) == 5


def test_a_policy_that_names_nothing_is_refused(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed, match="must name what it refreshes"):
        shared_yard.call("createRefreshPolicy", name="x", cron="@daily", refreshType="MODEL", modelIds=[])


def test_an_unknown_refresh_type_is_an_enum_error(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed, match="must be one of DATASET") as failed:
        shared_yard.call("createRefreshPolicy", name="x", cron="@daily", refreshType="PLANET", modelIds=["a"])
    assert failed.value.error_type == "InvalidEnumParameterError"


def test_an_unknown_target_is_not_found(shared_yard: Yard) -> None:
    with pytest.raises(CallFailed) as failed:
        shared_yard.call("createRefreshPolicy", name="x", cron="@daily", refreshType="MODEL", modelIds=["0123456789"])
    assert failed.value.error_type == "DataNotFoundError"


def test_a_foreign_policy_looks_like_an_unknown_one(shared_yard: Yard) -> None:
    policy_id = a_policy(shared_yard.database, next_run_at=utc_now() + timedelta(days=1))
    with pytest.raises(CallFailed, match=f"Refresh policy {policy_id} was not found"):
        shared_yard.call("describeRefreshPolicy", "GET", refreshPolicyId=policy_id)
    assert shared_yard.call("listRefreshPolicies", "GET") == []
