"""Predictions for as long as one likes while all that serves them changes: what was lost, what grew.

`python -m benchmarks.soak --minutes 60` (`make soak`: ten minutes). 32 callers keep up 80 % of the rate that they reach
at full speed, over two gateways. Meanwhile the deployment goes from one version to the other and back, by a switch, by
a canary that is promoted, and by a rollback, with a shadow in between; every so often a call makes its replica end, and
one gateway after the other is told to end and is replaced. The calls that end a replica fail, as they must; every other
call that was sent must be answered.
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
from benchmarks.measure import load, percentile

CALLERS, SHARE = 32, 0.8
GATEWAYS = 2
#: Seconds between two switches, two deaths of a replica, and two ends of a gateway.
SWITCH_S, KILL_S, RESTART_S = 2.8, 5.5, 14.0
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
    #: Private memory in MiB of the gateway and the agent, a pair each: after the first tenth, and at the end.
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Calls that failed and should not have."""
        return self.tally.errors + self.lost


def soak(seconds: float) -> Soak:
    """Runs it in a house of its own."""
    done = Soak()
    with House(gateways=GATEWAYS) as house:
        url, deployment_id, versions = _prepare(house)
        top = hammer(url, CALLERS, min(5.0, seconds / 4), lambda _: itertools.repeat(PLAIN))
        done.rate = top.per_second * SHARE
        before = dict[str, float]()
        uvloop.run(_soak(house, url, deployment_id, versions, seconds, done, before))
        done.memory = {name: (before.get(name, 0.0), _private_mib(house.child(name))) for name in ("gateway", "agent")}
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


async def _soak(
    house: House,
    url: str,
    deployment_id: str,
    versions: list[str],
    seconds: float,
    done: Soak,
    before: dict[str, float],
) -> None:
    end = time.perf_counter() + seconds

    def switch() -> None:
        done.switches += 1
        _step(house, done.switches, deployment_id, versions)

    def look() -> None:
        before.update({name: _private_mib(house.child(name)) for name in ("gateway", "agent")})

    def restart() -> None:
        gateways = house.children("gateway")
        if len(gateways) == GATEWAYS:  # the one before has been replaced
            os.kill(gateways[0], signal.SIGTERM)
            done.restarts += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(_keep_up(url, end, done))
        group.create_task(_every(SWITCH_S, end, lambda: asyncio.to_thread(switch)))
        group.create_task(_every(KILL_S, end, lambda: _kill(url, done)))
        group.create_task(_every(RESTART_S, end, lambda: asyncio.to_thread(restart)))
        await asyncio.sleep(seconds / 10)
        await asyncio.to_thread(look)


def _step(house: House, number: int, deployment_id: str, versions: list[str]) -> None:
    """One step of a rollout, the last one being through."""
    while True:
        found = house.call("describeDeployment", deploymentId=deployment_id)
        if found["pendingModelVersion"] is None:
            break
        time.sleep(0.1)
    other = next(version for version in versions if version != found["modelVersion"])
    action, given = (
        ("setDeploymentModelVersion", {"modelVersion": other}),
        ("setDeploymentCanary", {"modelVersion": other, "percent": 30}),
        ("promoteDeployment", {}),
        ("setDeploymentShadow", {"modelVersion": other, "percent": 30}),
        ("removeDeploymentShadow", {}),
        ("rollbackDeployment", {}),
    )[number % 6]
    house.call(action, deploymentId=deployment_id, **given)


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
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private")) / 1024


def main() -> int:
    """Exit status 1 if a call failed that should not have."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    seconds = parser.parse_args().minutes * 60
    print(f"{seconds:.0f} s, {load()} at the start", flush=True)
    done = soak(seconds)
    latencies = done.tally.latencies_ms
    print(
        f"{len(latencies):,} calls at {done.rate:,.0f} a second, {done.switches} steps of rollouts, "
        f"{done.kills} replicas ended, {done.restarts} gateways ended ({done.renewed} connections told so)"
    )
    p50, p99 = (percentile(latencies, share) for share in (0.5, 0.99))
    print(f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(latencies):.0f} ms")
    for name, (first, last) in done.memory.items():
        print(f"private memory of the {name}: {first:.0f} MiB after a tenth of the time, {last:.0f} MiB at the end")
    print(f"failed calls: {done.failed}", *done.tally.samples, sep="\n  ")
    return 1 if done.failed or done.survived else 0


if __name__ == "__main__":
    sys.exit(main())
