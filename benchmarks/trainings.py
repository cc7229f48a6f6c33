"""A hundred short trainings at once, against the same functions called bare by two processes that are up already.

Each takes about a second of one thread: one with numpy alone, which every guest has imported before it is needed, and
one with scikit-learn, whose import each training pays for anew, in a process of its own. The reference imports once
and has no walls, no tables, no versions.
"""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.house import House, shared_cache
from benchmarks.measure import Options, Row

PREDICT = """
def predict(model, query):
    return query
"""
SOURCES = {
    "numpy": """import numpy as np

def train():
    dice = np.random.default_rng(1)
    features = dice.random((4_000, 40))
    for _ in range(600):
        found = np.linalg.lstsq(features, features.sum(axis=1), rcond=None)[0]
    return found
"""
    + PREDICT,
    "scikit-learn": """import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

def train():
    dice = np.random.default_rng(1)
    features = dice.random((5_000, 8))
    return GradientBoostingRegressor(n_estimators=130, random_state=1).fit(features, features @ np.arange(8.0))
"""
    + PREDICT,
}
#: The processes of the reference, and the cores that trainings may have.
AT_ONCE = 2
#: Reads lines; for each, trains and answers with a line.
BARE = """
import sys
{source}
train()
print("ready", flush=True)
for _ in sys.stdin:
    train()
    print("done", flush=True)
"""
SHARE = 0.7


def run(options: Options) -> Iterator[Row]:
    """Trainings a minute, and what share of the bare function's that is."""
    for name, source in SOURCES.items():
        bare_s = _bare(source, options.trainings)
        house_s = _house(source, options.trainings)
        each_s = bare_s * AT_ONCE / options.trainings
        more_s = (house_s - bare_s) * AT_ONCE / options.trainings
        yield Row(
            f"{options.trainings} trainings of {each_s:.2f} s, {name}", f"{house_s:.1f} s", f">= {SHARE} x bare",
            f"{bare_s / house_s:.2f}", f"bare, two processes: {bare_s:.1f} s", bare_s / house_s >= SHARE,
        )  # fmt: skip
        yield Row("  beside the function, a training", f"{more_s:.2f} s of a core")


def _bare(source: str, trainings: int) -> float:
    python = next(iter(shared_cache().glob("environments/*/prefix/bin/python")))
    variables = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    workers = [
        subprocess.Popen([python, "-I", "-c", BARE.format(source=source)], stdin=subprocess.PIPE, text=True,
                         stdout=subprocess.PIPE, env=variables)
        for _ in range(AT_ONCE)
    ]  # fmt: skip
    try:
        for each in workers:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(_ask, workers, [trainings // AT_ONCE] * AT_ONCE))
        return time.perf_counter() - began
    finally:
        for each in workers:
            each.communicate()


def _ask(worker: subprocess.Popen[str], times: int) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    for _ in range(times):
        worker.stdin.write("train\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "done\n"


def _house(source: str, trainings: int) -> float:
    with House(warm_guests=2, agent_cores=AT_ONCE) as house:
        first = house.model(house.project(), source, cpuSize="SMALL")["latestModelVersion"]
        house.trained(first["modelVersion"])
        began = time.perf_counter()
        versions = [
            house.call("retrainModel", modelId=first["modelId"])["latestModelVersion"]["modelVersion"]
            for _ in range(trainings)
        ]
        for version in reversed(versions):  # the last one first: who looks all the time takes time
            house.trained(version)
        return time.perf_counter() - began
