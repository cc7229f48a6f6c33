"""What deployments cost that nobody asks: a thousand asleep beside twenty awake, and how long the first call waits.

A real server, one model that answers with scikit-learn on a pandas table. One deployment is made and falls asleep as
any other does; the rest are written into the database as copies of it. Then twenty are called, and stay awake.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import Table, insert, literal, select

from benchmarks.house import House
from benchmarks.measure import Options, Row, at_most, median, spread
from modelyard.database import Database
from modelyard.deployments.records import Deployment, RoutingRevision

ASLEEP, AWAKE, IN_A_ROW = 1_000, 20, 10
#: Budget of a call that wakes a deployment.
WAKE_S = 1.5
SOURCE = """
import pandas as pd
from sklearn.linear_model import LinearRegression

def train():
    table = pd.DataFrame({"x": range(100)})
    return LinearRegression().fit(table, table["x"] * 2.0)

def predict(model, query):
    return float(model.predict(pd.DataFrame([query]))[0])
"""
BODY = json.dumps({"queryData": {"x": 1.0}}).encode()
#: Seconds without a call until a deployment of this benchmark sleeps.
IDLE_S = 2.0
TICKS = os.sysconf("SC_CLK_TCK")


def run(options: Options) -> Iterator[Row]:
    """Waking; memory and processor time of a thousand asleep; of twenty awake."""
    with House() as house:
        url, first = _prepare(house)
        _until_asleep(house, first)
        waking = [_wake(house, url, first) for _ in range(max(options.rounds, 3))]
        name = "a call that wakes a scikit-learn model, alone, p50"
        yield at_most(name, median(waking), WAKE_S, "s", against=spread(waking))
        before, idle_before = _memory_mib(house), _busy_share(house, options.seconds)
        _copy(house, first)
        requests.post(url + first, BODY, timeout=60)  # every process has heard of the new rows
        _until_asleep(house, first)
        after, idle_after = _memory_mib(house), _busy_share(house, options.seconds)
        grown = max(after - before, 0.0) / ASLEEP
        yield at_most("memory of a deployment asleep", grown * 1024, 1024, "KiB")
        yield Row(
            f"processor time of all processes, {ASLEEP:,} asleep", f"{idle_after:.1%} of a core", "",
            f"{idle_after / max(idle_before, 1e-9):.2f}", f"1 asleep: {idle_before:.1%}",
        )  # fmt: skip
        yield from _hot(house, url, options, after, idle_after)


def _together(url: str, deployments: list[str]) -> list[float]:
    """Seconds of a call to each, all at once."""
    with ThreadPoolExecutor(len(deployments)) as pool:
        return list(pool.map(lambda each: _call(url + each), deployments))


def _call(url: str) -> float:
    began = time.perf_counter()
    answer = requests.post(url, BODY, timeout=120)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began


def _hot(house: House, url: str, options: Options, memory: float, idle: float) -> Iterator[Row]:
    awake = [_id(number) for number in range(AWAKE)]
    for deployment_id in awake:
        house.call("setDeploymentOptions", deploymentId=deployment_id, options={"idleTimeoutS": None})
    woken = _together(url, awake)
    yield at_most(f"calls that wake {AWAKE} at once, p50", median(woken), WAKE_S, "s", against=spread(woken))
    # Processor time of the server's own processes; that of the guests, which wait, is not theirs.
    hot = _busy_share(house, options.seconds)
    yield Row(
        f"processor time, {AWAKE} awake and not called", f"{hot:.1%} of a core", "",
        f"{(hot - idle) / AWAKE * 1000:.2f} ms a second each", "beyond those asleep",
    )  # fmt: skip
    grown = (_memory_mib(house, with_guests=True) - memory) / AWAKE
    yield Row("memory of a deployment awake", f"{grown:,.0f} MiB", "", "", "private, its guest included")
    asleep = [_call(url + _id(number)) for number in range(500, 500 + IN_A_ROW)]
    name = f"calls that wake {IN_A_ROW} in a row, beside {AWAKE} awake, p50"
    yield at_most(name, median(asleep), WAKE_S, "s", against=spread(asleep))


def _prepare(house: House) -> tuple[str, str]:
    project_id = house.project()
    version = house.model(project_id, SOURCE)["latestModelVersion"]["modelVersion"]
    house.trained(version)
    deployment_id = house.deployed(version)
    token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
    house.call("setDeploymentOptions", deploymentId=deployment_id, options={"idleTimeoutS": IDLE_S})
    return f"{house.url}/api/v0/predict?deploymentToken={token}&deploymentId=", deployment_id


def _wake(house: House, url: str, deployment_id: str) -> float:
    """Seconds of a call to a deployment that sleeps."""
    _until_asleep(house, deployment_id)
    time.sleep(2.0)  # the waiting guest that the last call took has been replaced
    return _call(url + deployment_id)


def _until_asleep(house: House, deployment_id: str) -> None:
    database = _database(house)
    asleep = False
    while not asleep:
        time.sleep(0.1)
        with database.read() as session:
            asleep = session.get_one(Deployment, deployment_id).is_asleep
    database.close()


def _copy(house: House, first: str) -> None:
    """A thousand deployments like the first, asleep."""
    database, table = _database(house), Deployment.__table__
    assert isinstance(table, Table)
    with database.write() as session:
        for number in range(ASLEEP):
            changed: dict[str, Any] = {"deployment_id": literal(_id(number)), "name": literal(f"Copy {number}")}
            row = select(*[changed.get(column.name, column) for column in table.columns])
            row = row.where(table.c.deployment_id == first)
            session.execute(insert(table).from_select([column.name for column in table.columns], row))
        session.get_one(RoutingRevision, 1).revision += 1
    database.close()


def _id(number: int) -> str:
    return f"c{number:09}"


def _database(house: House) -> Database:
    return Database(f"sqlite:///{house.home / 'modelyard.db'}")


def _memory_mib(house: House, *, with_guests: bool = False) -> float:
    """Private memory of gateway and agent."""
    pids = house.processes() if with_guests else {house.child("gateway"), house.child("agent")}
    return sum(private_kib(pid) for pid in pids) / 1024


def private_kib(pid: int) -> int:
    """Memory of a process that nobody shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


def _busy_share(house: House, seconds: float) -> float:
    """Processor time of gateway and agent, as a part of one core, while nobody calls."""
    pids = [house.child("gateway"), house.child("agent")]
    span = max(seconds * 2, 5.0)
    before = sum(map(ticks, pids))
    time.sleep(span)
    return (sum(map(ticks, pids)) - before) / TICKS / span


def ticks(pid: int) -> int:
    """Processor time of a process, in `TICKS` of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
