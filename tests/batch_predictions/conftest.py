"""A bench for all tests of a module."""

import pytest

from tests.batch_predictions.bench import Bench
from tests.yard import Yard


@pytest.fixture(scope="module")
def bench(shared_yard: Yard) -> Bench:
    return Bench(shared_yard)
