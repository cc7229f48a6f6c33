"""How runs pass between the table and the agents: claim, renew, give back, reap.

Every step is one short transaction that moves rows by their fence, so two agents that try the same step leave one
winner. A lease that runs out is reaped by whichever agent notices first; on the same machine a killed agent is noticed
at once, since the lock on its file is gone (see `liveness.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from modelyard.execution.context import Claim, RunKind
from modelyard.execution.events import RunEvents
from modelyard.execution.queue import Demand
from modelyard.execution.records import Run, RunState
from modelyard.ids import AgentId, RunId

#: How many waiting runs are looked at to find some that fit; later ones wait for the next look.
LOOK_AHEAD = 64


def claim_runs(
    session: Session, agent_id: AgentId, kinds: Collection[str], free: Demand, now: datetime, lease_s: float
) -> list[Claim]:
    """Claims as many waiting runs as fit into `free`, oldest first within a priority.

    A run that was cancelled while it waited is claimed whatever its demand, to be ended.
    """
    waiting = (
        select(Run)
        .where(Run.state == RunState.PENDING, Run.not_before <= now, Run.kind.in_(kinds))
        .order_by(Run.priority.desc(), Run.created_at, Run.run_id)
        .limit(LOOK_AHEAD)
        .with_for_update(skip_locked=True)
    )
    claims = []
    for run in session.scalars(waiting):
        fits = run.cores <= free.cores + 1e-9 and run.memory_gib <= free.memory_gib + 1e-9 and run.gpus <= free.gpus
        if not (fits or run.cancel_requested):
            continue
        if not run.cancel_requested:
            free = Demand(free.cores - run.cores, free.memory_gib - run.memory_gib, free.gpus - run.gpus)
        run.state, run.claimed_by, run.lease_until = RunState.RUNNING, agent_id, now + timedelta(seconds=lease_s)
        run.fence, run.attempt, run.started_at = run.fence + 1, run.attempt + 1, run.started_at or now
        claims.append(_claim_of(run))
    return claims


def _claim_of(run: Run) -> Claim:
    return Claim(
        run_id=run.run_id,
        kind=run.kind,
        target=run.target,
        payload=dict(run.payload),
        attempt=run.attempt,
        fence=run.fence,
        cores=run.cores,
        memory_gib=run.memory_gib,
        gpus=run.gpus,
        cancel_requested=run.cancel_requested,
    )


def renew(session: Session, claims: Sequence[Claim], now: datetime, lease_s: float) -> dict[RunId, bool]:
    """Prolongs the leases of those claims that still hold; gives for each of them whether its end was asked for."""
    kept = {}
    for claim in claims:
        alive = (Run.run_id == claim.run_id, Run.fence == claim.fence, Run.state == RunState.RUNNING)
        values = {"lease_until": now + timedelta(seconds=lease_s)}
        cancelled = session.execute(
            update(Run).where(*alive).values(**values).returning(Run.cancel_requested)
        ).scalar_one_or_none()
        if cancelled is not None:
            kept[claim.run_id] = cancelled
    return kept


def give_back(session: Session, claim: Claim, reason: str | None, not_before: datetime, *, counted: bool) -> None:
    """Puts a claimed run back on the table. `counted` says whether this attempt was one of its attempts."""
    mine = (Run.run_id == claim.run_id, Run.fence == claim.fence, Run.state == RunState.RUNNING)
    values = {
        "state": RunState.PENDING,
        "claimed_by": None,
        "lease_until": None,
        "reason": reason,
        "not_before": not_before,
        "attempt": claim.attempt if counted else claim.attempt - 1,
    }
    session.execute(update(Run).where(*mine).values(**values))


def end(
    session: Session, claim: Claim, kind: RunKind, state: RunState, reason: str, now: datetime, events: RunEvents
) -> bool:
    """Ends a claimed run as FAILED or CANCELLED, tells its owner and who else listens; False if it was lost before."""
    mine = (Run.run_id == claim.run_id, Run.fence == claim.fence, Run.state == RunState.RUNNING)
    values = {"state": state, "reason": reason, "completed_at": now, "claimed_by": None, "lease_until": None}
    changed = session.execute(update(Run).where(*mine).values(**values).returning(Run.run_id)).first()
    if changed is None:
        return False
    kind.give_up(session, claim.payload, reason)
    for hear in events.given_up:
        hear(session, claim.run_id, reason)
    return True


def reap(
    session: Session, kinds: Mapping[str, RunKind], dead: Collection[AgentId], now: datetime, events: RunEvents
) -> list[tuple[RunId, RunState]]:
    """Takes runs from agents that are `dead` or whose lease is over: back on the table, or FAILED after the last."""
    over: ColumnElement[bool] = or_(Run.lease_until < now, Run.claimed_by.in_(dead))
    lost = select(Run).where(Run.state == RunState.RUNNING, over).with_for_update(skip_locked=True)
    reaped = []
    for run in session.scalars(lost).all():
        kind = kinds.get(run.kind)
        if kind is None:
            continue
        claim = _claim_of(run)
        spent = not kind.long_lived and 0 < run.max_attempts <= run.attempt
        if spent:
            reason = f"the agent that worked on this was lost {run.attempt} times"
            end(session, claim, kind, RunState.FAILED, reason, now, events)
        else:
            give_back(session, claim, "the agent that worked on this was lost", now, counted=not kind.long_lived)
        reaped.append((run.run_id, RunState.FAILED if spent else RunState.PENDING))
    return reaped
