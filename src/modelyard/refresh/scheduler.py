"""Fires the policies that are due. Every agent runs one scheduler; the policy's row decides which of them fires a tick.

Firing is one transaction: the record of the refresh, its run, and the policy's next moment are written together, so a
tick is fired once, whoever is killed when. Ticks missed while no agent ran come down to one.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import Clock, utc_now
from modelyard.database import Database, JsonObject
from modelyard.execution import Demand, enqueue
from modelyard.execution.companion import Companion
from modelyard.ids import RefreshPipelineRunId, new_id
from modelyard.refresh.cron import next_time
from modelyard.refresh.records import (
    RefreshPipelineRun,
    RefreshPolicy,
    RefreshStatus,
    RefreshTarget,
    RefreshType,
)
from modelyard.refresh.schedules import targets_of

#: Seconds between two looks at what is due.
TICK_S = 1.0
#: Policies that one transaction fires.
AT_ONCE = 100
#: A refresh only waits for its parts, so it takes nothing of the agent's capacity.
NOTHING = Demand(cores=0, memory_gib=0)
KIND = "refresh.run"


def scheduler(database: Database, clock: Clock = utc_now) -> Companion:
    """What looks every second what is due."""
    return Companion("refresh-scheduler", TICK_S, lambda: fire_due(database, clock()))


def fire_due(database: Database, now: datetime) -> int:
    """Fires every policy that is due at `now` and gives how many there were."""
    due = (RefreshPolicy.paused.is_(False), RefreshPolicy.next_run_at <= now)
    with database.read() as session:
        if session.scalar(select(RefreshPolicy.refresh_policy_id).where(*due).limit(1)) is None:
            return 0
    fired = 0
    while some := _fire_some(database, now):
        fired += some
    return fired


def _fire_some(database: Database, now: datetime) -> int:
    """Fires up to `AT_ONCE` of them: at midnight thousands may be due, and nobody else can write meanwhile."""
    due = (RefreshPolicy.paused.is_(False), RefreshPolicy.next_run_at <= now)
    with database.write() as session:
        some = select(RefreshPolicy).where(*due).limit(AT_ONCE).with_for_update(skip_locked=True)
        policies = session.scalars(some).all()
        for policy in policies:
            fire(session, policy, now)
            policy.next_run_at = next_time(policy.cron, now)
        return len(policies)


def _export_of(policy: RefreshPolicy, target: RefreshTarget) -> JsonObject:
    """What is to become of a feature group's version, as the policy said when it fired."""
    is_table = target.kind == RefreshType.FEATUREGROUP
    return {"export": policy.feature_group_export_config} if is_table and policy.feature_group_export_config else {}


def fire(session: Session, policy: RefreshPolicy, now: datetime) -> RefreshPipelineRun:
    """Begins one refresh of the policy, within the transaction."""
    refresh = RefreshPipelineRun(
        refresh_pipeline_run_id=RefreshPipelineRunId(new_id()),
        refresh_policy_id=policy.refresh_policy_id,
        organization_id=policy.organization_id,
        refresh_type=policy.refresh_type,
        status=RefreshStatus.PENDING,
        parts=[
            {"kind": target.kind, "target_id": target.target_id, "version": None} | _export_of(policy, target)
            for target in targets_of(session, policy.refresh_policy_id)
        ],
        created_at=now,
    )
    session.add(refresh)
    enqueue(
        session,
        KIND,
        {"refresh_pipeline_run_id": refresh.refresh_pipeline_run_id},
        target=refresh.refresh_pipeline_run_id,
        organization_id=policy.organization_id,
        project_id=policy.project_id,
        demand=NOTHING,
    )
    return refresh
