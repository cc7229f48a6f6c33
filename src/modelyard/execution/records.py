"""The tables of work: runs, the agents that claim them, and what runs print.

The lease belongs to the run's own row, never to an agent's: whoever loses the agent's row can't strand its runs, and
every agent may reap an expired lease.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import AgentId, OrganizationId, ProjectId, RunId


class RunState(StrEnum):
    """Where a run stands."""

    #: Waits for an agent that has room for it.
    PENDING = "PENDING"
    #: Claimed: exactly one agent holds a lease on it.
    RUNNING = "RUNNING"
    #: Did what it was asked to do. That includes a training whose user code failed.
    COMPLETE = "COMPLETE"
    #: Given up: the platform could not do it within its attempts.
    FAILED = "FAILED"
    #: Ended because somebody asked for that.
    CANCELLED = "CANCELLED"


#: Which states may follow which.
TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.CANCELLED, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.COMPLETE, RunState.FAILED, RunState.CANCELLED, RunState.PENDING}),
    RunState.COMPLETE: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}

ENDED = frozenset(state for state, following in TRANSITIONS.items() if not following)


class Run(Record):
    """A piece of work that survives whoever does it."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_claimable", "state", "not_before"),
        Index("ix_runs_target", "target"),
        # What metrics count by, so that a scrape reads no rows.
        Index("ix_runs_counted", "organization_id", "kind", "state"),
    )

    run_id: Mapped[RunId] = mapped_column(primary_key=True)
    #: Name under which `app.py` binds the function.
    kind: Mapped[str]
    #: What the run is about, for logs and for finding it again: the id of a version, a deployment ...
    target: Mapped[str]
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId | None]
    payload: Mapped[JsonObject]
    state: Mapped[RunState] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(default=0)
    cores: Mapped[float]
    memory_gib: Mapped[float]
    gpus: Mapped[int]
    #: Claims so far that counted; an agent that stops in good order gives its attempt back.
    attempt: Mapped[int] = mapped_column(default=0)
    #: None: as many as the settings of the agent say (`run_attempts`).
    max_attempts: Mapped[int | None]
    #: Grows with every claim; every write of a run checks it, so a claimant that lost the run can't write.
    fence: Mapped[int] = mapped_column(default=0)
    claimed_by: Mapped[AgentId | None]
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    #: Why it failed, or why the last attempt had to be repeated, or what it waits for.
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class AgentRecord(Record):
    """An agent that has been seen. For looking at; no lease depends on it."""

    __tablename__ = "agents"

    agent_id: Mapped[AgentId] = mapped_column(primary_key=True)
    #: Host and boot of the machine, so that agents of the same machine can test each other's lock files.
    machine: Mapped[str]
    pid: Mapped[int]
    cores: Mapped[float]
    memory_gib: Mapped[float]
    gpus: Mapped[int]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class RunLog(Record):
    """A piece of what a run printed, with the moment at which it was read."""

    __tablename__ = "run_logs"

    run_id: Mapped[RunId] = mapped_column(ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    stream: Mapped[str]
    at: Mapped[datetime]
    text: Mapped[str] = mapped_column(Text)
