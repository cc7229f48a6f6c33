"""An agent in this process, and ways to enqueue and to wait."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.container import Container
from modelyard.database import Database
from modelyard.execution import Demand, Run, enqueue
from modelyard.execution.agent import Agent
from modelyard.execution.events import RunEvents
from modelyard.execution.records import ENDED
from modelyard.ids import OrganizationId, RunId
from modelyard.settings import Settings
from tests.execution.kinds import KINDS
from tests.waiting import wait_until

ONE_CORE = Demand()


class Bench:
    """One database with helpers; agents are started by the tests."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings, self.events = database, settings, RunEvents()
        self.agents: list[Agent] = []
        self.processes: list[subprocess.Popen[str]] = []

    def start_agent(self, **changes: Any) -> Agent:
        settings = msgspec.structs.replace(self.settings, poll_s=0.05, **changes)
        agent = Agent(self.database, KINDS, Container(), settings, events=self.events)
        agent.start()
        self.agents.append(agent)
        return agent

    def start_process(self, url: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.execution.agent_process", str(self.settings.home), url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        self.processes.append(process)
        return process

    def enqueue(self, kind: str, demand: Demand = ONE_CORE, max_attempts: int = 3, **payload: object) -> RunId:
        with self.database.write() as session:
            organization = OrganizationId("0123456789")
            return enqueue(
                session,
                kind,
                payload,
                target="test",
                organization_id=organization,
                demand=demand,
                max_attempts=max_attempts,
            )

    def run(self, run_id: RunId) -> Run:
        with self.database.read() as session:
            found = session.get(Run, run_id)
            assert found is not None
            return found

    def ended(self, run_id: RunId, timeout_s: float = 20.0) -> Run:
        wait_until(lambda: self.run(run_id).state in ENDED, timeout_s)
        return self.run(run_id)

    def close(self) -> None:
        for agent in self.agents:
            agent.stop()
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def bench(database: Database, settings: Settings) -> Iterator[Bench]:
    opened = Bench(database, settings)
    yield opened
    opened.close()


def lines(path: Path) -> list[str]:
    """The file's lines, none if there is no file."""
    return path.read_text().splitlines() if path.exists() else []
