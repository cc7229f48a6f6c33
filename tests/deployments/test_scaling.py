"""How many replicas a load asks for, with a clock of the test's own: fast up, slowly down, and never to and fro."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.deployments.options import DeploymentOptions
from modelyard.deployments.replicas.scaling import Scaler
from modelyard.settings import Settings

SETTINGS = Settings(home=Path("/nowhere"), scale_down_s=30.0)
OPTIONS = DeploymentOptions(min_replicas=1, max_replicas=4, target_queue=2.0, idle_timeout_s=60.0)


class Served:
    """A serving whose gateway reports five times a second."""

    def __init__(self, options: DeploymentOptions = OPTIONS) -> None:
        self.now = 100.0
        self.scaler = Scaler(options, SETTINGS, self.now)

    def under(self, load: int, seconds: float) -> list[int]:
        """The wanted numbers while that many calls are under way for so long."""
        counts, end = [], self.now + seconds
        while self.now < end:
            self.now += 0.2
            if load:
                self.scaler.note(1, load, self.now)
            counts.append(self.scaler.wanted(self.now))
        return counts


def test_a_lasting_load_brings_more_replicas_within_a_second() -> None:
    served = Served()
    assert served.under(7, 0.4) == [1, 1]
    assert served.under(7, 0.6)[-1] == 4


def test_a_spike_changes_nothing() -> None:
    served = Served()
    served.under(7, 0.2)
    assert set(served.under(1, 5)) == {1}


def test_replicas_go_when_no_load_has_wanted_them_for_long() -> None:
    served = Served()
    served.under(8, 2)
    assert set(served.under(3, 28)) == {4}
    assert served.under(3, 5)[-1] == 2
    assert served.under(0, 40)[-1] == 1


def test_a_load_that_comes_and_goes_keeps_its_replicas() -> None:
    served = Served()
    served.under(6, 2)
    assert {count for _ in range(20) for count in [*served.under(0, 5), *served.under(6, 1)]} == {3}


def test_loads_of_several_gateways_are_added_and_a_silent_gateway_has_none() -> None:
    served = Served()
    for _ in range(5):
        served.scaler.note(2, 3, served.now)
        served.under(3, 0.2)
    assert served.scaler.count == 3
    assert served.under(3, 40)[-1] == 2


def test_silence_makes_idle_and_only_where_that_is_wanted() -> None:
    served = Served()
    served.under(1, 1)
    served.under(0, 59)
    assert not served.scaler.is_idle(served.now)
    served.under(0, 2)
    assert served.scaler.is_idle(served.now)
    served.scaler.adjust(DeploymentOptions())
    assert not served.scaler.is_idle(served.now + 1e9)


def test_other_options_hold_at_once() -> None:
    served = Served()
    served.under(8, 2)
    served.scaler.adjust(DeploymentOptions(max_replicas=2))
    assert served.scaler.wanted(served.now) == 2
    served.scaler.adjust(DeploymentOptions(min_replicas=3))
    assert served.scaler.wanted(served.now) == 3


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0.2, 40)), max_size=12))
def test_no_load_ever_leads_out_of_the_bounds_or_to_and_fro(loads: list[tuple[int, float]]) -> None:
    served = Served()
    counts = [count for load, seconds in loads for count in served.under(load, seconds)]
    assert all(1 <= count <= 4 for count in counts)
    falls = [at for at in range(1, len(counts)) if counts[at] < counts[at - 1]]
    rises = [at for at in range(1, len(counts)) if counts[at] > counts[at - 1]]
    # From a rise to the next fall the lower load must have lasted: at five reports a second, 30 seconds of them.
    assert all(fall - rise >= 148 for rise in rises for fall in falls if fall > rise)


@pytest.mark.parametrize(("load", "count"), [(0, 1), (2, 1), (3, 2), (8, 4), (100, 4)])
def test_each_replica_has_at_most_the_target(load: int, count: int) -> None:
    served = Served()
    assert served.under(load, 2)[-1] == count
