"""A real agent that kills itself at one step of one run: `python -m tests.killing_agent RUN STEP LOG`.

RUN is the kind and the target, as the run's thread is named. Its steps are what it leaves behind: each commit (right
before and right after it), each file or folder that it moves, links or removes. They are written to LOG as they come.
At step 0 it kills itself never.
"""

import os
import runpy
import signal
import sys
import threading
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

#: Of Python's audit events, those by which something changes for good.
EVENTS = ("os.rename", "os.link", "shutil.rmtree")


class Steps:
    """Counts the steps of the one run."""

    def __init__(self, run: str, last: int, log: str) -> None:
        self._run, self._last = run, last
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._count = 0

    def take(self, name: str) -> None:
        """One step more, and perhaps the last."""
        if threading.current_thread().name != self._run:
            return
        self._count += 1
        os.write(self._log, f"{name}\n".encode())
        if self._count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(self, name: str, _arguments: tuple[Any, ...]) -> None:
        """An audit event."""
        if name in EVENTS:
            self.take(f"before {name}")


def main() -> None:
    """Listens, and becomes the agent."""
    run, last, log = sys.argv[1:]
    steps = Steps(run, int(last), log)
    event.listen(Engine, "commit", lambda _connection: steps.take("before a commit"))
    event.listen(Session, "after_commit", lambda _session: steps.take("after a commit"))
    sys.addaudithook(steps.heard)
    sys.argv = ["modelyard", "agent"]
    runpy.run_module("modelyard", run_name="__main__")


if __name__ == "__main__":
    main()
