"""Why a run waits, in a sentence for the one who waits for it."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from modelyard.execution.records import AgentRecord, Run, RunState
from modelyard.ids import RunId

#: Agents that were not seen for so long are not counted on.
ALIVE_S = 10.0


def what_it_waits_for(session: Session, run_id: RunId, now: datetime) -> str | None:
    """What the run waits for; None if it doesn't wait."""
    run = session.get(Run, run_id)
    if run is None or run.state != RunState.PENDING:
        return None
    alive = AgentRecord.seen_at > now - timedelta(seconds=ALIVE_S)
    if session.scalar(select(func.count()).select_from(AgentRecord).where(alive)) == 0:
        return "no agent is running; `modelyard serve` or `modelyard agent` starts one"
    if run.not_before > now:
        seconds = (run.not_before - now).total_seconds()
        return f"{run.reason or 'it was put off'}; tried again in {seconds:.0f} s"
    if _could_take(session, run, alive) == 0:
        return f"no agent is large enough: it asks for {_size(run.cores, run.memory_gib, run.gpus)}"
    taken = session.execute(
        select(func.count(), func.sum(Run.cores), func.sum(Run.memory_gib), func.sum(Run.gpus)).where(
            Run.state == RunState.RUNNING
        )
    ).one()
    before = session.scalar(select(func.count()).select_from(Run).where(_is_before(run, now))) or 0
    return (
        f"{_size(run.cores, run.memory_gib, run.gpus)} to be free: {taken[0]} runs hold "
        f"{_size(taken[1] or 0, taken[2] or 0, taken[3] or 0)}, {before} others came before it"
    )


def _could_take(session: Session, run: Run, alive: ColumnElement[bool]) -> int:
    large = (AgentRecord.cores >= run.cores, AgentRecord.memory_gib >= run.memory_gib, AgentRecord.gpus >= run.gpus)
    return session.scalar(select(func.count()).select_from(AgentRecord).where(alive, *large)) or 0


def _is_before(run: Run, now: datetime) -> ColumnElement[bool]:
    waits = (Run.state == RunState.PENDING) & (Run.not_before <= now) & (Run.run_id != run.run_id)
    return waits & ((Run.priority > run.priority) | (Run.created_at < run.created_at))


def _size(cores: float, memory_gib: float, gpus: int) -> str:
    return f"{cores:g} cores and {memory_gib:g} GiB" + (f" and {gpus} GPUs" if gpus else "")
