"""Tables on their way to a client: bytes a second out of the server, and `load_as_pandas` against the decoding alone.

A Python feature group makes a million rows: 6 float64, 3 int64, 2 texts of few distinct values, one of a million. The
parts' bytes are fetched in the official client's way, by several threads and 10 MB a call, each call with a connection
of its own, into one buffer and away: what is measured is the server, key, database and all. Then the official client
loads them; what it takes to decode the same bytes from memory, by the client's own function, is the reference.
"""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from urllib.parse import urlencode

import requests

from benchmarks.house import House
from benchmarks.measure import Options, Row, at_least, at_most, median, spread

ROWS = 1_000_000
THREADS = 10
MAKE = f"""import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

def make() -> pa.Table:
    numbers = np.random.default_rng(7)
    columns = {{f"x{{at}}": pa.array(numbers.standard_normal({ROWS})) for at in range(6)}}
    columns |= {{f"i{{at}}": pa.array(numbers.integers(0, 1_000_000, {ROWS})) for at in range(3)}}
    for name, many in (("region", 20), ("product", 500)):
        words = pa.array([f"{{name}}_{{at:04}}" for at in range(many)])
        columns[name] = words.take(pa.array(numbers.integers(0, many, {ROWS})))
    columns["code"] = pc.binary_join_element_wise("id", pc.cast(columns["i0"], pa.string()), "_")
    return pa.table(columns)
"""


def run(options: Options) -> Iterator[Row]:
    """Both, `rounds` times each."""
    with House() as house:
        version = _version(house)
        first = time.perf_counter()
        parts = _get(house, "_getFeatureGroupVersionParts", featureGroupVersion=version).json()["result"]
        encoded_s = time.perf_counter() - first
        kept = _fetch(house, version, len(parts))
        size = sum(map(len, kept))
        rates, loads, decodes = list[float](), list[float](), list[float]()
        for _ in range(options.rounds):
            start = time.perf_counter()
            _drain(house, version, len(parts))
            rates.append(size / 1e6 / (time.perf_counter() - start))
            loads.append(_load(house, version))
            decodes.append(_decode(kept))
    yield at_least("download, out of the server", median(rates), 200, "MB/s", spread(rates), "lowest to highest")
    ours, theirs = median(loads), median(decodes)
    against = f"decoding from memory {theirs:.2f} s"
    yield at_most(
        f"load_as_pandas, {ROWS:,} x 12", ours, 1.25 * theirs, "s", f"{theirs / ours:.2f} x its speed", against
    )
    yield Row("download, size / Avro made at the first call", f"{size / 1e6:.0f} MB / {encoded_s:.2f} s")


def _version(house: House) -> str:
    group = house.call("createFeatureGroupFromFunction", tableName="rows", functionSourceCode=MAKE, functionName="make")
    begun = house.call("createFeatureGroupVersion", featureGroupId=group["featureGroupId"])
    version = str(begun["featureGroupVersion"])
    found = house.wait("describeFeatureGroupVersion", ("COMPLETE", "FAILED"), featureGroupVersion=version)
    if found["status"] == "FAILED":
        raise RuntimeError(f"the table could not be made: {found['error']}")
    return version


def _fetch(house: House, version: str, parts: int) -> list[bytes]:
    """The parts' bytes, as the client asks for them."""

    def one(part: int) -> bytes:
        pieces: list[bytes] = []
        while True:
            asked = {"featureGroupVersion": version, "part": part, "offset": sum(map(len, pieces))}
            answer = _get(house, "_downloadFeatureGroupVersionPartChunk", **asked)
            if not answer.content:
                return b"".join(pieces)
            pieces.append(answer.content)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(parts)))


def _drain(house: House, version: str, parts: int) -> None:
    """Fetches the same and throws it away, at the cost of the system calls alone."""
    host, _, port = house.url.rpartition("//")[2].partition(":")

    def one(part: int) -> None:
        buffer, offset = bytearray(1024**2), 0
        while True:
            asked = urlencode({"featureGroupVersion": version, "part": part, "offset": offset})
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            target = f"/api/v0/_downloadFeatureGroupVersionPartChunk?{asked}"
            connection.request("GET", target, headers={"apiKey": house.key, "connection": "close"})
            answer, size = connection.getresponse(), 0
            while count := answer.readinto(buffer):
                size += count
            connection.close()
            if not size:
                return
            offset += size

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(parts)))


def _get(house: House, action: str, **parameters: object) -> requests.Response:
    url = f"{house.url}/api/v0/{action}"
    answer = requests.get(url, params=parameters, headers={"apiKey": house.key}, timeout=120)  # type: ignore[arg-type]
    answer.raise_for_status()
    return answer


def _load(house: House, version: str) -> float:
    import abacusai

    client = abacusai.ApiClient(house.key, server=house.url)
    found = client.describe_feature_group_version(version)
    start = time.perf_counter()
    frame = found.load_as_pandas()
    took = time.perf_counter() - start
    assert len(frame) == ROWS
    return took


def _decode(kept: list[bytes]) -> float:
    import pandas as pd
    from abacusai.api_client_utils import load_as_pandas_from_avro_fd

    start = time.perf_counter()
    frame = pd.concat([load_as_pandas_from_avro_fd(BytesIO(part)) for part in kept], ignore_index=True)
    took = time.perf_counter() - start
    assert len(frame) == ROWS
    return took
