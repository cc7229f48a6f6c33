"""What the agents of this house have, as they told the database: so that nothing is asked for that none could give."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.execution.agent import capacity_of
from modelyard.execution.queue import Demand
from modelyard.execution.records import AgentRecord
from modelyard.settings import Settings

#: An agent that was seen so long before the one that was seen last is gone for good; one that starts again is not.
GONE_S = 600.0


def largest_agent(session: Session, settings: Settings) -> Demand:
    """The most that any agent has of each, this machine's among them; those that are gone don't count."""
    here = capacity_of(settings)
    last_seen = session.scalar(select(func.max(AgentRecord.seen_at)))
    if last_seen is None:
        return here
    row = session.execute(
        select(func.max(AgentRecord.cores), func.max(AgentRecord.memory_gib), func.max(AgentRecord.gpus)).where(
            AgentRecord.seen_at >= last_seen - timedelta(seconds=GONE_S)
        )
    ).one()
    return Demand(max(here.cores, row[0]), max(here.memory_gib, row[1]), max(here.gpus, row[2]))
