"""The short form of `make soak`: switches, dying replicas and ending gateways under load, for twenty seconds."""

import pytest

from benchmarks.soak import soak

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


def test_no_call_is_lost_while_versions_are_switched_and_replicas_and_gateways_end() -> None:
    done = soak(20)
    assert done.tally.latencies_ms
    assert done.switches >= 3
    assert done.kills >= 2
    assert done.restarts >= 1
    assert not done.survived
    assert not done.failed, done.tally.samples
