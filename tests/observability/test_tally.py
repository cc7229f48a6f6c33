"""Counting calls, choosing those that are written down, and percentiles from counts."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.deployments.calls.sampling import Sampler
from modelyard.deployments.calls.tally import BOUNDS, Tally
from modelyard.observability.logbook import BOUND_NAMES
from modelyard.observability.statistics import percentile_ms

LATENCIES = st.lists(st.floats(min_value=1.01e-4, max_value=99.0), min_size=1, max_size=300)


def test_bounds_grow_and_no_two_are_written_alike() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert len(set(BOUND_NAMES)) == len(BOUNDS) + 1


@given(LATENCIES, st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_off_by_no_more_than_a_step(latencies: list[float], share: float) -> None:
    tally = Tally()
    for latency in latencies:
        tally.note(200, latency)
    counted = Counter(dict(zip((*BOUNDS, math.inf), tally.latencies, strict=True)))
    true = sorted(latencies)[max(math.ceil(share * len(latencies)) - 1, 0)] * 1000
    found = percentile_ms(Counter({bound: count for bound, count in counted.items() if count}), share)
    assert found is not None
    assert true / 1.34 <= found <= true * 1.34


def test_calls_that_were_turned_away_have_no_latency() -> None:
    tally = Tally()
    for status in (200, 429, 408, 500, 409, 499):
        tally.note(status, 0.01)
    assert sum(tally.latencies) == 3
    assert tally.calls == 6
    assert tally.seconds == pytest.approx(0.03)


def test_the_sampler_takes_a_share_and_no_more_than_its_limit_a_second() -> None:
    sampler = Sampler()
    assert sum(sampler.takes(1, 100, 0.25, failed=False) for _ in range(40)) == 10
    assert sum(sampler.takes(2, 10, 1.0, failed=False) for _ in range(1000)) == 10
    assert sum(sampler.takes(3, 10, 1.0, failed=False) for _ in range(1000)) == 10
    assert not any(sampler.takes(4, 0, 1.0, failed=False) for _ in range(10))


def test_failures_are_taken_although_successes_have_used_up_their_number() -> None:
    sampler = Sampler()
    taken = [sampler.takes(1, 5, 1.0, failed=False) for _ in range(50)]
    assert sum(taken) == 5
    assert sum(sampler.takes(1, 5, 0.0, failed=True) for _ in range(50)) == 5
