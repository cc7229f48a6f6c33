"""A short piece of what `make chaos` does for minutes: whoever is killed, nothing is lost, doubled or half-made."""

import pytest

from benchmarks.chaos import chaos

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]


def test_nothing_is_lost_whoever_is_killed() -> None:
    done = chaos(12, postgresql=True, seed=5)
    assert done.wrong == []
    assert sum(done.kills.values()) >= 3
    assert done.rows
    assert done.trainings
    assert done.tables
    assert any(done.changes.values())
