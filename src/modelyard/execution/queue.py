"""Puts work on the table, in the caller's own transaction: the caller's rows and the run are both there, or neither.

When that transaction commits, the agents of this machine are woken at once through `wake.py`; agents elsewhere poll.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import JsonValue, after_commit
from modelyard.execution.records import ENDED, AgentRecord, Run, RunState
from modelyard.execution.wake import wake_agents
from modelyard.ids import OrganizationId, ProjectId, RunId, new_id


class Demand(NamedTuple):
    """What a run needs of an agent while it runs."""

    cores: float = 1.0
    memory_gib: float = 1.0
    gpus: int = 0


class After(NamedTuple):
    """How an action says "call me again when these runs have ended". The door commits and waits without a thread."""

    run_ids: tuple[RunId, ...]
    #: After so many seconds the caller gets a NotReadyError.
    timeout_s: float = 600.0


def enqueue(
    session: Session,
    kind: str,
    payload: Mapping[str, JsonValue],
    *,
    target: str,
    organization_id: OrganizationId,
    project_id: ProjectId | None = None,
    demand: Demand = Demand(),
    priority: int = 0,
    not_before: datetime | None = None,
    max_attempts: int | None = None,
) -> RunId:
    """Adds a PENDING run to the caller's transaction and gives its id; by default it has `settings.run_attempts`."""
    now = utc_now()
    run = Run(
        run_id=RunId(new_id()),
        kind=kind,
        target=target,
        organization_id=organization_id,
        project_id=project_id,
        payload=dict(payload),
        state=RunState.PENDING,
        priority=priority,
        cores=demand.cores,
        memory_gib=demand.memory_gib,
        gpus=demand.gpus,
        attempt=0,
        max_attempts=max_attempts,
        fence=0,
        not_before=not_before or now,
        cancel_requested=False,
        created_at=now,
    )
    session.add(run)
    _wake_after_commit(session)
    return run.run_id


def cancel(session: Session, run_id: RunId) -> None:
    """Asks for the run's end: its agent stops it within a heartbeat. An ended run is left as it is.

    A run that nobody has claimed yet is claimed like any other and then ended at once, so that its `give_up` is called
    in one place only.
    """
    asked = update(Run).where(Run.run_id == run_id, Run.state.not_in(ENDED)).values(cancel_requested=True)
    session.execute(asked)
    _wake_after_commit(session)


def states(session: Session, run_ids: tuple[RunId, ...]) -> dict[RunId, RunState]:
    """The states of those runs that exist."""
    rows = session.execute(select(Run.run_id, Run.state).where(Run.run_id.in_(run_ids)))
    return {run_id: RunState(state) for run_id, state in rows}


def find_run(session: Session, target: str, kind: str) -> Run | None:
    """The newest run of that kind about `target`."""
    query = select(Run).where(Run.target == target, Run.kind == kind).order_by(Run.created_at.desc(), Run.run_id)
    return session.scalars(query.limit(1)).first()


def _wake_after_commit(session: Session) -> None:
    url = str(session.get_bind().engine.url)
    after_commit(session, "wake agents", lambda: wake_agents(url))


def has_living_agent(session: Session, now: datetime, within_s: float = 10.0) -> bool:
    """Whether any agent has shown itself lately; for health checks and for telling why a run waits."""
    since = now - timedelta(seconds=within_s)
    return session.scalar(select(AgentRecord.agent_id).where(AgentRecord.seen_at > since).limit(1)) is not None
