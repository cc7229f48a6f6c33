"""The short form of `make soak`: switches, dying replicas and ending gateways under load, for twenty seconds."""

import pytest

from benchmarks.load import Latencies
from benchmarks.soak import Soak, soak


@pytest.mark.sandbox
@pytest.mark.slow
def test_no_call_is_lost_while_versions_are_switched_and_replicas_and_gateways_end() -> None:
    done = soak(20)
    assert len(done.tally.latencies) > 1000
    assert done.switches >= 3
    assert done.kills >= 2
    assert done.restarts >= 1
    assert not done.survived
    assert not done.failed, done.tally.samples


def test_what_grew_is_told_from_what_an_allocator_keeps() -> None:
    done = Soak(memory={"gateways": (100.0, 123.0), "agent": (100.0, 125.0), "guests": (1000.0, 1099.0)})
    assert done.grown == ["agent"]


def test_times_are_counted_to_a_hundredth() -> None:
    times = Latencies()
    for took_ms in range(1, 1001):
        times.note(took_ms)
    assert len(times) == 1000
    assert times.longest == 1000
    assert times.percentile(0.5) == pytest.approx(501, rel=0.011)
    assert times.percentile(0.99) == pytest.approx(991, rel=0.011)
    assert times.percentile(1.0 - 1e-9) == 1000
