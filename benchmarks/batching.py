"""Single predictions of a scikit-learn model with and without batches: how many a second, and how long each waits.

One deployment, whose options are changed between the rounds, so that both are measured on the same replica.
"""

import json
import time
from collections.abc import Iterator

from benchmarks.house import House
from benchmarks.load import Load, press
from benchmarks.measure import Options, Row, at_least, median, spread

CALLERS = 32
SOURCE = """
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

COLUMNS = [f"x{number}" for number in range(10)]

def train():
    random = np.random.default_rng(1)
    table = pd.DataFrame(random.random((2_000, 10)), columns=COLUMNS)
    return RandomForestRegressor(n_estimators=20, max_depth=8, random_state=1).fit(table, table.sum(axis=1))

def predict(model, query):
    return predict_many(model, pd.DataFrame([query]))[0]

def predict_many(model, queries):
    return model.predict(queries[COLUMNS]).tolist()
"""
BODY = json.dumps({"queryData": {f"x{number}": 0.1 * number for number in range(10)}}).encode()
BATCHED = {"maxBatchSize": 128, "latencyBudgetMs": 50}


def run(options: Options) -> Iterator[Row]:
    """32 callers that ask again as soon as they have their answer, and one alone."""
    with House() as house:
        project_id = house.project()
        version = house.model(project_id, SOURCE, predictManyFunctionName="predict_many")["latestModelVersion"]
        house.trained(version["modelVersion"])
        deployment_id = house.deployed(version["modelVersion"])
        token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
        url = f"{house.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
        press(url, 8, 1, BODY)
        many = [_pair(house, url, deployment_id, CALLERS, options.seconds) for _ in range(options.rounds)]
        lone = [_pair(house, url, deployment_id, 1, options.seconds) for _ in range(options.rounds)]
    ratios = [on.per_second / off.per_second for off, on in many]
    off, on = (median(pair[at].per_second for pair in many) for at in (0, 1))
    row = at_least(f"single predictions, {CALLERS} callers, batches on", on, off * 3, "/s")
    yield Row(
        row.what, row.figure, ">= 3 x off", f"{median(ratios):.1f} ({spread(ratios)})", f"off {off:,.0f}/s", row.met
    )
    for what, pairs in ((f"{CALLERS} callers, p50 / p99", many), ("1 caller, p50 / p99", lone)):
        (off50, off99), (on50, on99) = (
            [median(getattr(pair[at], name) for pair in pairs) for name in ("p50_ms", "p99_ms")] for at in (0, 1)
        )
        yield Row(
            f"single predictions, {what}, batches on", f"{on50:.1f} / {on99:.1f} ms", "",
            f"{on50 / off50:.2f} / {on99 / off99:.2f}", f"off {off50:.1f} / {off99:.1f} ms",
        )  # fmt: skip
    errors = sum(load.errors for pair in (*many, *lone) for load in pair)
    yield Row("single predictions in batches, failed calls", str(errors), "0", "", "", errors == 0)


def _pair(house: House, url: str, deployment_id: str, callers: int, seconds: float) -> tuple[Load, Load]:
    """Without batches, and with them."""
    loads = []
    for options in (dict.fromkeys(BATCHED), BATCHED):
        house.call("setDeploymentOptions", deploymentId=deployment_id, options=options)
        time.sleep(0.5)  # every gateway has heard of it
        press(url, callers, 0.5, BODY)
        loads.append(press(url, callers, seconds, BODY))
    return loads[0], loads[1]
