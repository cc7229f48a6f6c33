"""An agent that is killed in the middle of a training: another takes it over, and it ends once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from modelyard.execution import Run, RunState
from modelyard.ids import ModelVersionId
from modelyard.models.records import ModelVersion
from modelyard.settings import Settings
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


@contextmanager
def agent_process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """An agent of its own process, killed at the end if it still lives."""
    variables = {
        "MODELYARD_HOME": str(settings.home),
        "MODELYARD_CACHE": str(settings.cache),
        "MODELYARD_POLL_S": "0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard", "agent"], env=os.environ | variables, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def sleepers(home: Path) -> list[str]:
    """Processes of guests that belong to that home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in line and "bwrap" in line:
            found.append(line)
    return found


def test_a_training_whose_agent_is_killed_is_made_again_and_ends_once(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        version = make_model(yard, functionSourceCode=SOURCE)["latestModelVersion"]["modelVersion"]
        with agent_process(yard.settings) as first:
            wait_for_words(yard, version, "begun")
            first.send_signal(signal.SIGKILL)
            first.wait()
        time.sleep(1)
        assert sleepers(settings.home) == []
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
