"""A table of 10 million rows and 12 columns in the hands of `train`: seconds until its numbers were read once, memory.

A Python feature group makes the table in a guest: 8 float64, 2 int64, a text of 200 distinct values, a text of as many
as there are rows. One training is handed the table; a second one, in the same environment, writes the same rows to a
Parquet file and reads them with pandas. Both then sum up every column of numbers.
"""

import re
import shutil
from collections.abc import Iterator

from sqlalchemy import select

from benchmarks.house import House, shared_cache
from benchmarks.measure import Options, Row, at_most, median
from modelyard.database import Database
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.storage.tables import arrow_path

#: Bytes on disk for each row: Parquet, the twin, and copies of both while they are made.
BYTES_A_ROW = 600
MAKE = """import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

ROWS = {rows}

def make() -> pa.Table:
    numbers = np.random.default_rng(7)
    columns = {{f"x{{at}}": pa.array(numbers.standard_normal(ROWS)) for at in range(8)}}
    columns["i0"] = pa.array(np.arange(ROWS, dtype="int64"))
    columns["i1"] = pa.array(numbers.integers(0, 1_000_000, ROWS))
    codes = pa.array(numbers.integers(0, 200, ROWS).astype("int32"))
    columns["cat"] = pa.array([f"cat_{{at:03}}" for at in range(200)]).take(codes)
    columns["hc"] = pc.binary_join_element_wise("id", pc.cast(columns["i0"], pa.string()), "_")
    return pa.table(columns)
"""
_LOOK = """import os
import time

def memory(name):
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith(name)) / 1024**2

def touch(table):
    return sum(float(table[name].sum()) for name in table.columns if name[0] in "xi")

def predict(model, query):
    return 1
"""
#: What stands at module level runs just before the tables are loaded.
HANDED = (
    _LOOK
    + """
BEFORE = memory("Anonymous:")
LOADING = time.perf_counter()

def train(table):
    loaded = time.perf_counter()
    touch(table)
    done = time.perf_counter()
    print("LOAD", loaded - LOADING, "TOUCH", done - loaded, "PRIVATE", memory("Anonymous:"), "BEFORE", BEFORE)
    print(table.dtypes.to_dict())
    return 1
"""
)
READ = (
    _LOOK
    + '''
import gc
import subprocess
import sys

AGAIN = """
import time, pandas
def memory(name):
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith(name)) / 1024**2
before = memory("Anonymous:")
start = time.perf_counter()
table = pandas.read_parquet("table.parquet")
loaded = time.perf_counter()
sum(float(table[name].sum()) for name in table.columns if name[0] in "xi")
done = time.perf_counter()
print("LOAD", loaded - start, "TOUCH", done - loaded, "PRIVATE", memory("Anonymous:"), "BEFORE", before, flush=True)
"""

def train(table):
    table.to_parquet("table.parquet", index=False)
    del table
    gc.collect()
    for _ in range(ROUNDS):
        print(subprocess.check_output([sys.executable, "-c", AGAIN], text=True))
    os.remove("table.parquet")
    return 1
'''
)
_SEEN = re.compile(r"LOAD (\S+) TOUCH (\S+) PRIVATE (\S+) BEFORE (\S+)")


def run(options: Options) -> Iterator[Row]:
    """Both, `rounds` times each."""
    free, needed = shutil.disk_usage("/tmp").free, options.rows * BYTES_A_ROW
    if free < 2 * needed:
        raise RuntimeError(f"{needed / 1e9:.0f} GB of disk are needed under /tmp, and {free / 1e9:.0f} GB are free")
    with House() as house:
        try:
            house.call(
                "createFeatureGroupFromFunction", tableName="large", functionSourceCode=MAKE.format(rows=options.rows),
                functionName="make",
            )  # fmt: skip
            project_id = house.project()
            handed = _train(house, project_id, HANDED, options.rounds)
            read = _train(house, project_id, READ.replace("ROUNDS", str(options.rounds)), 1)
        finally:
            remove_twins(house)
    ours, theirs = [median(seen[0] + seen[1] for seen in each) * 1000 for each in (handed, read)]
    against = f"read_parquet {theirs:.0f} ms"
    budgeted = options.rows == Options().rows
    took = at_most(
        f"table, {options.rows:,} rows, load and one pass", ours, 150, "ms", f"{theirs / ours:.1f} x faster", against
    )
    ours, theirs = (median(seen[2] for seen in each) for each in (handed, read))
    against = f"read_parquet {theirs:.2f} GB"
    memory = at_most("table, private memory of the guest", ours, 0.15, "GB", f"{theirs / ours:.1f} x less", against)
    yield took if budgeted else Row(took.what, took.figure, "", took.ratio, took.against)
    yield memory if budgeted else Row(memory.what, memory.figure, "", memory.ratio, memory.against)
    before = median(seen[3] for seen in handed)
    yield Row("table, of that by Python and its packages", f"{before:.2f} GB")
    load, touch = (median(seen[at] for seen in handed) * 1000 for at in (0, 1))
    yield Row("table, load / pass", f"{load:.0f} / {touch:.0f} ms")


def _train(house: House, project_id: str, source: str, times: int) -> list[list[float]]:
    """Load, touch (seconds), private memory and that before the load (GiB), once a training or more."""
    model = house.model(project_id, source, trainingInputTables=["large"])
    version, seen = model["latestModelVersion"]["modelVersion"], list[list[float]]()
    for number in range(times):
        if number:
            version = house.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
        house.trained(version)
        seen += [[float(each) for each in found] for found in _SEEN.findall(house.stdout(version))]
    return seen


def remove_twins(house: House) -> None:
    """The twins lie in the cache that outlives the house; these are large and of no use to anyone else."""
    database = Database(f"sqlite:///{house.home / 'modelyard.db'}")
    with database.read() as session:
        for version in session.scalars(select(FeatureGroupVersion)):
            if version.table is not None:
                arrow_path(shared_cache() / "tables", version.manifest).unlink(missing_ok=True)
    database.close()
