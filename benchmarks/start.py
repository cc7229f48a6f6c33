"""From an agent's claim of a training run to the first line of the user's `train`, with and without a warm guest.

The run's row says when it was claimed, `train` prints the time on its first line; both read the machine's own clock.
The reference is a fresh, unwalled Python of the same environment that imports the same packages.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC

from sqlalchemy import select

from benchmarks.house import House, shared_cache
from benchmarks.measure import Options, Row, at_most, median, spread
from modelyard.database import Database
from modelyard.execution.records import Run
from modelyard.sandbox.host import PRELOAD

SOURCE = """import time

def train():
    print("AT", time.time())
    return 1

def predict(model, query):
    return 1
"""
#: Time that an agent has to make the next guest warm before it is needed.
PAUSE_S = 3.0


def run(options: Options) -> Iterator[Row]:
    """The same training over and over; its environment is the base environment, which is built already."""
    trainings = max(options.rounds * 2 + 1, 3)
    warm = _starts(trainings, warm_guests=1)
    cold = _starts(trainings, warm_guests=0)
    fresh = median(_fresh_python() for _ in range(options.rounds))
    against = f"fresh Python with {', '.join(PRELOAD)}: {fresh:.0f} ms"
    found = median(warm)
    yield at_most("start, warm guest, claim to train", found, 30, "ms", f"{found / fresh:.2f} x", against)
    yield Row("start, warm guest, lowest to highest", f"{spread(warm)} ms")
    found = median(cold)
    yield Row("start, cold guest, claim to train", f"{found:.0f} ms", "", f"{found / fresh:.2f} x", against)


def _starts(trainings: int, *, warm_guests: int) -> list[float]:
    """Milliseconds of each start; the first, for which much is read from disk, is left out."""
    took = []
    with House(warm_guests=warm_guests) as house:
        version = house.model(house.project(), SOURCE)["latestModelVersion"]
        for _ in range(trainings):
            house.trained(version["modelVersion"])
            took.append(_took_ms(house, version["modelVersion"]))
            if warm_guests:
                time.sleep(PAUSE_S)
            version = house.call("retrainModel", modelId=version["modelId"])["latestModelVersion"]
        house.trained(version["modelVersion"])
    return took[1:]


def _took_ms(house: House, model_version: str) -> float:
    found = re.search(r"^AT (\S+)$", house.stdout(model_version), re.MULTILINE)
    assert found, "the training printed no time"
    database = Database(f"sqlite:///{house.home / 'modelyard.db'}")
    try:
        with database.read() as session:
            claimed = session.scalars(select(Run.started_at).where(Run.target == model_version)).one()
    finally:
        database.close()
    assert claimed is not None
    return (float(found[1]) - claimed.replace(tzinfo=claimed.tzinfo or UTC).timestamp()) * 1000


def _fresh_python() -> float:
    python = next(iter(shared_cache().glob("environments/*/prefix/bin/python")))
    began = time.perf_counter()
    subprocess.run([python, "-I", "-c", f"import {', '.join(PRELOAD)}"], check=True)
    return (time.perf_counter() - began) * 1000
