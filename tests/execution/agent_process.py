"""An agent in a process of its own, to be killed: `python -m tests.execution.agent_process HOME URL`."""

import sys
import threading
from pathlib import Path

from modelyard.container import Container
from modelyard.database import Database
from modelyard.execution.agent import Agent
from modelyard.settings import Settings
from tests.execution.kinds import KINDS

if __name__ == "__main__":
    home, url = sys.argv[1:]
    settings = Settings.load({}, home=Path(home), poll_s=0.05, lease_s=30.0)
    Agent(Database(url), KINDS, Container(), settings).start()
    print("started", flush=True)
    threading.Event().wait()
