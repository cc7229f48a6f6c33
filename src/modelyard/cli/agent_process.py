"""The agent's process: works runs until it is told to stop. A child of `modelyard serve`, or `modelyard agent` itself.

While it starts to claim runs it also makes the environment of the base packages and keeps guests warm, one of it and
those that waited when it ended last, so that nobody's first training or first call waits for either.
"""

import logging
import threading
import time

from modelyard import app
from modelyard.cli.children import DATABASE_PATIENCE_S, settle_memory, take_orders, take_signals
from modelyard.cli.logs import configure_logs
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.sandbox import GuestNotStarted, Sandbox, SandboxUnavailable
from modelyard.settings import Settings

log = logging.getLogger(__name__)
#: Making the base environment is worth a word only if it takes longer than this.
SILENT_S = 1.0


def main() -> None:
    """The child of `modelyard serve`."""
    orders = take_orders()
    configure_logs("agent", orders.level)
    work(orders.settings)


def work(settings: Settings) -> None:
    """Works runs until SIGTERM or SIGINT, then gives back what it has and ends its guests."""
    wait_for_end = take_signals()
    house = app.open_house(settings, patience_s=DATABASE_PATIENCE_S)
    parts = app.agent_parts(house)
    sandbox, environments = parts.get(Sandbox), parts.get(Environments)
    report = sandbox.report()
    if not report.usable:
        log.error("%s", report.advice)
    agent = app.agent(house, parts)
    settle_memory()
    agent.start()
    log.info("agent %s takes runs: %g cores, %.1f GiB", agent.agent_id, *agent.capacity[:2])
    stopping = threading.Event()
    threading.Thread(target=_warm_up, args=(environments, sandbox, stopping), name="warm-up", daemon=True).start()
    wait_for_end()
    stopping.set()
    running = len(agent.running)
    log.info("stopping%s", f": {running} runs are given back" if running else "")
    agent.stop()
    parts.close()
    house.database.close()


def _warm_up(environments: Environments, sandbox: Sandbox, stopping: threading.Event) -> None:
    """Has guests wait as they did before, makes the base environment and a warm guest of it.

    A failure is told and left to the first run that needs it.
    """
    if not sandbox.report().usable:
        return
    start = time.monotonic()
    try:
        sandbox.resume()
        base = environments.base(on_progress=lambda line: log.info("environment of the base packages: %s", line))
        took = time.monotonic() - start
        if took > SILENT_S:
            log.info("environment of the base packages: ready after %.1f s", took)
        sandbox.warm(base.interpreter)
    except (EnvironmentFailure, SandboxUnavailable, GuestNotStarted, OSError) as error:
        if not stopping.is_set():
            log.warning("the environment of the base packages could not be made yet: %s", error)


if __name__ == "__main__":
    main()
