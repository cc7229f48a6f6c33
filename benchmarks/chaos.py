"""Everything at once while whatever runs is killed: agent, gateway, guests and the database, with signal 9, at random.

`python -m benchmarks.chaos --minutes 5` (`make chaos`), `--sqlite` without a PostgreSQL server to kill. Callers change
models, train, upload tables, write rows and ask for predictions; each remembers what was acknowledged. In the end
everything that was acknowledged must be there, once, and whole; what was not may be there, once, and whole; no process
and no half-made file may be left.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchmarks.house import House
from benchmarks.measure import load
from benchmarks.postgresql import PostgreSQL
from benchmarks.postgresql import postgresql as postgresql_server

SOURCE = '''"""Change {number}."""

def train():
    return {{"change": {number}}}

def predict(model, query):
    return query["x"] * 2
'''
UPDATERS, WRITERS, TRAINERS, UPLOADERS, ASKERS = 2, 4, 2, 1, 1
#: Rows that one call appends: all of them are there, or none.
TOGETHER = 3
#: Rows of an uploaded table.
ROWS = 2_000
#: Seconds between two kills, at least and at most.
PAUSE_S = (0.5, 3.0)
#: Attempts that a run has: whoever is killed here is killed more often than a run may be by default.
ATTEMPTS = 100
#: Seconds that a caller waits for what it began before it begins another.
PATIENCE_S = 10.0
#: Seconds within which one more of what was begun must have ended, each time, once nothing is killed any more.
SETTLE_S = 60.0


@dataclass
class Chaos:
    """What happened, and what is wrong in the end."""

    kills: Counter[str] = field(default_factory=Counter)
    #: Calls that were acknowledged, by action, and calls whose caller never heard the end.
    done: Counter[str] = field(default_factory=Counter)
    unheard: Counter[str] = field(default_factory=Counter)
    #: model -> numbers of the changes that were acknowledged; and all that were sent.
    changes: dict[str, set[int]] = field(default_factory=dict)
    rows: set[str] = field(default_factory=set)
    rows_sent: set[str] = field(default_factory=set)
    trainings: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)
    #: How trainings ended.
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Client:
    """Calls actions over new connections; None where nobody answered, or the answer was lost on its way."""

    def __init__(self, house: House, chaos: Chaos) -> None:
        self._house, self._chaos = house, chaos

    def call(self, action: str, verb: str = "POST", **parameters: object) -> Any:
        given: dict[str, Any] = {"params": parameters} if verb in ("GET", "DELETE") else {"json": parameters}
        return self._send(
            action, lambda url, headers: requests.request(verb, url, headers=headers, timeout=60, **given)
        )

    def upload(self, upload_id: str, number: int, part: bytes) -> Any:
        form = {"uploadId": upload_id, "partNumber": str(number)}
        files = {"partData": ("part", part)}
        return self._send(
            "uploadPart", lambda url, headers: requests.post(url, headers=headers, data=form, files=files, timeout=60)
        )

    def _send(self, action: str, send: Callable[[str, dict[str, str]], requests.Response]) -> Any:
        try:
            answer = send(f"{self._house.url}/api/v0/{action}", {"apiKey": self._house.key}).json()
        except (requests.RequestException, ValueError):
            self._chaos.unheard[action] += 1
            return None
        if not answer["success"]:
            is_clear = "process ended while it worked on this call" in answer["error"]  # its replica was killed
            if answer["errorType"] not in ("InternalServerError", "NotReadyError", "ConflictError") and not is_clear:
                self._chaos.wrong.append(f"{action}: {answer['errorType']}: {answer['error']}")
            self._chaos.unheard[action] += 1
            return None
        self._chaos.done[action] += 1
        return answer["result"] if answer["result"] is not None else {}


def chaos(seconds: float, *, postgresql: bool, seed: int = 1) -> Chaos:
    """Runs it in a house of its own, on a database of its own."""
    done = Chaos()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgresql_server()) if postgresql else None
        home = stack.enter_context(
            House(warm_guests=1, run_attempts=ATTEMPTS, **({"database_url": server.url} if server else {}))
        )
        client = Client(home, done)
        ids = _prepare(home)
        ending = threading.Event()
        work = [
            *(lambda at=at: _update(client, ids["models"][at], done, ending) for at in range(UPDATERS)),
            *(lambda at=at: _write(client, ids["group"], at, done, ending) for at in range(WRITERS)),
            *(lambda at=at: _train(client, ids["models"][at], done, ending) for at in range(TRAINERS)),
            *(lambda at=at: _upload(client, at, done, ending) for at in range(UPLOADERS)),
            *(lambda: _ask(client, ids, done, ending) for _ in range(ASKERS)),
        ]
        threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        _kill_for(seconds, home, server, done, random.Random(seed))
        ending.set()
        for thread in threads:
            thread.join(120)
        _settle(home, client, done)
        _check(home, client, ids, done)
        left = home.processes()
        home.close()
        _check_remains(left, home.home, done)
    return done


def _prepare(house: House) -> dict[str, Any]:
    project_id = house.project()
    models = [house.model(project_id, SOURCE.format(number=0), trainingInputTables=[]) for _ in range(UPDATERS)]
    version = house.trained(models[0]["latestModelVersion"]["modelVersion"])
    deployment_id = house.deployed(version["modelVersion"])
    token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
    group = house.call("createOnlineFeatureGroup", tableName="chaos_rows", primaryKey="id")["featureGroupId"]
    return {
        "models": [each["modelId"] for each in models], "group": group, "deployment": deployment_id, "token": token,
    }  # fmt: skip


# -- callers ------------------------------------------------------------------------------------------------------


def _update(client: Client, model_id: str, done: Chaos, ending: threading.Event) -> None:
    acknowledged = done.changes.setdefault(model_id, set())
    for number in itertools.count(1):
        if ending.wait(0.02):
            return
        if client.call("updatePythonModel", modelId=model_id, functionSourceCode=SOURCE.format(number=number)):
            acknowledged.add(number)


def _write(client: Client, group_id: str, writer: int, done: Chaos, ending: threading.Event) -> None:
    for number in itertools.count():
        if ending.wait(0.005):
            return
        call = f"{writer}-{number}"
        done.rows_sent.add(call)
        rows = [{"id": f"{call}-{each}", "n": number} for each in range(TOGETHER)]
        if client.call("appendMultipleData", featureGroupId=group_id, data=rows) is not None:
            done.rows.add(call)


def _train(client: Client, model_id: str, done: Chaos, ending: threading.Event) -> None:
    while not ending.wait(0.5):
        begun = client.call("retrainModel", modelId=model_id)
        if begun:
            version = begun["latestModelVersion"]["modelVersion"]
            done.trainings.add(version)
            _await(client, ending, "describeModelVersion", modelVersion=version)


def _upload(client: Client, uploader: int, done: Chaos, ending: threading.Event) -> None:
    content = b"a,b\n" + b"".join(b"%d,%d\n" % (row, row * row) for row in range(ROWS))
    middle = len(content) // 2
    for number in itertools.count():
        if ending.wait(0.2):
            return
        upload = client.call("createDatasetFromUpload", tableName=f"chaos_{uploader}_{number}", fileFormat="CSV")
        if not upload:
            continue
        for part, piece in enumerate((content[:middle], content[middle:]), 1):
            while client.upload(upload["uploadId"], part, piece) is None:
                if ending.wait(0.05):
                    return  # nobody was told that it is whole
        if client.call("markUploadComplete", uploadId=upload["uploadId"]) is not None:
            done.tables[upload["datasetVersion"]] = upload["datasetId"]
            _await(client, ending, "describeDatasetVersion", datasetVersion=upload["datasetVersion"])


def _await(client: Client, ending: threading.Event, action: str, **parameters: object) -> None:
    """As callers do: waits for what it began, for a while, so that more is not begun than can be done."""
    until = time.monotonic() + PATIENCE_S
    while not ending.wait(0.2) and time.monotonic() < until:
        found = client.call(action, "GET", **parameters)
        if found and found["status"] in ("COMPLETE", "FAILED"):
            return


def _ask(client: Client, ids: dict[str, Any], done: Chaos, ending: threading.Event) -> None:
    while not ending.wait(0.02):
        x = random.randrange(1000)
        answer = client.call(
            "predict", deploymentToken=ids["token"], deploymentId=ids["deployment"], queryData={"x": x}
        )
        if answer is not None and answer != 2 * x:
            done.wrong.append(f"predict: {answer} for {x}")


# -- who kills ----------------------------------------------------------------------------------------------------


def _kill_for(seconds: float, house: House, server: PostgreSQL | None, done: Chaos, dice: random.Random) -> None:
    until = time.monotonic() + seconds
    victims = ["agent", "gateway", "guest", "guest", *(["database"] if server is not None else [])]
    while time.monotonic() < until:
        time.sleep(dice.uniform(*PAUSE_S))
        victim = dice.choice(victims)
        if server is not None and victim == "database":
            server.kill()
            server.start()
        elif victim == "guest":
            guests = house.guests()
            if not guests:
                continue
            _kill(dice.choice(guests))
        else:
            try:
                _kill(house.child(victim))
            except StopIteration:
                continue  # the supervisor is starting it again this very moment
        done.kills[victim] += 1


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# -- what must be so in the end -----------------------------------------------------------------------------------


def _settle(house: House, client: Client, done: Chaos) -> None:
    """Waits until nothing that was begun goes on any more."""
    until = time.monotonic() + SETTLE_S
    waiting = set(done.trainings)
    while waiting and time.monotonic() < until:
        before = len(waiting)
        for version in list(waiting):
            found = client.call("describeModelVersion", "GET", modelVersion=version)
            if found and found["status"] in ("COMPLETE", "FAILED"):
                waiting.discard(version)
                reason = "complete" if found["status"] == "COMPLETE" else str(found["error"])
                done.ends[reason] += 1
                if found["status"] == "FAILED":
                    done.wrong.append(f"training {version}: {reason}")
        until = until if len(waiting) == before else time.monotonic() + SETTLE_S
        time.sleep(0.1)
    for version in waiting:
        found = client.call("describeModelVersion", "GET", modelVersion=version) or {}
        done.wrong.append(f"training {version} never ended: {found.get('status')}, waits for {found.get('waitingFor')}")
    for version in done.tables:
        house.wait("describeDatasetVersion", ("COMPLETE", "FAILED"), datasetVersion=version)


def _check(house: House, client: Client, ids: dict[str, Any], done: Chaos) -> None:
    for model_id, acknowledged in done.changes.items():
        _check_changes(client, model_id, acknowledged, done)
    for version, dataset_id in done.tables.items():
        found = client.call("describeDatasetVersion", "GET", datasetVersion=version)
        if found["status"] != "COMPLETE":
            done.wrong.append(f"table {version}: {found['status']}: {found['error']}")
        if found["status"] == "COMPLETE" and found["rowCount"] != ROWS:
            done.wrong.append(f"table {version}: {found['rowCount']} rows")
        dataset = client.call("describeDataset", "GET", datasetId=dataset_id)
        group = client.call("describeFeatureGroupByTableName", "GET", tableName=dataset["featureGroupTableName"])
        versions = client.call("listFeatureGroupVersions", "GET", featureGroupId=group["featureGroupId"])
        if len(versions) != (found["status"] == "COMPLETE"):
            done.wrong.append(f"table {version}: {len(versions)} versions of its feature group")
    _check_rows(house, ids["group"], done)


def _check_changes(client: Client, model_id: str, acknowledged: set[int], done: Chaos) -> None:
    found: Counter[int] = Counter()
    after: str | None = None
    while page := client.call(
        "listModelRevisions", "GET", modelId=model_id, **({"startAfterRevision": after} if after else {})
    ):
        for revision in page:
            described = client.call("describeModelRevision", "GET", modelRevision=revision["modelRevision"])
            found[int(described["sourceCode"].split("Change ")[1].split(".")[0])] += 1
        after = page[-1]["modelRevision"]
    lost, twice = acknowledged - found.keys(), [number for number, count in found.items() if count > 1]
    if lost:
        done.wrong.append(f"model {model_id}: {len(lost)} acknowledged changes are lost, such as {min(lost)}")
    if twice:
        done.wrong.append(f"model {model_id}: changes that are there twice: {twice[:5]}")


def _check_rows(house: House, group_id: str, done: Chaos) -> None:
    import abacusai

    group = abacusai.ApiClient(house.key, server=house.url).describe_feature_group(group_id)
    there = Counter(group.load_as_pandas().id)
    calls = {identifier.rpartition("-")[0] for identifier in there}
    if done.rows - calls:
        done.wrong.append(f"{len(done.rows - calls)} acknowledged calls of rows are lost")
    if calls - done.rows_sent:
        done.wrong.append("there are rows that nobody sent")
    if there != Counter(f"{call}-{each}" for call in calls for each in range(TOGETHER)):
        done.wrong.append("calls of rows are there in part, or twice")


def _check_remains(processes: set[int], home: Path, done: Chaos) -> None:
    until = time.monotonic() + 10
    while (alive := [pid for pid in processes if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.1)
    done.wrong += [f"process {pid} is left" for pid in alive]
    if home.exists():
        done.wrong.append("the home could not be removed")


def main() -> int:
    """Exit status 1 if anything was lost, doubled or half-made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--sqlite", action="store_true", help="on SQLite, which has no process to kill")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000)
    given = parser.parse_args()
    print(f"{given.minutes * 60:.0f} s with seed {given.seed}, {load()} at the start", flush=True)
    done = chaos(given.minutes * 60, postgresql=not given.sqlite, seed=given.seed)
    print(f"killed: {json.dumps(done.kills)}")
    print(f"acknowledged: {json.dumps(done.done)}")
    print(f"not heard: {json.dumps(done.unheard)}")
    print(f"trainings ended: {json.dumps(done.ends)}")
    print("nothing was lost, doubled or half-made" if not done.wrong else "WRONG:")
    print(*done.wrong[:50], sep="\n")
    return 1 if done.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
