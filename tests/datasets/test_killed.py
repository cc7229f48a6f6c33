"""An agent that is killed in the middle of an import: another takes it over, and there is one table."""

import signal
import time

import pytest
from sqlalchemy import select

from modelyard.execution import Run, RunState
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion
from modelyard.settings import Settings
from tests.agents import agent_process, guests
from tests.datasets.conftest import Files
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

ROWS = 2_000_000


def test_an_import_whose_agent_is_killed_is_made_again_and_ends_once(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        files = Files(yard)
        upload = files.begin("killed", fileFormat="CSV")
        files.send(upload, 1, b"a,b,c\n" + b"1,2.5,some words\n" * ROWS)
        yard.call("markUploadComplete", uploadId=upload["uploadId"])
        version_id = upload["datasetVersion"]

        def status() -> str:
            return str(yard.call("describeDatasetVersion", "GET", datasetVersion=version_id)["status"])

        with agent_process(yard.settings) as first:
            deadline = time.monotonic() + 60
            while status() == "PENDING":
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.3)
            first.send_signal(signal.SIGKILL)
            first.wait()
        time.sleep(1)
        assert guests(settings.home) == []
        assert status() == "IMPORTING"
        assert yard.call("getDatasetSchema", "GET", datasetId=upload["datasetId"]) == []
        with agent_process(yard.settings):
            ended = files.ended(version_id)
        assert (ended["status"], ended["rowCount"]) == ("COMPLETE", ROWS), ended["error"]
        with yard.database.read() as session:
            (run,) = session.scalars(select(Run).where(Run.target == version_id)).all()
            (group,) = session.scalars(select(FeatureGroup)).all()
            (snapshot,) = session.scalars(select(FeatureGroupVersion)).all()
        assert (run.state, run.attempt) == (RunState.COMPLETE, 2)
        assert (group.table_name, snapshot.dataset_version, snapshot.status) == ("killed", version_id, "COMPLETE")
        assert list((settings.home / "joining").iterdir()) == []
