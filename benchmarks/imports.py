"""A CSV file on its way to a COMPLETE dataset version, in megabytes (of a million bytes) a second.

DuckDB, in the environment of the guests, makes the file: whole numbers, fractions, texts that repeat and others,
dates, times, booleans. The platform gets it in parts, as the official client sends them, and is timed from
`markUploadComplete` to COMPLETE: types over the whole file, Parquet in the store, the Arrow twin. The reference is
DuckDB alone with as many threads, which does the same from a file that lies there: `read_csv(sample_size=-1)` into
zstd Parquet, and that into one Arrow file. Both in turn, `rounds` times.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from benchmarks.house import House, shared_cache
from benchmarks.measure import Options, Row, at_least, median
from modelyard.sandbox import processes

PART_BYTES = 20 * 1024**2
#: Megabytes a second, and times DuckDB's own: the budgets.
RATE, RATIO = 100.0, 0.7
ROW_BYTES = 118
#: How often the version and the memory are looked at, which costs the importing guest time.
_LOOK_S = 0.2
MAKE = """import sys
import duckdb

path, rows = sys.argv[1], int(sys.argv[2])
duckdb.sql("SET enable_progress_bar = false")
duckdb.sql(f'''COPY (
    SELECT i AS id, (hash(i) % 1000000)::INT AS n, round(random() * 1000, 6) AS x, random() AS y, random() * 1e6 AS z,
        'cat_' || (hash(i * 3) % 200) AS cat, 'name_' || hash(i * 7) % 100000000 AS name,
        DATE '2020-01-01' + ((hash(i * 5) % 1500)::INT) AS d,
        TIMESTAMP '2020-01-01' + to_seconds((hash(i * 11) % 100000000)::BIGINT) AS t, hash(i) % 2 = 0 AS flag
    FROM range({rows}) r(i)) TO '{path}' (HEADER, DELIMITER ',')''')
"""
BARE = """import json
import os
import sys
import time
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

path, folder = sys.argv[1:]
connection = duckdb.connect(config={"memory_limit": "4GiB", "temp_directory": folder})
connection.execute("SET enable_progress_bar = false")
began = time.perf_counter()
connection.read_csv(path, sample_size=-1).write_parquet(f"{folder}/bare.parquet", compression="zstd")
read = time.perf_counter() - began
table = pq.read_table(f"{folder}/bare.parquet").combine_chunks()
with pa.ipc.new_file(f"{folder}/bare.arrow", table.schema) as out:
    out.write_table(table)
whole = time.perf_counter() - began
for name in ("bare.parquet", "bare.arrow"):
    os.remove(f"{folder}/{name}")
print(json.dumps([read, whole]))
"""


def run(options: Options) -> Iterator[Row]:
    """The same file by both, in turn."""
    needed, free = 5 * options.megabytes * 10**6, shutil.disk_usage("/tmp").free
    if free < 2 * needed:
        raise RuntimeError(f"{needed / 1e9:.0f} GB of disk are needed under /tmp, and {free / 1e9:.0f} GB are free")
    python = next(iter(shared_cache().glob("environments/*/prefix/bin/python")))
    with House(warm_guests=0) as house:
        file = house.home / "made.csv"
        subprocess.run([python, "-I", "-c", MAKE, str(file), str(options.megabytes * 10**6 // ROW_BYTES)], check=True)
        megabytes = file.stat().st_size / 1e6
        sent, ours, bare, full = list[float](), list[float](), list[float](), list[float]()
        memory = 0.0
        for _ in range(options.rounds):
            upload = house.call("createDatasetFromUpload", tableName=f"t{time.monotonic_ns()}", fileFormat="CSV")
            began = time.perf_counter()
            _send(house, upload["uploadId"], file)
            sent.append(time.perf_counter() - began)
            took, most = _imported(house, upload)
            ours.append(took)
            memory = max(memory, most)
            alone = subprocess.run(
                [python, "-I", "-c", BARE, str(file), str(house.home)], check=True, capture_output=True, text=True
            )
            read, whole = json.loads(alone.stdout)
            bare.append(read)
            full.append(whole)
    rate, theirs, both = (megabytes / median(each) for each in (ours, bare, full))
    name = f"import, CSV of {megabytes:,.0f} MB"
    yield at_least(f"{name}, to COMPLETE", rate, RATE, "MB/s", f"{rate / both:.2f} x", f"DuckDB alone {both:,.0f} MB/s")
    ratio = f"{rate / both:.2f}"
    yield Row("import, of DuckDB alone", f"{ratio} x", f">= {RATIO} x", ratio, "the same work", rate / both >= RATIO)
    yield Row("import, DuckDB alone without the twin", f"{theirs:,.0f} MB/s", "", f"{rate / theirs:.2f} x")
    yield Row("import, upload of the parts before", f"{megabytes / median(sent):,.0f} MB/s")
    yield Row("import, most memory of agent and guest", f"{memory:,.0f} MiB")


def _send(house: House, upload_id: str, file: Path) -> None:
    """All parts, ten at a time, as the official client does."""
    count = -(-file.stat().st_size // PART_BYTES)

    def send(number: int) -> None:
        with file.open("rb") as source:
            source.seek(number * PART_BYTES)
            data = source.read(PART_BYTES)
        fields = {"uploadId": upload_id, "partNumber": str(number + 1)}
        answer = requests.post(
            f"{house.url}/api/uploadPart", data=fields, files={"partData": data}, headers={"apiKey": house.key},
            timeout=120,
        )  # fmt: skip
        answer.raise_for_status()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(send, range(count)))


def _imported(house: House, upload: dict[str, str]) -> tuple[float, float]:
    """Seconds until the version is COMPLETE, and the most MiB that agent and guests took together."""
    agent = house.child("agent")
    most, began = 0.0, time.perf_counter()
    house.call("markUploadComplete", uploadId=upload["uploadId"])
    while True:
        version = house.call("describeDatasetVersion", datasetVersion=upload["datasetVersion"])
        if version["status"] in ("COMPLETE", "FAILED"):
            break
        most = max(most, _memory_mib(agent))
        time.sleep(_LOOK_S)
    took = time.perf_counter() - began
    if version["status"] == "FAILED":
        raise RuntimeError(f"the import failed: {version['error']}")
    return took, most


def _memory_mib(agent: int) -> float:
    """Proportional set size of the agent and all below it: what they share is counted once."""
    return sum(processes.memory_bytes(pid) for pid in processes.descendants(agent)) / 1024**2
