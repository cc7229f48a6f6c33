"""What is known of the agents of a house."""

from datetime import timedelta

import msgspec

from modelyard.clock import utc_now
from modelyard.execution import Demand
from modelyard.execution.agents import largest_agent
from modelyard.execution.records import AgentRecord
from modelyard.ids import AgentId
from tests.execution.conftest import Bench


def test_agents_that_are_gone_for_good_promise_nothing(bench: Bench) -> None:
    settings, now = msgspec.structs.replace(bench.settings, agent_cores=2, agent_memory_gib=4), utc_now()
    agents = {"here": (2.0, 4.0, 0, 0), "starts-again": (4.0, 2.0, 0, 300), "moved-away": (64.0, 512.0, 8, 86_400)}
    with bench.database.write() as session:
        assert largest_agent(session, settings)[:2] == (2, 4)
        for name, (cores, memory_gib, gpus, seconds) in agents.items():
            seen = now - timedelta(seconds=seconds)
            session.add(
                AgentRecord(
                    agent_id=AgentId(name), machine="a machine", pid=1, cores=cores, memory_gib=memory_gib, gpus=gpus,
                    started_at=seen, seen_at=seen,
                )
            )  # fmt: skip
        session.flush()
        assert largest_agent(session, settings)[:2] == (4, 4)
        assert largest_agent(session, settings).gpus < 8
        assert isinstance(largest_agent(session, settings), Demand)
