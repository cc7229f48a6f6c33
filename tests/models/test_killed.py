"""An agent or a guest that is killed in the middle of a training: it is made again, and ends once."""

import os
import signal

import pytest
from sqlalchemy import select

from modelyard.execution import Run, RunState
from modelyard.ids import ModelVersionId
from modelyard.models.records import ModelVersion
from modelyard.settings import Settings
from tests.agents import agent_process, guest_processes, guests
from tests.models.house import make_model, wait_for_end, wait_for_words
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SOURCE = """
import time


def train():
    print("begun", flush=True)
    time.sleep(4)
    return {"made": "once"}


def predict(model, query):
    return model["made"]
"""
ENDS_ITSELF = """
import os
import signal


def train():
    os.kill(os.getpid(), signal.SIGKILL)


def predict(model, query):
    return 0
"""


def test_a_training_whose_agent_is_killed_is_made_again_and_ends_once(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        version = make_model(yard, functionSourceCode=SOURCE)["latestModelVersion"]["modelVersion"]
        with agent_process(yard.settings) as first:
            wait_for_words(yard, version, "begun")
            first.send_signal(signal.SIGKILL)
            first.wait()
        wait_until(lambda: guests(settings.home) == [])
        between = yard.call("describeModelVersion", "GET", modelVersion=version)
        assert between["status"] == "TRAINING"
        assert between["partialComplete"] is False
        with agent_process(yard.settings):
            ended = wait_for_end(yard, version)
        assert ended["status"] == "COMPLETE", ended["error"]
        with yard.database.read() as session:
            (run,) = session.scalars(select(Run).where(Run.target == version)).all()
            row = session.get_one(ModelVersion, ModelVersionId(version))
        assert (run.state, run.attempt) == (RunState.COMPLETE, 2)
        assert row.artifact_digest is not None
        assert len(yard.call("listModelVersions", "GET", modelId=row.model_id)) == 1


def test_a_training_whose_guest_is_killed_is_made_again(yard: Yard) -> None:
    version = make_model(yard, functionSourceCode=SOURCE)["latestModelVersion"]["modelVersion"]
    wait_for_words(yard, version, "begun")
    for pid in guest_processes(yard.settings.home):
        os.kill(pid, signal.SIGKILL)
    ended = wait_for_end(yard, version)
    assert ended["status"] == "COMPLETE", ended["error"]
    with yard.database.read() as session:
        (run,) = session.scalars(select(Run).where(Run.target == version)).all()
    assert run.attempt == 2


def test_a_training_that_is_killed_every_time_is_given_up_and_says_so(yard: Yard) -> None:
    version = make_model(yard, functionSourceCode=ENDS_ITSELF)["latestModelVersion"]["modelVersion"]
    ended = wait_for_end(yard, version)
    assert ended["status"] == "FAILED"
    assert "given up" in ended["error"]
    assert "SIGKILL" in ended["error"]
    with yard.database.read() as session:
        (run,) = session.scalars(select(Run).where(Run.target == version)).all()
    assert run.attempt == yard.settings.run_attempts
