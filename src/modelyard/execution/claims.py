"""How runs pass between the table and the agents: claim, renew, give back, reap.

Every step is one short transaction that moves rows by their fence, so two agents that try the same step leave one
winner. A lease that runs out is reaped by whichever agent notices first; on the same machine a killed agent is noticed
at once, since the lock on its file is gone (see `liveness.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from modelyard.execution.context import Claim, RunKind
from modelyard.execution.events import RunEvents
from modelyard.execution.queue import Demand
from modelyard.execution.records import Run, RunState
from modelyard.ids import AgentId, RunId

#: How many waiting runs are looked at to find some that fit; later ones wait for the next look.
LOOK_AHEAD = 64
#: Seconds that a run lets others overtake it which fit where it does not; after them room is kept for it.
PATIENCE_S = 60.0


class Room(NamedTuple):
    """What an agent has."""

    free: Demand
    #: What will be free once all that ends by itself has ended.
    whole: Demand

    def has(self, run: Run) -> bool:
        """Whether the run fits now."""
        return _fits(run, self.free)

    def without(self, run: Run) -> "Room":
        """What is left beside the run."""
        free = self.free
        return self._replace(
            free=Demand(free.cores - run.cores, free.memory_gib - run.memory_gib, free.gpus - run.gpus)
        )


def claim_runs(
    session: Session, agent_id: AgentId, kinds: Collection[str], room: Room, now: datetime, lease_s: float
) -> list[Claim]:
    """Claims as many waiting runs as there is room for: by priority, projects in turn, each project's oldest first.

    A run that does not fit is overtaken by those that do, but not for ever: when it has waited for a minute, room is
    kept for it, if this agent could ever have it. A run that was cancelled while it waited is claimed whatever its
    demand, to be ended.
    """
    claims = []
    is_kept = False
    for run in _in_turn(session, kinds, now):
        takes_nothing = run.cores <= 0 and run.memory_gib <= 0 and run.gpus <= 0
        if not run.cancel_requested:
            if not room.has(run):
                waited_s = (now - max(run.created_at, run.not_before)).total_seconds()
                is_kept = is_kept or (waited_s > PATIENCE_S and _fits(run, room.whole))
                continue
            if is_kept and not takes_nothing:
                continue
            room = room.without(run)
        run.state, run.claimed_by, run.lease_until = RunState.RUNNING, agent_id, now + timedelta(seconds=lease_s)
        run.fence, run.attempt, run.started_at = run.fence + 1, run.attempt + 1, run.started_at or now
        claims.append(_claim_of(run))
    return claims


def _in_turn(session: Session, kinds: Collection[str], now: datetime) -> list[Run]:
    """The waiting runs that come next, locked; those that another agent looks at are left to it.

    Within a priority the first run of each project comes before any project's second, and so on; what of a project runs
    already counts as its first. Runs without a project take turns by organisation.
    """
    owner = func.coalesce(Run.project_id, Run.organization_id)
    running = (
        select(owner.label("owner"), func.count().label("runs"))
        .where(Run.state == RunState.RUNNING, (Run.cores > 0) | (Run.memory_gib > 0))
        .group_by(owner)
        .subquery()
    )
    of_its_owner = func.row_number().over(partition_by=(Run.priority, owner), order_by=(Run.created_at, Run.run_id))
    waiting = (
        select(Run.run_id, Run.priority, Run.created_at, owner.label("owner"), of_its_owner.label("number"))
        .where(Run.state == RunState.PENDING, Run.not_before <= now, Run.kind.in_(kinds))
        .subquery()
    )
    turn = waiting.c.number + func.coalesce(running.c.runs, 0)
    order = (waiting.c.priority.desc(), turn, waiting.c.created_at, waiting.c.run_id)
    next_ones = select(waiting.c.run_id).outerjoin(running, running.c.owner == waiting.c.owner).order_by(*order)
    ids = session.scalars(next_ones.limit(LOOK_AHEAD)).all()
    still = (Run.run_id.in_(ids), Run.state == RunState.PENDING)
    locked = {run.run_id: run for run in session.scalars(select(Run).where(*still).with_for_update(skip_locked=True))}
    return [locked[run_id] for run_id in ids if run_id in locked]


def _fits(run: Run, into: Demand) -> bool:
    return run.cores <= into.cores + 1e-9 and run.memory_gib <= into.memory_gib + 1e-9 and run.gpus <= into.gpus


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
    session: Session,
    kinds: Mapping[str, RunKind],
    dead: Collection[AgentId],
    now: datetime,
    run_attempts: int,
    events: RunEvents,
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
        spent = not kind.long_lived and run.attempt >= (run.max_attempts or run_attempts)
        if spent:
            reason = f"the agent that worked on this was lost {run.attempt} times"
            end(session, claim, kind, RunState.FAILED, reason, now, events)
        else:
            give_back(session, claim, "the agent that worked on this was lost", now, counted=not kind.long_lived)
        reaped.append((run.run_id, RunState.FAILED if spent else RunState.PENDING))
    return reaped
