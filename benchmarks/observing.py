"""What it costs a prediction to be observed: counted always, written down by sample, read by a scraper.

Two houses run all the time and are called in turn: one as it is, whose metrics are scraped every second besides, and
one that writes down no calls and is never scraped. What is always done, counting, is timed by itself.
"""

import threading
import time
import timeit
from collections.abc import Iterator

import requests

from benchmarks.house import House
from benchmarks.load import press
from benchmarks.measure import Options, Row, median, spread
from benchmarks.predict import BODY, deployed_url
from modelyard.deployments.calls.sampling import Sampler
from modelyard.deployments.calls.tally import Tally

#: The part of the calls that being observed may cost, and microseconds that counting may take.
PART, MICROSECONDS = 0.05, 1.0
COUNTS = 200_000


def run(options: Options) -> Iterator[Row]:
    """32 kept connections, observed and not; one call's count; one scrape under load."""
    yield _counting()
    with House() as observed, House(prediction_logs_a_second=0) as silent, Scraper(observed) as scraper:
        urls = [deployed_url(observed), deployed_url(silent)]
        for url in urls:
            press(url, 8, 1, BODY)
        loads = []
        for number in range(2 * options.rounds):
            pair = {at: press(urls[at], 32, options.seconds, BODY) for at in ((0, 1) if number % 2 else (1, 0))}
            loads.append((pair[0], pair[1]))
    ratios = [ours.per_second / theirs.per_second for ours, theirs in loads]
    yield Row(
        "predict, 32 connections, observed", f"{median(ours.per_second for ours, _ in loads):,.0f}/s",
        f">= {1 - PART:.2f} x not", f"{median(ratios):.2f} ({spread(ratios)})",
        f"not {median(theirs.per_second for _, theirs in loads):,.0f}/s", median(ratios) >= 1 - PART,
    )  # fmt: skip
    yield Row("a scrape of /metrics meanwhile", f"{median(scraper.took_ms):.0f} ms", "", "", "")


class Scraper:
    """Scrapes a house's metrics once a second."""

    def __init__(self, house: House) -> None:
        self._house, self._ending = house, threading.Event()
        self.took_ms: list[float] = []
        self._thread = threading.Thread(target=self._scrape, daemon=True)

    def __enter__(self) -> "Scraper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _scrape(self) -> None:
        while not self._ending.wait(1.0):
            began = time.perf_counter()
            requests.get(
                f"{self._house.url}/metrics", headers={"apiKey": self._house.key}, timeout=20
            ).raise_for_status()
            self.took_ms.append((time.perf_counter() - began) * 1000)


def _counting() -> Row:
    tally, sampler = Tally(), Sampler()

    def count() -> None:
        tally.note(200, 0.0007)
        sampler.takes(1, 10, 1.0, failed=False)

    took_us = median(each / COUNTS * 1e6 for each in timeit.repeat(count, number=COUNTS, repeat=7))
    return Row("counting one call", f"{took_us:.2f} us", f"<= {MICROSECONDS:g} us", "", "", took_us <= MICROSECONDS)
