"""Who may boot a guest now."""

import threading
from collections.abc import Iterator

import pytest

from modelyard.sandbox import gate
from modelyard.sandbox.gate import Gate, Ticket
from tests.waiting import wait_until


class Boots:
    """Boots in threads of their own, each inside the gate until it is let go."""

    def __init__(self, count: int) -> None:
        self.gate, self.inside = Gate(count), list[str]()
        self._ends: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def begin(self, name: str, *, urgent: bool) -> Ticket:
        """Has it wait for its place, behind those that wait already."""
        ticket, self._ends[name] = Ticket(urgent=urgent), threading.Event()
        thread = threading.Thread(target=self._boot, args=(name, ticket))
        self._threads.append(thread)
        thread.start()
        wait_until(lambda: ticket in self.gate._waiting or name in self.inside)
        return ticket

    def end(self, name: str) -> None:
        self._ends[name].set()

    def _boot(self, name: str, ticket: Ticket) -> None:
        with self.gate.passed(ticket):
            self.inside.append(name)
            assert self._ends[name].wait(10)

    def close(self) -> None:
        for each in self._ends.values():
            each.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def boots() -> Iterator[Boots]:
    opened = Boots(2)
    yield opened
    opened.close()


def test_no_more_are_inside_than_there_are_places(boots: Boots) -> None:
    for name in ("a", "b", "c"):
        boots.begin(name, urgent=True)
    wait_until(lambda: boots.inside == ["a", "b"])
    boots.end("a")
    wait_until(lambda: boots.inside == ["a", "b", "c"])


def test_a_place_is_kept_for_guests_that_somebody_waits_for(boots: Boots) -> None:
    boots.begin("idle", urgent=False)
    boots.begin("idle too", urgent=False)
    boots.begin("urgent", urgent=True)
    wait_until(lambda: boots.inside == ["idle", "urgent"])
    boots.end("urgent")
    boots.begin("urgent too", urgent=True)
    wait_until(lambda: boots.inside == ["idle", "urgent", "urgent too"])


def test_a_boot_that_is_waited_for_meanwhile_goes_first(boots: Boots) -> None:
    boots.begin("idle", urgent=False)
    boots.begin("second", urgent=False)
    third = boots.begin("third", urgent=False)
    boots.gate.hurry(third)
    wait_until(lambda: boots.inside == ["idle", "third"])


def test_a_boot_that_takes_for_ever_holds_nobody_up(boots: Boots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "HOLD_S", 0.05)
    for name in ("hangs", "hangs too", "well"):
        boots.begin(name, urgent=True)
    wait_until(lambda: boots.inside == ["hangs", "hangs too", "well"])
