"""Rows online over HTTP: upserts that are answered when they are on disk, and look-ups by key among a million rows.

On SQLite and PostgreSQL. Writers and server share the cores; each writer keeps its connection and sends one row a call.
`lookupFeatures` is asked of a deployment of those rows, and of one whose version is a table of a million rows and 12
columns: a replica has it in order, and the kind of database is of no matter.
"""

import http.client
import itertools
import json
import random
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks import table
from benchmarks.house import House
from benchmarks.load import Load, hammer
from benchmarks.measure import Options, Row, at_least, at_most, percentile
from benchmarks.postgresql import postgresql_url

WRITERS = 8
ROWS = 1_000_000
#: Rows that one call appends while the table is filled.
AT_ONCE = 10_000
LOOKUPS = 3_000


def run(options: Options) -> Iterator[Row]:
    """Both databases; budgets are SQLite's."""
    with House(warm_guests=0) as house:
        yield from _series(house, options, "SQLite", has_budget=True)
    with House() as house:
        try:
            yield from _deployed_table(house)
        finally:
            table.remove_twins(house)
    with postgresql_url() as url:
        if url:
            with House(warm_guests=0, database_url=url) as house:
                yield from _series(house, options, "PostgreSQL", has_budget=False)


def _series(house: House, options: Options, database: str, *, has_budget: bool) -> Iterator[Row]:
    group_id = str(house.call("createOnlineFeatureGroup", tableName="users", primaryKey="user_id")["featureGroupId"])
    began = time.perf_counter()
    for start in range(0, ROWS, AT_ONCE):
        rows = [_row(number) for number in range(start, start + AT_ONCE)]
        house.call("appendMultipleData", featureGroupId=group_id, data=rows)
    filled = ROWS / (time.perf_counter() - began)
    yield Row(f"append, {database}, {AT_ONCE:,} rows a call", f"{filled:,.0f} rows/s")

    many = _upserts(house, options, group_id, WRITERS)
    alone = _upserts(house, options, group_id, 1)
    lookups = _lookups(house, group_id)
    p50, p99 = percentile(lookups, 0.5), percentile(lookups, 0.99)
    if has_budget:
        yield at_least(f"upsert, {database}, {WRITERS} callers", many.per_second, 2000, "/s")
        yield at_most(f"look-up by key among {ROWS:,} rows, {database}, p99", p99, 5, "ms")
    else:
        yield Row(f"upsert, {database}, {WRITERS} callers", f"{many.per_second:,.0f} /s")
        yield Row(f"look-up by key among {ROWS:,} rows, {database}, p99", f"{p99:.2f} ms")
    yield Row(f"upsert, {database}, {WRITERS} callers, p50 / p99", f"{many.p50_ms:.1f} / {many.p99_ms:.1f} ms")
    yield Row(f"upsert, {database}, 1 caller", f"{alone.per_second:,.0f} /s", "", "", f"p99 {alone.p99_ms:.1f} ms")
    yield Row(f"look-up by key, {database}, p50", f"{p50:.2f} ms")
    deployment_id = house.active(
        house.call("createDeployment", featureGroupId=group_id, projectId=house.project(), name="users")
    )
    yield from _features(house, deployment_id, "user_id", "u", f"{ROWS:,} rows online, {database}", budget=has_budget)


def _deployed_table(house: House) -> Iterator[Row]:
    """How long a table takes to be deployed, and look-ups in it."""
    made = house.call(
        "createFeatureGroupFromFunction", tableName="large", functionSourceCode=table.MAKE.format(rows=ROWS),
        functionName="make",
    )  # fmt: skip
    group_id = made["featureGroupId"]
    version = house.call("createFeatureGroupVersion", featureGroupId=group_id)
    house.wait(
        "describeFeatureGroupVersion", ("COMPLETE", "FAILED"), featureGroupVersion=version["featureGroupVersion"]
    )
    house.call("setFeatureGroupIndexingConfig", featureGroupId=group_id, primaryKey="hc")
    began = time.perf_counter()
    deployment_id = house.active(house.call("createDeployment", featureGroupId=group_id, projectId=house.project()))
    yield at_most(f"deploy a table of {ROWS:,} rows", time.perf_counter() - began, 60, "s")
    yield from _features(house, deployment_id, "hc", "id_", f"a table of {ROWS:,} rows", budget=True)


def _features(house: House, deployment_id: str, column: str, prefix: str, where: str, *, budget: bool) -> Iterator[Row]:
    """Look-ups of one key each, one after the other."""
    place = urlsplit(house.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port)
    dice, took = random.Random(0), []
    for _ in range(LOOKUPS):
        key = f"{prefix}{dice.randrange(ROWS)}"
        began = time.perf_counter()
        body = json.dumps({"queryData": {column: key}})
        connection.request(
            "POST", f"/api/v0/lookupFeatures?deploymentId={deployment_id}", body, headers={"apiKey": house.key}
        )
        [row] = json.loads(connection.getresponse().read())["result"]
        took.append((time.perf_counter() - began) * 1000)
        assert row[column] == key
    connection.close()
    what, p99 = f"lookupFeatures in {where}", percentile(took, 0.99)
    yield at_most(f"{what}, p99", p99, 5, "ms") if budget else Row(f"{what}, p99", f"{p99:.2f} ms")
    yield Row(f"{what}, p50", f"{percentile(took, 0.5):.2f} ms")


def _upserts(house: House, options: Options, group_id: str, writers: int) -> Load:
    url, headers = f"{house.url}/api/upsertData", f"apiKey: {house.key}\r\n"

    def bodies(caller: int) -> Iterator[bytes]:
        dice = random.Random(caller)
        for number in itertools.count():
            key = dice.randrange(ROWS) if number % 2 else ROWS + caller + WRITERS * number
            yield json.dumps({"featureGroupId": group_id, "data": _row(key)}).encode()

    loads = [hammer(url, writers, options.seconds, bodies, headers) for _ in range(options.rounds)]
    return sorted(loads, key=lambda load: load.per_second)[len(loads) // 2]


def _lookups(house: House, group_id: str) -> list[float]:
    """Milliseconds of each look-up, one after the other."""
    place = urlsplit(house.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port)
    dice, took = random.Random(0), []
    for _ in range(LOOKUPS):
        key = dice.randrange(ROWS)
        began = time.perf_counter()
        connection.request(
            "GET", f"/api/getData?featureGroupId={group_id}&primaryKey=u{key}", headers={"apiKey": house.key}
        )
        [row] = json.loads(connection.getresponse().read())["result"]
        took.append((time.perf_counter() - began) * 1000)
        assert row["contents"]["user_id"] == f"u{key}"
    connection.close()
    return took


def _row(number: int) -> dict[str, object]:
    return {
        "user_id": f"u{number}", "age": number % 90, "score": number / 7, "city": f"city {number % 500}",
        "active": number % 3 == 0, "seen": "2026-11-25T10:00:00Z",
    }  # fmt: skip
