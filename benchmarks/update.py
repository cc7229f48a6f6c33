"""updatePythonModel over HTTP, answered only when it is on disk: on SQLite and PostgreSQL, with 1 and 8 callers.

Each call sends a source that was never seen before, so every source is checked; a second series sends the same source
over and over with another amount of memory, so nothing needs a check. Each caller has a model of its own, but for the
last series, in which all change the same one. Durable commits of one row by bare `sqlite3` are the reference.
"""

import itertools
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator

from benchmarks.house import House
from benchmarks.load import Load, hammer
from benchmarks.measure import Options, Row, at_least, at_most
from benchmarks.postgresql import postgresql_url

CALLERS = 8
SOURCE = '''"""Concrete strength by gradient boosting. Revision {number}."""

import json

import numpy as np
import pandas as pd
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import train_test_split

TARGET = "strength"
SEED = {number}


def features(table: pd.DataFrame) -> pd.DataFrame:
    found = table.drop(columns=[TARGET], errors="ignore").copy()
    found["water_per_cement"] = found["water"] / found["cement"].clip(lower=1.0)
    found["log_age"] = np.log1p(found["age"])
    return found


def train(table: pd.DataFrame | None = None, training_config: dict | None = None):
    config = training_config or {{}}
    rows, held = train_test_split(table, test_size=0.2, random_state=SEED)
    model = GradientBoostingRegressor(n_estimators=config.get("TREES", 200), random_state=SEED)
    model.fit(features(rows), rows[TARGET])
    error = np.sqrt(np.mean((model.predict(features(held)) - held[TARGET]) ** 2))
    with open("metrics.json", "w") as out:
        json.dump({{"rmse": float(error)}}, out)
    return {{"model": model, "columns": list(features(rows).columns)}}


def predict(model, query):
    row = features(pd.DataFrame([query]))[model["columns"]]
    return {{"strength": float(model["model"].predict(row)[0])}}


def predict_many(model, queries):
    return model["model"].predict(features(queries)[model["columns"]])
'''


def run(options: Options) -> Iterator[Row]:
    """Both databases; budgets are SQLite's."""
    yield Row("bare sqlite3, durable commits", f"{_bare_commits():,.0f}/s")
    with House(warm_guests=0) as house:
        yield from _series(house, options, "SQLite", has_budget=True)
    with postgresql_url() as url:
        if url:
            with House(warm_guests=0, database_url=url) as house:
                yield from _series(house, options, "PostgreSQL", has_budget=False)


def _series(house: House, options: Options, database: str, *, has_budget: bool) -> Iterator[Row]:
    project_id, first = house.project(), SOURCE.format(number=0)
    ids = [str(house.model(project_id, first, trainingInputTables=[])["modelId"]) for _ in range(CALLERS)]
    numbers = itertools.count(1)

    def other_sources(caller: int) -> Iterator[bytes]:
        for number in numbers:
            yield _body(ids[caller], SOURCE.format(number=number), 1)

    def same_source(caller: int) -> Iterator[bytes]:
        for number in itertools.count(1):
            yield _body(ids[caller], first, 1 + number % 8)

    def one_model(_: int) -> Iterator[bytes]:
        return other_sources(0)

    def measure(callers: int, bodies: Callable[[int], Iterator[bytes]]) -> Load:
        url, headers = f"{house.url}/api/v0/updatePythonModel", f"apiKey: {house.key}\r\n"
        loads = [hammer(url, callers, options.seconds, bodies, headers) for _ in range(options.rounds)]
        if errors := sum(load.errors for load in loads):
            print(f"  {database}: {errors} calls were refused")
        return sorted(loads, key=lambda load: load.per_second)[len(loads) // 2]

    measure(2, other_sources)  # connections and statements are made once
    alone, many = measure(1, other_sources), measure(CALLERS, other_sources)
    same, shared = measure(CALLERS, same_source), measure(CALLERS, one_model)
    if has_budget:
        yield at_least(f"update, {database}, {CALLERS} callers", many.per_second, 300, "/s")
        yield at_most(f"update, {database}, 1 caller, p50", alone.p50_ms, 10, "ms")
    else:
        yield Row(f"update, {database}, {CALLERS} callers", f"{many.per_second:,.0f} /s")
        yield Row(f"update, {database}, 1 caller, p50", f"{alone.p50_ms:.3g} ms")
    yield Row(f"update, {database}, 1 caller", f"{alone.per_second:,.0f} /s", "", "", f"p99 {alone.p99_ms:.1f} ms")
    yield Row(f"update, {database}, {CALLERS} callers, p50 / p99", f"{many.p50_ms:.1f} / {many.p99_ms:.1f} ms")
    yield Row(
        f"update, {database}, {CALLERS} callers, same source",
        f"{same.per_second:,.0f} /s",
        "",
        "",
        f"p50 {same.p50_ms:.1f} ms",
    )
    yield Row(
        f"update, {database}, {CALLERS} callers, same model",
        f"{shared.per_second:,.0f} /s",
        "",
        "",
        f"p50 {shared.p50_ms:.1f} ms",
    )


def _body(model_id: str, source: str, memory: int) -> bytes:
    return json.dumps({"modelId": model_id, "functionSourceCode": source, "memory": memory}).encode()


def _bare_commits(seconds: float = 0.5) -> float:
    """Durable commits of one row a second, as fast as the disk lets one connection."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(f"{folder}/bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE rows (text)")
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            connection.execute("INSERT INTO rows VALUES (?)", ("x" * 500,))
            count += 1
        connection.close()
        return count / seconds
