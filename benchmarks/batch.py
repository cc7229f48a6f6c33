"""Batch predictions over 5 million rows of 20 numbers with scikit-learn, beside the bare function over the same table.

The time of a batch is what its guests worked, each from the moment when it was ready, model loaded and table mapped,
with every exchange between them and the agent, and then until the last predictions lay safely on the disk, as the
platform wrote it down. The bare function has the same table in memory, as one DataFrame a process, in as many processes
as there are cores, each with its share of the rows; it gets blocks of as many rows as a chunk has, is called on some of
them first, and what it gives is thrown away. Both in turn, in the same environment. As many warm guests wait as there
are cores. Models: a logistic regression, which costs next to nothing, and a gradient boosting, as functions usually
cost. `whole` is a version from its start to its end: guests, packages, the result as text or as a feature group.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from benchmarks.house import House, shared_cache
from benchmarks.measure import Options, Row, median
from modelyard.batch_predictions.chunks import Plan
from modelyard.batch_predictions.records import BatchPredictionVersion
from modelyard.database import Database
from modelyard.environments import Environments
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings
from modelyard.storage.tables import arrow_path

COLUMNS, CORES = 20, 2
#: Of the bare function's speed: for functions of under 0.1 µs a row, and for all others.
CHEAP_SHARE, SHARE = 0.5, 0.9
#: Seconds between two looks at whether a batch has ended; each takes some milliseconds from its cores.
_POLL_S = 0.25
#: Rows a second of Ray Data with one actor, once measured on another machine of this kind.
RAY_DATA = 0.37e6
MAKE = """
def make():
    import numpy, pandas
    chance = numpy.random.default_rng(5)
    values = chance.standard_normal(({columns}, {rows}))
    return pandas.DataFrame(values.T, columns=[f"x{{at}}" for at in range({columns})], copy=False)
"""
TRAIN = """
def fit(estimator, rows):
    rows = rows[:20_000]
    return estimator.fit(rows, rows["x0"] + rows["x1"] * rows["x2"] > 0)


def predict_many(model, queries):
    return model.predict_proba(queries)[:, 1]


def train(rows):
"""
_LOGISTIC = "    from sklearn.linear_model import LogisticRegression\n    return fit(LogisticRegression(), rows)\n"
_BOOSTING = (
    "    from sklearn import ensemble\n    return fit(ensemble.HistGradientBoostingClassifier(max_iter=30), rows)\n"
)
ESTIMATORS = {"logistic regression": (_LOGISTIC, CHEAP_SHARE), "gradient boosting": (_BOOSTING, SHARE)}
_BARE = """
import json, sys, time
import numpy, pandas, pyarrow
path, source, step, part, parts = json.loads(sys.argv[1])
names = {}
exec(source, names)
table = pyarrow.ipc.open_file(pyarrow.memory_map(path)).read_all()
model = names["train"](table.slice(0, 20_000).to_pandas())
first, last = table.num_rows * part // parts, table.num_rows * (part + 1) // parts
values = numpy.empty((table.num_columns, last - first))
for at in range(table.num_columns):
    values[at] = table.column(at).slice(first, last - first).to_numpy()
rows = pandas.DataFrame(values.T, columns=table.column_names, copy=False)
predict_many = names["predict_many"]
for start in range(0, min(len(rows), 8 * step), step):
    predict_many(model, rows[start : start + step])
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
for start in range(0, len(rows), step):
    predict_many(model, rows[start : start + step])
print(json.dumps([began, time.monotonic()]), flush=True)
"""


def run(options: Options) -> Iterator[Row]:
    """Each model, `rounds` times."""
    rows = options.batch_rows
    with House(warm_guests=CORES) as house:
        kept = _Kept(house)
        project = house.project()
        source = MAKE.format(rows=rows, columns=COLUMNS)
        group = house.call(
            "createFeatureGroupFromFunction", tableName="many", functionSourceCode=source, functionName="make"
        )["featureGroupId"]
        begun = house.call("createFeatureGroupVersion", featureGroupId=group)["featureGroupVersion"]
        house.wait("describeFeatureGroupVersion", ("COMPLETE", "FAILED"), featureGroupVersion=begun)
        for name, (body, share) in ESTIMATORS.items():
            yield from _model(house, kept, project, name, TRAIN + body, share, options)


def _model(
    house: House, kept: "_Kept", project: str, name: str, source: str, share: float, options: Options
) -> Iterator[Row]:
    model = house.model(
        project, source, predictFunctionName=None, predictManyFunctionName="predict_many", cpuSize="medium",
        trainingInputTables=["many"],
    )  # fmt: skip
    version = house.trained(model["latestModelVersion"]["modelVersion"])["modelVersion"]
    deployment = house.call("createDeployment", modelVersion=version, start=False)["deploymentId"]
    rows, batch = options.batch_rows, _define(house, deployment)
    ours, bare, whole, peaks = list[float](), list[float](), list[float](), list[float]()
    for _ in range(options.rounds):
        predicting_s, whole_s, peak = kept.batch(house, batch)
        ours, whole, peaks = [*ours, predicting_s], [*whole, whole_s], [*peaks, peak]
        bare.append(kept.bare(source, rows))
    took, against = median(ours), median(bare)
    met = against / took >= share if rows == Options().batch_rows else None
    what = f"batch, {rows:,} x {COLUMNS}, {name}"
    yield Row(
        what, f"{rows / took / 1e6:.1f} M rows/s", f">= {share:g} x bare", f"{against / took:.2f}",
        f"bare {rows / against / 1e6:.1f} M rows/s", met,
    )  # fmt: skip
    per_s = rows / median(whole)
    yield Row(
        f"{what}, whole, JSON with one input", f"{median(whole):.2f} s", "", f"{per_s / RAY_DATA:.1f}",
        "Ray Data, once, 0.37 M rows/s",
    )  # fmt: skip
    yield Row(f"{what}, most memory of the guests", f"{median(peaks) / 1024**2:.0f} MiB")
    if share == CHEAP_SHARE:
        to_group = _define(house, deployment, tableName="predicted")
        took = median([kept.batch(house, to_group)[1] for _ in range(options.rounds)])
        yield Row(f"{what}, whole, into a feature group too", f"{took:.2f} s")


def _define(house: House, deployment: str, **parameters: object) -> str:
    given = {"deploymentId": deployment, "resultInputColumns": ["x0"]} | parameters
    return str(house.call("createBatchPrediction", **given)["batchPredictionId"])


class _Kept:
    """What the house keeps of batches, and the bare function beside it."""

    def __init__(self, house: House) -> None:
        self._home = house.home
        self._settings = Settings.load({}, home=house.home, cache=shared_cache())
        sandbox = Sandbox(self._settings)
        self._python = str(Environments(self._settings, sandbox).base().interpreter.python)
        sandbox.close()

    def batch(self, house: House, batch: str) -> tuple[float, float, float]:
        """Seconds of predicting, and of a whole version; bytes of memory at most."""
        begun = house.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
        states, action = ("COMPLETE", "FAILED"), "describeBatchPredictionVersion"
        found = house.wait(action, states, poll_s=_POLL_S, batchPredictionVersion=begun)
        if found["status"] == "FAILED":
            raise RuntimeError(f"a batch failed: {found['error']}")
        database = Database(f"sqlite:///{self._home / 'modelyard.db'}")
        with database.read() as session:
            version = session.get_one(BatchPredictionVersion, begun)
            began, ended, usage = version.started_at, version.completed_at, version.usage or {}
        database.close()
        if began is None or ended is None:
            raise RuntimeError(f"version {begun} has not ended")
        return usage["predictingSeconds"], (ended - began).total_seconds(), usage["peakMemoryBytes"]

    def bare(self, source: str, rows: int) -> float:
        """Seconds of the function over the same rows in memory."""
        path = self._twin()
        step = Plan.of(rows, COLUMNS, path.stat().st_size, many=True).step
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
        workers = [
            subprocess.Popen(
                [self._python, "-c", _BARE, json.dumps([str(path), source, step, part, CORES])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread,
            )
            for part in range(CORES)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout is not None
            if worker.stdout.readline() != "ready\n":
                raise RuntimeError("the bare function could not be called")
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        times = [json.loads(worker.communicate()[0]) for worker in workers]
        return float(max(ended for _, ended in times) - min(began for began, _ in times))

    def _twin(self) -> Path:
        database = Database(f"sqlite:///{self._home / 'modelyard.db'}")
        with database.read() as session:
            newest = select(FeatureGroupVersion).order_by(FeatureGroupVersion.created_at)
            table = session.scalars(newest).first()
            if table is None:
                raise RuntimeError("there is no table")
            path = arrow_path(self._settings.cache_dir / "tables", table.manifest)
        database.close()
        return path
