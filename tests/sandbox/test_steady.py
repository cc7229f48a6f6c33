"""What makes a training come out the same again: the seed, and texts that hash alike; and where they must not."""

import pickle

import pytest

from modelyard.sandbox import Interpreter, Limits, Sandbox
from tests.sandbox.conftest import Run

DRAWN = """
import os, random, subprocess, sys
import numpy
early = random.random()
def train():
    child = subprocess.run([sys.executable, '-c', 'print(hash("a"))'], capture_output=True, text=True).stdout
    return [early, random.random(), float(numpy.random.rand()), os.environ['MODELYARD_SEED'], hash('a'), int(child)]
"""
HASHED = "def train():\n  return hash('a')\n"


def drawn(train: Run, seed: int) -> list[float]:
    outcome = train(DRAWN, message={"seed": seed})
    assert outcome.error is None, outcome.error
    found: list[float] = pickle.loads(outcome.collected or b"")
    return found


def test_the_same_seed_draws_the_same_numbers_and_another_others(train: Run) -> None:
    first, second, third = drawn(train, 5), drawn(train, 5), drawn(train, 2**32 - 1)
    assert first == second
    assert all(one != other for one, other in zip(first[:4], third[:4], strict=True))
    assert first[4] == first[5] == third[4]


@pytest.mark.parametrize("is_steady", [True, False])
def test_texts_hash_alike_in_guests_that_serve_no_strangers(
    sandbox: Sandbox, interpreter: Interpreter, is_steady: bool
) -> None:
    hashes = set()
    for _ in range(3):
        guest = sandbox.start(interpreter, Limits(memory_gib=2, steady_hashes=is_steady), preload=())
        message = {"source": HASHED, "train_function": "train", "tables": []}
        assert guest.call("train", message).error is None
        with guest.open(".modelyard/artifact.pkl") as file:
            hashes.add(pickle.load(file))
        guest.kill()
    assert len(hashes) == (1 if is_steady else 3)


def test_no_variable_of_the_guest_loads_modules_from_elsewhere(train: Run) -> None:
    source = "import sys, os\ndef train():\n  return [sys.flags.no_user_site, sys.flags.safe_path, sorted(os.environ)]"
    outcome = train(source)
    user_site, safe_path, variables = pickle.loads(outcome.collected or b"")
    assert (user_site, safe_path) == (1, True)
    assert [each for each in variables if each.startswith("PYTHON")] == ["PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED"]
