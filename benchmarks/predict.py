"""Predictions of a trivial model through the whole platform, against a bare endpoint that answers a constant.

Real gateway, real agent, real sandboxed replica, token checked at every call. Both servers run all the time and are
called in turn, so that what else the machine does meets both.
"""

import http.client
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks.bare import bare_server
from benchmarks.house import House
from benchmarks.load import Load, has_wrk, press
from benchmarks.measure import Options, Row, at_most, median, spread

BODY = json.dumps({"queryData": {f"x{number}": 0.123456 * number + 0.75 for number in range(20)}}).encode()
#: Calls of the series in which each call opens a connection.
LONE_CALLS = 300


def run(options: Options) -> Iterator[Row]:
    """1 and 32 kept connections, and a new connection for each call."""
    if not has_wrk():
        print("  wrk is not installed (Debian: apt-get install wrk); the built-in client is slower and flattens ratios")
    with House() as house, bare_server() as bare:
        url = deployed_url(house)
        for each in (url, bare):
            press(each, 8, 1, BODY)
        alone = [
            (press(url, 1, options.seconds, BODY), press(bare, 1, options.seconds, BODY)) for _ in range(options.rounds)
        ]
        many = [
            (press(url, 32, options.seconds, BODY), press(bare, 32, options.seconds, BODY))
            for _ in range(options.rounds)
        ]
        lone = [(_lone(url), _lone(bare)) for _ in range(options.rounds)]
    errors = sum(load.errors for pair in (*alone, *many) for load in pair)
    yield _many_row(many)
    yield _p50_row("predict, 1 connection, p50", alone)
    yield _p99_row("predict, 32 connections, p50 / p99", many)
    yield _p99_row("predict, 1 connection, p50 / p99", alone)
    ours, theirs = median(pair[0] for pair in lone), median(pair[1] for pair in lone)
    yield Row(
        "predict, a new connection each call, p50",
        f"{ours:.3f} ms",
        "",
        f"{ours / theirs:.2f}",
        f"bare {theirs:.3f} ms",
    )
    yield Row("predict, failed calls", str(errors), "0", "", "", errors == 0)


def deployed_url(house: House) -> str:
    """Where to POST predictions of a new deployment of the trivial model."""
    project_id = house.project()
    model = house.model(project_id)
    version = model["latestModelVersion"]["modelVersion"]
    house.trained(version)
    deployment_id = house.deployed(version)
    token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
    return f"{house.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"


def _many_row(pairs: list[tuple[Load, Load]]) -> Row:
    ours, theirs = median(pair[0].per_second for pair in pairs), median(pair[1].per_second for pair in pairs)
    ratio = median(pair[0].per_second / pair[1].per_second for pair in pairs)
    return Row(
        "predict, 32 connections",
        f"{ours:,.0f}/s",
        ">= 1.2 x bare",
        f"{ratio:.2f}",
        f"bare {theirs:,.0f}/s",
        ratio >= 1.2,
    )


def _p50_row(what: str, pairs: list[tuple[Load, Load]]) -> Row:
    ours, theirs = median(pair[0].p50_ms for pair in pairs), median(pair[1].p50_ms for pair in pairs)
    ratios = [pair[0].p50_ms / pair[1].p50_ms for pair in pairs]
    row = at_most(what, median(ratios), 1.5, "x bare")
    return Row(
        what, f"{ours:.3f} ms", row.budget, f"{median(ratios):.2f} ({spread(ratios)})", f"bare {theirs:.3f} ms", row.met
    )


def _p99_row(what: str, pairs: list[tuple[Load, Load]]) -> Row:
    ours, theirs = (
        [median(getattr(pair[at], name) for pair in pairs) for name in ("p50_ms", "p99_ms")] for at in (0, 1)
    )
    figure = f"{ours[0]:.3f} / {ours[1]:.2f} ms"
    return Row(
        what,
        figure,
        "",
        f"{ours[0] / theirs[0]:.2f} / {ours[1] / theirs[1]:.2f}",
        f"bare {theirs[0]:.3f} / {theirs[1]:.2f} ms",
    )


def _lone(url: str) -> float:
    """p50 in ms of calls that open and close a connection each, as the official client does."""
    parts = urlsplit(url)
    took = []
    for _ in range(LONE_CALLS):
        began = time.perf_counter()
        connection = http.client.HTTPConnection(parts.netloc, timeout=20)
        connection.request("POST", f"{parts.path}?{parts.query}", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, answer.status
    return median(took)
