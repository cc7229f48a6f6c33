"""Several gateways behind one address: who ends in good order loses nobody's call, whoever is killed is replaced."""

import http.client
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.conftest import Served, is_alive, run_command
from tests.waiting import wait_until

CALLERS = 4


@pytest.fixture
def several(home: Path) -> Iterator[Served]:
    served = Served(home, gateways=3)
    try:
        served.wait_until_ready()
        wait_until(lambda: len(served.children("gateway")) == 3)
        yield served
    finally:
        served.end()


class Callers:
    """Threads that call one after the other over kept connections, and note each call that was not answered."""

    def __init__(self, url: str) -> None:
        self._address, self._ending = urlsplit(url).netloc, threading.Event()
        self.answered, self.lost = Counter[int](), list[str]()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def more(self, calls: int) -> None:
        """Waits for so many further answers."""
        wanted = self.answered.total() + calls
        wait_until(lambda: self.answered.total() >= wanted or bool(self.lost), 30)

    def _call(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=20)
        while not self._ending.is_set():
            try:
                connection.request("GET", "/api/v0/version")
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
            else:
                assert answer.status == 200
                self.answered[number] += 1
        connection.close()


def test_gateways_that_end_in_good_order_lose_no_call_and_are_replaced(several: Served) -> None:
    with Callers(several.url) as callers:
        for gateway in several.children("gateway"):
            callers.more(50)
            os.kill(gateway, signal.SIGTERM)
            wait_until(lambda: not is_alive(gateway), 20)  # noqa: B023 - called at once
        wait_until(lambda: len(several.children("gateway")) == 3, 20)
        callers.more(50)
    assert callers.lost == []
    assert min(callers.answered.values()) > 0


def test_while_one_gateway_lives_new_callers_are_answered(several: Served) -> None:
    for gateway in several.children("gateway")[:2]:
        os.kill(gateway, signal.SIGKILL)
    for _ in range(20):
        assert several.get("/api/v0/version")[0] == 200
    wait_until(lambda: len(several.children("gateway")) == 3, 20)
    assert several.interrupt() == 0


def test_there_is_at_least_one_gateway(home: Path) -> None:
    refused = run_command(home, "serve", "--port", "0", gateways=0)
    assert refused.returncode == 1
    assert "MODELYARD_GATEWAYS" in refused.stderr
