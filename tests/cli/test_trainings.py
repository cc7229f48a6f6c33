"""`modelyard logs` and `modelyard cancel`, while a training goes on in a house of its own."""

import subprocess

import pytest

from tests.cli.conftest import COMMAND, environment, run_command
from tests.models.house import make_model, wait_for_end, wait_for_words
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SLOW = """
def train():
    import time
    print("begun", flush=True)
    while True:
        time.sleep(0.1)


def predict(model, query):
    return 1
"""


def test_a_log_is_followed_until_its_training_is_cancelled(yard: Yard) -> None:
    home = yard.settings.home
    version = make_model(yard, functionSourceCode=SLOW, trainingInputTables=[])["latestModelVersion"]["modelVersion"]
    wait_for_words(yard, version, "begun")
    so_far = run_command(home, "logs", version)
    assert (so_far.returncode, so_far.stdout) == (0, "begun\n")
    following = subprocess.Popen(
        [*COMMAND, "logs", "-f", version],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    assert following.stdout.readline() == "begun\n"
    assert run_command(home, "cancel", version).returncode == 0
    _, said = following.communicate(timeout=30)
    assert (following.returncode, said) == (1, "FAILED: The training was cancelled.\n")
    again = run_command(home, "cancel", version)
    assert again.returncode == 1
    assert "has ended as FAILED" in again.stderr


def test_a_log_of_nothing_is_an_error(yard: Yard) -> None:
    for command in ("logs", "cancel"):
        done = run_command(yard.settings.home, command, "0123456789")
        assert done.returncode == 1
        assert "there is no model version 0123456789" in done.stderr


def test_the_log_of_a_good_training_ends_well(yard: Yard) -> None:
    version = make_model(yard, trainingInputTables=[])["latestModelVersion"]["modelVersion"]
    wait_for_end(yard, version)
    done = run_command(yard.settings.home, "logs", "-f", version)
    assert (done.returncode, done.stdout) == (0, "training\n")
