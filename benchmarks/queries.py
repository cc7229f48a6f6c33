"""SQL over 10 million rows: from the agent's claim of the version to its rows at rest, against bare DuckDB.

The table is that of the benchmark `table`; a second one has a row for each of its 200 categories. Each query makes a
SQL feature group, whose time is that between its version's start and end as the platform wrote them down: a guest is
taken, the tables are mapped, the query runs, its rows become zstd Parquet under their digest, synced. The twin for the
next reader is made after that, and waited for before anything else begins. Bare DuckDB, of the same environment and
with all cores, runs the query as the engine got it over the same Parquet files, and copies its rows to zstd Parquet of
the same level, synced. Both in turn. `function` hands the
table through a Python function: the time is that of a DataFrame on its way in, and of another on its way out.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.house import House, shared_cache
from benchmarks.measure import Options, Row, median
from benchmarks.table import BYTES_A_ROW, MAKE, remove_twins
from modelyard.database import Database
from modelyard.environments import Environments
from modelyard.execution import Run, RunState
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings
from modelyard.storage import BlobStore

#: Of bare DuckDB's speed.
SHARE = 0.8
QUERIES = {
    "filter and aggregate": (
        "SELECT cat, COUNT(*) AS n, AVG(x0) AS mean, SUM(i1) AS total, MAX(x1) AS most FROM large"
        " WHERE x2 > 0 GROUP BY cat"
    ),
    "join": ("SELECT l.i0, l.x0, l.cat, c.weight FROM large l JOIN cats c ON l.cat = c.cat WHERE l.i1 < 500000"),
    "window": (
        "SELECT i0, cat, x0, ROW_NUMBER() OVER (PARTITION BY cat ORDER BY i0) AS n,"
        " x0 - LAG(x0) OVER (PARTITION BY cat ORDER BY i0) AS step FROM large"
    ),
}
CATS = "SELECT cat, AVG(x7) AS weight FROM large GROUP BY cat"
FUNCTION = "def through(table):\n    return table[['i0', 'x0', 'cat', 'i1']]\n"
_BARE = """
import json, os, sys, time
import duckdb
asked = json.load(sys.stdin)
start = time.perf_counter()
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute("SET enable_progress_bar = false")
for name, files in asked["tables"].items():
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({files})")
connection.execute(
    f"COPY ({asked['query']}) TO '{asked['out']}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
)
with open(asked["out"], "rb") as file:
    os.fsync(file.fileno())
print(time.perf_counter() - start)
os.unlink(asked["out"])
"""


def run(options: Options) -> Iterator[Row]:
    """Each query, `rounds` times."""
    free, needed = shutil.disk_usage("/tmp").free, options.rows * BYTES_A_ROW
    if free < 2 * needed:
        raise RuntimeError(f"{needed / 1e9:.0f} GB of disk are needed under /tmp, and {free / 1e9:.0f} GB are free")
    with House() as house:
        kept = _Kept(house)
        try:
            made = house.call(
                "createFeatureGroupFromFunction", tableName="large", functionSourceCode=MAKE.format(rows=options.rows),
                functionName="make",
            )  # fmt: skip
            _version(house, made["featureGroupId"])
            _version(house, house.call("createFeatureGroup", tableName="cats", sql=CATS)["featureGroupId"])
            for name, sql in QUERIES.items():
                yield _query(house, kept, name, sql, options)
            yield _function(house, kept, options)
        finally:
            remove_twins(house)


def _query(house: House, kept: "_Kept", name: str, sql: str, options: Options) -> Row:
    group = house.call("createFeatureGroup", tableName=name.replace(" ", "_"), sql=sql)["featureGroupId"]
    ours, bare = list[float](), list[float]()
    for _ in range(options.rounds):
        ours.append(kept.seconds(_version(house, group)))
        kept.await_quiet()
        bare.append(kept.bare(group))
    took, against = median(ours), median(bare)
    met = against / took >= SHARE if options.rows == Options().rows else None
    return Row(
        f"query, {options.rows:,} rows, {name}", f"{took:.2f} s", f">= {SHARE:g} x DuckDB", f"{against / took:.2f}",
        f"bare DuckDB {against:.2f} s", met,
    )  # fmt: skip


def _function(house: House, kept: "_Kept", options: Options) -> Row:
    group = house.call(
        "createFeatureGroupFromFunction", tableName="through", functionSourceCode=FUNCTION, functionName="through",
        inputFeatureGroups=["large"],
    )["featureGroupId"]  # fmt: skip
    found = []
    for _ in range(options.rounds):
        found.append(kept.seconds(_version(house, group)))
        kept.await_quiet()
    took = median(found)
    return Row(f"function, {options.rows:,} rows in, four columns out", f"{took:.2f} s")


def _version(house: House, group: str) -> FeatureGroupVersionId:
    """A new version of the group, once it is complete."""
    begun = house.call("createFeatureGroupVersion", featureGroupId=group)["featureGroupVersion"]
    done = house.wait("describeFeatureGroupVersion", ("COMPLETE", "FAILED"), featureGroupVersion=begun)
    if done["status"] == "FAILED":
        raise RuntimeError(f"a version failed: {done['error']}")
    return FeatureGroupVersionId(begun)


class _Kept:
    """What the house keeps about groups and their versions, and the bare engine beside it."""

    def __init__(self, house: House) -> None:
        self._home = house.home
        self._store = BlobStore(house.home / "blobs")
        settings = Settings.load({}, home=house.home, cache=shared_cache())
        sandbox = Sandbox(settings)
        self._python = str(Environments(settings, sandbox).base().interpreter.python)
        sandbox.close()

    def seconds(self, version_id: FeatureGroupVersionId) -> float:
        """From the start of the version to its end."""
        database = Database(f"sqlite:///{self._home / 'modelyard.db'}")
        with database.read() as session:
            version = session.get_one(FeatureGroupVersion, version_id)
            began, ended = version.started_at, version.completed_at
        database.close()
        if began is None or ended is None:
            raise RuntimeError(f"version {version_id} has not ended")
        return (ended - began).total_seconds()

    def await_quiet(self) -> None:
        """Returns once no run is at work any more."""
        database = Database(f"sqlite:///{self._home / 'modelyard.db'}")
        while True:
            with database.read() as session:
                if session.scalar(select(Run.run_id).where(Run.state == RunState.RUNNING).limit(1)) is None:
                    break
            time.sleep(0.05)
        database.close()

    def bare(self, group_id: FeatureGroupId) -> float:
        """Seconds of bare DuckDB with the group's query."""
        database = Database(f"sqlite:///{self._home / 'modelyard.db'}")
        with database.read() as session:
            definition = session.get_one(FeatureGroup, group_id).made_from
            tables = {each.table_name: self._files(session, each.feature_group_id) for each in definition.inputs}
        database.close()
        asked = {"query": definition.engine_sql, "tables": tables, "out": str(self._home / "bare.parquet")}
        given = json.dumps(asked)
        return float(subprocess.check_output([self._python, "-c", _BARE], input=given, text=True))

    def _files(self, session: Session, group_id: FeatureGroupId) -> list[str]:
        newest = select(FeatureGroupVersion).where(FeatureGroupVersion.feature_group_id == group_id)
        version = session.scalars(newest.order_by(FeatureGroupVersion.number.desc())).first()
        if version is None:
            raise RuntimeError(f"feature group {group_id} has no version")
        return [str(self._store.path(part.digest)) for part in version.manifest.parts]
