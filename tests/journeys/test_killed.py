"""kill -9 of whatever runs, in the middle of everything: no training lost, none twice, no process left."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from modelyard.database import Database
from modelyard.execution.records import ENDED, Run, RunState
from modelyard.models.records import ModelVersion
from tests.cli.conftest import Served, descendants, is_alive
from tests.journeys.models import SOURCE, concrete
from tests.waiting import wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

SLOW = "import time\n" + SOURCE.replace("    import numpy as np\n", "    import numpy as np\n    time.sleep(0.7)\n", 1)
TRAININGS = 6


def test_trainings_end_once_whoever_is_killed(home: Path) -> None:
    import abacusai

    served = Served(home)
    everything: set[int] = set()
    try:
        served.wait_until_ready()
        key = (home / "admin.key").read_text().strip()
        client = abacusai.ApiClient(key, server=served.url)
        project = client.create_project("Killed", "PYTHON_MODEL")
        client.create_feature_group_from_pandas_df("concrete", concrete()).wait_for_upload()
        models = [
            client.create_model_from_python(project.project_id, SLOW, "train", ["concrete"], "predict", name=f"m{i}")
            for i in range(TRAININGS)
        ]
        database = Database(f"sqlite:///{home / 'modelyard.db'}")
        chance = random.Random(11)
        for _ in range(4):
            time.sleep(chance.uniform(0.3, 1.5))
            victim = chance.choice(["agent", "agent", "gateway"])
            everything |= descendants(served.process.pid)
            before = served.child(victim)
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: served.has_child(victim, other_than=before), 30)  # noqa: B023 - called at once
        wait_until(lambda: _unfinished(database) == 0, 120)
        with database.read() as session:
            trainings = session.scalars(select(Run).where(Run.kind == "models.train")).all()
            assert [run.state for run in trainings] == [RunState.COMPLETE] * TRAININGS
            statuses = session.execute(select(ModelVersion.status, func.count()).group_by(ModelVersion.status)).all()
            assert [tuple(row) for row in statuses] == [("COMPLETE", TRAININGS)]
        assert {client.describe_model(model.model_id).latest_model_version.status for model in models} == {"COMPLETE"}
        everything |= served.processes()
        assert served.interrupt() == 0
    finally:
        served.end()
    wait_until(lambda: not any(map(is_alive, everything)))


def _unfinished(database: Database) -> int:
    with database.read() as session:
        running = select(func.count()).where(Run.kind == "models.train", Run.state.not_in(ENDED))
        return session.scalar(running) or 0
