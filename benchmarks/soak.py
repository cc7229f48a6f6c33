"""Predictions for as long as one likes while all that serves them changes: what was lost, what grew.

`python -m benchmarks.soak --minutes 60` (`make soak`: ten minutes). 32 callers keep up 80 % of the rate that they reach
at full speed, over two gateways. Meanwhile the deployment goes from one version to the other and back, by a switch, by
a canary that is promoted, and by a rollback, with a shadow in between; every so often a call makes its replica end, and
one gateway after the other is told to end and is replaced. The calls that end a replica fail, as they must; every other
call that was sent must be answered. With `--steady` nothing of that happens: what is looked at then is how long calls
take, and whether any process grows.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.house import House
from benchmarks.load import Tally, caller, hammer
from benchmarks.measure import load

CALLERS, SHARE = 32, 0.8
GATEWAYS = 2
#: Seconds between two switches, two deaths of a replica, and two ends of a gateway.
SWITCH_S, KILL_S, RESTART_S = 2.8, 5.5, 14.0
MINUTE_S = 60.0
#: What may come on top of a process's memory, whatever it had.
SLACK_MIB = 24.0
SOURCE = """import os

def train():
    return {number}

def predict(model, query):
    if query.get("end"):
        os._exit(3)
    return model + query["x"]
"""
PLAIN, DEADLY = (json.dumps({"queryData": query}).encode() for query in ({"x": 1}, {"x": 1, "end": True}))


@dataclass(slots=True)
class Soak:
    """What happened."""

    tally: Tally = field(default_factory=Tally)
    #: Connections that the server closed under a call.
    lost: int = 0
    #: Connections that were opened anew after an answer that said that it was the last one.
    renewed: int = 0
    #: Steps of the rollout: every sixth of each kind.
    switches: int = 0
    kills: int = 0
    restarts: int = 0
    #: Deadly calls that were answered as if nothing had happened.
    survived: int = 0
    rate: float = 0.0
    #: Private memory in MiB of gateways, agent and guests: after the first tenth, and at the end.
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Calls that failed and should not have."""
        return self.tally.errors + self.lost

    @property
    def grown(self) -> list[str]:
        """Whose memory grew by more than a tenth, and by more than what an allocator keeps."""
        return [name for name, (first, last) in self.memory.items() if last > max(first * 1.1, first + SLACK_MIB)]


def soak(seconds: float, *, steady: bool = False) -> Soak:
    """Runs it in a house of its own."""
    done = Soak()
    with House(gateways=GATEWAYS) as house:
        url, deployment_id, versions = _prepare(house)
        top = hammer(url, CALLERS, min(5.0, seconds / 4), lambda _: itertools.repeat(PLAIN))
        done.rate = top.per_second * SHARE
        uvloop.run(_soak(house, url, seconds, done, None if steady else _Rollouts(house, deployment_id, versions)))
    return done


def _prepare(house: House) -> tuple[str, str, list[str]]:
    project_id = house.project()
    models = [house.model(project_id, SOURCE.format(number=1))]
    versions = [str(models[0]["latestModelVersion"]["modelVersion"])]
    house.trained(versions[0])
    house.call("updatePythonModel", modelId=models[0]["modelId"], functionSourceCode=SOURCE.format(number=2))
    again = house.call("retrainModel", modelId=models[0]["modelId"])["latestModelVersion"]["modelVersion"]
    house.trained(again)
    deployment_id = house.deployed(versions[0])
    token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
    url = f"{house.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
    house.call("setDeploymentOptions", deploymentId=deployment_id, options={"keepFormerS": 10})
    return url, deployment_id, [*versions, str(again)]


class _Rollouts:
    """Steps of rollouts, each when the one before is through."""

    def __init__(self, house: House, deployment_id: str, versions: list[str]) -> None:
        self._house, self._deployment_id, self._versions = house, deployment_id, versions

    def step(self, number: int) -> None:
        """One of them."""
        while True:
            found = self._house.call("describeDeployment", deploymentId=self._deployment_id)
            if found["pendingModelVersion"] is None:
                break
            time.sleep(0.1)
        other = next(version for version in self._versions if version != found["modelVersion"])
        action, given = (
            ("setDeploymentModelVersion", {"modelVersion": other}),
            ("setDeploymentCanary", {"modelVersion": other, "percent": 30}),
            ("promoteDeployment", {}),
            ("setDeploymentShadow", {"modelVersion": other, "percent": 30}),
            ("removeDeploymentShadow", {}),
            ("rollbackDeployment", {}),
        )[number % 6]
        self._house.call(action, deploymentId=self._deployment_id, **given)


async def _soak(house: House, url: str, seconds: float, done: Soak, rollouts: _Rollouts | None) -> None:
    end = time.perf_counter() + seconds

    def switch(to: _Rollouts) -> None:
        done.switches += 1
        to.step(done.switches)

    def restart() -> None:
        gateways = house.children("gateway")
        if len(gateways) == GATEWAYS:  # the one before has been replaced
            os.kill(gateways[0], signal.SIGTERM)
            done.restarts += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(_keep_up(url, end, done))
        if rollouts is not None:
            group.create_task(_every(SWITCH_S, end, lambda: asyncio.to_thread(switch, rollouts)))
            group.create_task(_every(KILL_S, end, lambda: _kill(url, done)))
            group.create_task(_every(RESTART_S, end, lambda: asyncio.to_thread(restart)))
        group.create_task(_watch(house, seconds, end, done))


async def _watch(house: House, seconds: float, end: float, done: Soak) -> None:
    """Says every minute how it goes, and looks at memory after a tenth of the time and at the end."""
    await asyncio.sleep(seconds / 10)
    first = await asyncio.to_thread(_memory, house)
    while (left := end - time.perf_counter()) > 1:
        await asyncio.sleep(min(MINUTE_S, left - 1))
        last = await asyncio.to_thread(_memory, house)
        done.memory = {name: (first.get(name, 0.0), last[name]) for name in last}
        times, sizes = done.tally.latencies, ", ".join(f"{name} {size:.0f}" for name, size in last.items())
        print(
            f"  {seconds - max(left - MINUTE_S, 1):.0f} s: {len(times):,} calls, {done.failed} failed, p50 "
            f"{times.percentile(0.5):.2f} ms, p99 {times.percentile(0.99):.2f} ms, MiB: {sizes}",
            flush=True,
        )


def _memory(house: House) -> dict[str, float]:
    """Private memory in MiB of all gateways, of the agent, and of all guests."""
    groups = {"gateways": house.children("gateway"), "agent": house.children("agent"), "guests": house.guests()}
    return {name: sum(map(_private_mib, pids)) for name, pids in groups.items()}


async def _keep_up(url: str, end: float, done: Soak) -> None:
    """One caller, at its share of the rate; late calls are made up for, as impatient callers do."""
    pause, due = CALLERS / done.rate, time.perf_counter()
    while time.perf_counter() < end:
        async with caller(url) as ask:
            try:
                while (now := time.perf_counter()) < end:
                    if due > now:
                        await asyncio.sleep(due - now)
                    due = max(due + pause, now - 1.0)
                    began = time.perf_counter()
                    status, answer = await ask(PLAIN)
                    done.tally.note(time.perf_counter() - began, status, answer)
                    if b"connection: close" in answer:
                        done.renewed += 1
                        break
            except ConnectionError:
                done.lost += 1


async def _kill(url: str, done: Soak) -> None:
    async with caller(url) as ask:
        status, _ = await ask(DEADLY)
        done.kills += 1
        done.survived += status == b"200"


async def _every(pause_s: float, end: float, act: Callable[[], Awaitable[None]]) -> None:
    while time.perf_counter() + pause_s < end:
        await asyncio.sleep(pause_s)
        await act()


def _private_mib(pid: int) -> float:
    """Nothing, if the process has ended meanwhile."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private")) / 1024


def main() -> int:
    """Exit status 1 if a call failed that should not have, or something grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steady", action="store_true", help="nothing is switched, ended or replaced")
    options = parser.parse_args()
    seconds = options.minutes * 60
    print(f"{seconds:.0f} s, {load()} at the start", flush=True)
    done = soak(seconds, steady=options.steady)
    times = done.tally.latencies
    print(
        f"{len(times):,} calls, {len(times) / seconds:,.0f} a second, asked for {done.rate:,.0f}; "
        f"{done.switches} steps of rollouts, {done.kills} replicas ended, "
        f"{done.restarts} gateways ended ({done.renewed} connections told so)"
    )
    p50, p99 = times.percentile(0.5), times.percentile(0.99)
    print(f"p50 {p50:.2f} ms, p99 {p99:.2f} ms ({p99 / p50:.1f} x), longest {times.longest:.0f} ms")
    for name, (first, last) in done.memory.items():
        print(f"private memory, {name}: {first:.0f} MiB after a tenth of the time, {last:.0f} MiB at the end")
    print(f"failed calls: {done.failed}", *done.tally.samples, sep="\n  ")
    if done.grown:
        print("grew:", *done.grown)
    return 1 if done.failed or done.survived or done.grown else 0


if __name__ == "__main__":
    sys.exit(main())
