"""An agent that is killed in the middle of a training: another takes it over, and it ends once."""

import signal
import time

import pytest
from sqlalchemy import select

from modelyard.execution import Run, RunState
from modelyard.ids import ModelVersionId
from modelyard.models.records import ModelVersion
from modelyard.settings import Settings
from tests.agents import agent_process, guests
from tests.models.house import make_model, wait_for_end, wait_for_words
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


def test_a_training_whose_agent_is_killed_is_made_again_and_ends_once(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        version = make_model(yard, functionSourceCode=SOURCE)["latestModelVersion"]["modelVersion"]
        with agent_process(yard.settings) as first:
            wait_for_words(yard, version, "begun")
            first.send_signal(signal.SIGKILL)
            first.wait()
        time.sleep(1)
        assert guests(settings.home) == []
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
