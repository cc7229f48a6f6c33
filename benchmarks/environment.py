"""An environment from a lock that is known, and one that is built already.

The lock differs from the base packages by the version of one small package, so that the environment can be removed
and built again without anybody else's being touched. Its wheels are in uv's cache from the first build on.
"""

import shutil
import time
from collections.abc import Iterator

from benchmarks.house import new_home, shared_cache
from benchmarks.measure import Options, Row, at_most, median, spread
from modelyard.environments import Environments
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings

REQUIREMENT = "idna==3.10"


def run(options: Options) -> Iterator[Row]:
    """Builds and removes one environment `rounds` times."""
    home = new_home()
    settings = Settings.load({}, home=home, cache=shared_cache())
    sandbox = Sandbox(settings)
    environments = Environments(settings, sandbox)
    try:
        environments.base()
        found = environments.ensure([REQUIREMENT])
        environments.wait_for_bytecode(120)
        built = []
        for _ in range(options.rounds):
            environments.purge(found.id)
            built.append(_seconds(environments, found.lock))
            environments.wait_for_bytecode(120)
        known = [_seconds(environments, found.lock) * 1000 for _ in range(5 * options.rounds)]
        by_name = _by_name(environments, options.rounds)
        environments.purge(found.id)
    finally:
        sandbox.close()
        shutil.rmtree(home, ignore_errors=True)
    yield at_most("environment, from a known lock", median(built), 1.0, "s", spread(built), "lowest to highest")
    yield at_most("environment, already built, by lock", median(known), 20, "ms", spread(known), "lowest to highest")
    yield at_most(
        "environment, already built, by requirements", median(by_name), 20, "ms", spread(by_name), "lowest to highest"
    )


def _seconds(environments: Environments, lock: str) -> float:
    began = time.perf_counter()
    environments.ensure((), lock=lock)
    return time.perf_counter() - began


def _by_name(environments: Environments, rounds: int) -> list[float]:
    environments.ensure([REQUIREMENT])
    took = []
    for _ in range(5 * rounds):
        began = time.perf_counter()
        environments.ensure([REQUIREMENT])
        took.append((time.perf_counter() - began) * 1000)
    return took
