"""What the agents of this house have, as they told the database: so that nothing is asked for that none could give."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.execution.agent import capacity_of
from modelyard.execution.queue import Demand
from modelyard.execution.records import AgentRecord
from modelyard.settings import Settings


def largest_agent(session: Session, settings: Settings) -> Demand:
    """The most that any agent has of each, this machine's among them."""
    here = capacity_of(settings)
    row = session.execute(
        select(func.max(AgentRecord.cores), func.max(AgentRecord.memory_gib), func.max(AgentRecord.gpus))
    ).one()
    return Demand(max(here.cores, row[0] or 0), max(here.memory_gib, row[1] or 0), max(here.gpus, row[2] or 0))
