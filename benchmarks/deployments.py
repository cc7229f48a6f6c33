"""What a large house of deployments costs: 1,000, 10,000 and 100,000 of them asleep, beside one that answers.

A real server with one gateway, and one deployment that is awake and called all the time; the rest are written into the
database as copies of it that sleep, each under a name of its own, all in one project. Of each house: the memory of the
gateway, how long predictions wait while it is killed and starts again, what a change costs (a new token: from the call
until it was answered, by when the gateway knows of it), how predictions fare while deployments change ten times a
second, processor time while nothing happens, a description, a list, a scrape.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import requests
from sqlalchemy import Table, insert, select, text

from benchmarks.house import House
from benchmarks.idle import TICKS, private_kib, ticks
from benchmarks.measure import Options, Row, at_most, percentile
from benchmarks.postgresql import each_database
from modelyard.database import Database
from modelyard.deployments.records import Deployment, RoutingRevision

SIZES = (1_000, 10_000, 100_000)
CALLS = 30
#: Seconds for which predictions are timed, and between two changes meanwhile.
SPAN_S, CHANGE_S = 5.0, 0.1


def run(options: Options) -> Iterator[Row]:
    """SQLite, then PostgreSQL where the wheel with its server is installed."""
    sizes = [size for size in SIZES if size <= max(options.rows // 100, SIZES[0])]
    for name, url in each_database():
        yield from _measured(name, url, sizes)


def _measured(name: str, database_url: str | None, sizes: list[int]) -> Iterator[Row]:
    with House(warm_guests=0, **({"database_url": database_url} if database_url else {})) as house:
        database = Database(database_url or f"sqlite:///{house.home / 'modelyard.db'}")
        project_id = house.project()
        version = house.model(project_id)["latestModelVersion"]["modelVersion"]
        house.trained(version)
        awake = house.deployed(version)
        token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
        predict = _Predict(house, token, awake)
        _restart(house, predict)
        bare = private_kib(house.child("gateway")) / 1024
        there = 0
        for size in sizes:
            _fill(database, awake, there, size)
            there = size
            for row in _house(house, predict, project_id, size, bare):
                yield Row(f"{row.what}, {size:,} deployments, {name}", *_rest(row))
        database.close()


def _rest(row: Row) -> tuple[str, str, str, str, bool | None]:
    return row.figure, row.budget, row.ratio, row.against, row.met


class _Predict:
    """One call after the other over a kept connection."""

    def __init__(self, house: House, token: str, deployment_id: str) -> None:
        self._url = f"{house.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
        self._session = requests.Session()

    def once(self) -> float:
        """Milliseconds of one call."""
        began = time.perf_counter()
        assert self._session.post(self._url, b'{"queryData": {"x0": 2}}', timeout=60).status_code == 200
        return (time.perf_counter() - began) * 1000

    def until_answered(self) -> float:
        """Seconds until a call is answered, however often it is refused."""
        began = time.perf_counter()
        while True:
            try:
                if requests.post(self._url, b'{"queryData": {"x0": 2}}', timeout=60).status_code == 200:
                    return time.perf_counter() - began
            except requests.ConnectionError:
                time.sleep(0.01)


def _house(house: House, predict: _Predict, project_id: str, size: int, bare_mib: float) -> Iterator[Row]:
    yield _restart(house, predict)
    time.sleep(1.0)
    grown = max(private_kib(house.child("gateway")) / 1024 - bare_mib, 0.0)
    yield at_most("memory of one in the gateway", grown * 1024 / size, 1024, "KiB", against=f"{grown:,.0f} MiB in all")
    yield from _changes(house, predict, project_id)
    pids = [house.child("gateway"), house.child("agent")]
    before, began = sum(map(ticks, pids)), time.perf_counter()
    time.sleep(35.0)  # everything that is done now and then has been done once
    busy = (sum(map(ticks, pids)) - before) / TICKS / (time.perf_counter() - began)
    yield Row("processor time while nothing happens", f"{busy:.1%} of a core")
    asked: dict[str, tuple[int, Callable[[], object]]] = {
        "describeDeployment": (CALLS, lambda: house.call("describeDeployment", deploymentId=_id(size // 2))),
        "listDeployments (100)": (CALLS, lambda: house.call("listDeployments", projectId=project_id, limit="100")),
        "listDeployments, all": (1, lambda: house.call("listDeployments", projectId=project_id)),
    }
    for what, (calls, ask) in asked.items():
        yield _timed(house, what, ask, calls)
    # For a second a scrape's text is given again.
    yield _timed(house, "a scrape of /metrics", lambda: _scrape(house), 5, pause_s=1.1)


def _restart(house: House, predict: _Predict) -> Row:
    """Until the gateway's successor answers."""
    os.kill(house.child("gateway"), signal.SIGKILL)
    return Row("predictions after the gateway was killed", f"{predict.until_answered():.2f} s")


def _changes(house: House, predict: _Predict, project_id: str) -> Iterator[Row]:
    def make_token() -> None:
        house.call("createDeploymentToken", projectId=project_id)

    yield _timed(house, "a change until it is known", make_token, CALLS)
    quiet = _predictions(predict)
    over, ended = list[float](), threading.Event()

    def change() -> None:
        session = requests.Session()
        url, headers = f"{house.url}/api/v0/setDeploymentOptions", {"apiKey": house.key}
        number = 0
        while not ended.wait(CHANGE_S):
            number += 1
            asked = {"deploymentId": _id(number % 1000), "options": {"targetQueue": 1 + number % 7}}
            began = time.perf_counter()
            session.patch(url, json=asked, headers=headers, timeout=60).raise_for_status()
            over.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=change)
    thread.start()
    busy = _predictions(predict)
    ended.set()
    thread.join()
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        was = percentile(quiet, share)
        yield Row(
            f"predictions while another changes, {name}", f"{percentile(busy, share):.3g} ms", "",
            f"{percentile(busy, share) / was:.2f}", f"nothing changes: {was:.3g} ms",
        )  # fmt: skip


def _predictions(predict: _Predict) -> list[float]:
    took, end = list[float](), time.monotonic() + SPAN_S
    while time.monotonic() < end:
        took.append(predict.once())
    return took


def _timed(house: House, what: str, work: Callable[[], object], calls: int, pause_s: float = 0.0) -> Row:
    """Milliseconds that half of the calls take, and the gateway's processor time for each."""
    took, gateway = list[float](), house.child("gateway")
    before = ticks(gateway)
    for _ in range(calls):
        time.sleep(pause_s)
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    spent_ms = (ticks(gateway) - before) / TICKS / calls * 1000
    return Row(f"{what}, p50", f"{percentile(took, 0.5):.3g} ms", "", "", f"{spent_ms:.2g} ms of the gateway's core")


def _scrape(house: House) -> None:
    requests.get(f"{house.url}/metrics", headers={"apiKey": house.key}, timeout=120).raise_for_status()


def _fill(database: Database, first: str, begin: int, end: int) -> None:
    """Deployments `begin` to `end` like the first, asleep."""
    table = Deployment.__table__
    assert isinstance(table, Table)
    with database.read() as session:
        row = dict(session.execute(select(table).where(table.c.deployment_id == first)).mappings().one())
    for start in range(begin, end, 5_000):
        with database.write() as session:
            rows = [
                row | {"deployment_id": _id(number), "name": f"Copy {number}", "serving_id": None}
                for number in range(start, min(start + 5_000, end))
            ]
            session.execute(insert(Deployment), rows)
            session.get_one(RoutingRevision, 1).revision += 1
    with database.write() as session:
        session.execute(text("ANALYZE"))


def _id(number: int) -> str:
    return f"c{number:09}"
