"""What the database and this machine say of the platform: deployments, replicas, runs, agents, guests, memory.

Read for `/metrics`, once a scrape: three short queries, and one pass over /proc for the agents of this machine.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.deployments.records import Deployment, Replica
from modelyard.execution import Run
from modelyard.execution.liveness import machine_name
from modelyard.execution.records import AgentRecord
from modelyard.ids import OrganizationId
from modelyard.sandbox.processes import family, memory_bytes

#: An agent that has not shown itself for so long is not counted.
AGENT_S = 10.0
#: What the command line of a guest's first process holds.
GUEST = b"modelyard_guest/boot.py"


class DeploymentFacts(NamedTuple):
    """One deployment as its row says."""

    deployment_id: str
    name: str
    project_id: str
    status: str
    version: str


class Census(NamedTuple):
    """The platform at one moment."""

    deployments: list[DeploymentFacts]
    #: (deployment, state) -> replicas on all machines.
    replicas: dict[tuple[str, str], int]
    #: (kind, state) -> runs.
    runs: dict[tuple[str, str], int]
    agents: int
    agent_cores: float
    agent_memory_gib: float
    #: On this machine alone: guests of its agents, and the bytes that they and the agents hold.
    guests: int
    guest_bytes: int
    agent_bytes: int


def take_census(session: Session, now: datetime, organization_id: OrganizationId | None) -> Census:
    """The platform now: one organisation's deployments, replicas and runs, or (None) everybody's."""
    mine = () if organization_id is None else (Deployment.organization_id == organization_id,)
    columns = (
        Deployment.deployment_id, Deployment.name, Deployment.project_id, Deployment.status,
        func.coalesce(Deployment.model_version, Deployment.feature_group_version, ""),
    )  # fmt: skip
    deployments = session.execute(select(*columns).where(*mine).order_by(Deployment.deployment_id))
    replicas = (
        select(Replica.deployment_id, Replica.state, func.count())
        .join(Deployment, Deployment.deployment_id == Replica.deployment_id)
        .where(*mine)
        .group_by(Replica.deployment_id, Replica.state)
    )
    whose = () if organization_id is None else (Run.organization_id == organization_id,)
    runs: Counter[tuple[str, str]] = Counter()
    # By the columns of an index, in their order: a million runs are counted without reading a row.
    groups = (Run.organization_id, Run.kind, Run.state)
    for _, kind, state, count in session.execute(select(*groups, func.count()).where(*whose).group_by(*groups)):
        runs[kind, state] += count
    alive = AgentRecord.seen_at > now - timedelta(seconds=AGENT_S)
    agents = session.scalars(select(AgentRecord).where(alive)).all()
    guests, guest_bytes, agent_bytes = _on_this_machine(agents)
    return Census(
        deployments=[DeploymentFacts(*row) for row in deployments],
        replicas={(each, state): count for each, state, count in session.execute(replicas)},
        runs=runs,
        agents=len(agents),
        agent_cores=sum(agent.cores for agent in agents),
        agent_memory_gib=sum(agent.memory_gib for agent in agents),
        guests=guests,
        guest_bytes=guest_bytes,
        agent_bytes=agent_bytes,
    )


def _on_this_machine(agents: Iterable[AgentRecord]) -> tuple[int, int, int]:
    """Guests, the bytes that they hold, and the bytes that their agents hold."""
    here, guests, held = machine_name(), 0, {True: 0, False: 0}
    for agent_pid in {agent.pid for agent in agents if agent.machine == here}:
        is_inside: dict[int, bool] = {}
        for pid, parent in family(agent_pid).items():
            begins = not is_inside.get(parent, False) and GUEST in _command_line(pid)
            is_inside[pid] = begins or is_inside.get(parent, False)
            guests += begins
            held[is_inside[pid]] += memory_bytes(pid)
    return guests, held[True], held[False]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
