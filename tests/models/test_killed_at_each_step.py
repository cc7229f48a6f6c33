"""Agents that are killed at each step of what they do with models: it is done again, ends once, and nothing is half.

First a run is done whole and its steps are counted; then the same is begun anew for each step, and the agent at work is
killed there (`tests/killing_agent.py`). What a killed one left is taken over by those after it.
"""

import signal
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from sqlalchemy import select

from modelyard.execution import Run
from modelyard.execution.records import ENDED
from modelyard.ids import ModelVersionId
from modelyard.models.records import ModelVersion
from modelyard.settings import Settings
from tests.agents import agent_process, guests
from tests.models.house import make_model, make_project, make_table, wait_for_end
from tests.models.test_git_trees import Repository, connect_repository
from tests.models.test_git_trees import repository as repository
from tests.models.trees import FILES, NAMES, send, zipped
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(600)]

#: Steps that are tried where there are more: from all over the run, its first and last among them.
MOST = 8


class Killer:
    """Begins the same again and again, and has an agent killed at another step of it each time."""

    def __init__(self, yard: Yard, kind: str, tmp_path: Path) -> None:
        self.yard, self.kind, self._log = yard, kind, tmp_path / "steps"
        self.targets: list[str] = []

    def run(self, begin: Callable[[], str]) -> list[str]:
        """All that was begun, by its run's target, when all of it has ended."""
        self._once(begin(), 0)
        steps = self._log.read_text().splitlines()
        assert "after a commit" in steps, steps
        chosen = sorted({round(1 + at * (len(steps) - 1) / (MOST - 1)) for at in range(MOST)})
        killed = [self._once(begin(), step) for step in chosen]
        assert killed.count(True) >= len(chosen) - 2, (steps, killed)  # a log that is flushed or not moves a step
        with agent_process(self.yard.settings):
            wait_until(lambda: all(map(self._has_ended, self.targets)), 120)
        wait_until(lambda: not guests(self.yard.settings.home), 60)
        return self.targets

    def _once(self, target: str, step: int) -> bool:
        """Whether the agent was killed at that step of the target's run."""
        self.targets.append(target)
        self._log.unlink(missing_ok=True)
        command = ("tests.killing_agent", f"{self.kind} {target}", str(step), str(self._log))
        with agent_process(self.yard.settings, command) as agent:
            wait_until(lambda: agent.poll() is not None or (self._has_ended(target) and self._is_quiet(step)), 120)
            return agent.poll() == -signal.SIGKILL

    def _is_quiet(self, step: int) -> bool:
        """Whether the run's thread will not come to that step any more."""
        return step == 0 or len(self._log.read_text().splitlines()) < step

    def _has_ended(self, target: str) -> bool:
        with self.yard.database.read() as session:
            query = select(Run.state).where(Run.target == target, Run.kind == self.kind)
            return all(state in ENDED for state in session.scalars(query))


@contextmanager
def house(settings: Settings, **opened: Any) -> Iterator[Yard]:
    """A house without an agent, in which a run may be lost as often as it likes."""
    with Yard(msgspec.structs.replace(settings, run_attempts=30, **opened), with_agent=False) as yard:
        yield yard


def trained(yard: Yard, count: int = 1, **parameters: Any) -> list[dict[str, Any]]:
    """So many complete versions of one model."""
    with agent_process(yard.settings):
        model = make_model(yard, **parameters)
        begun = [model["latestModelVersion"]["modelVersion"]]
        for _ in range(count - 1):
            again = yard.call("retrainModel", modelId=model["modelId"])
            begun.append(again["latestModelVersion"]["modelVersion"])
        versions = [wait_for_end(yard, each) for each in begun]
    assert {each["status"] for each in versions} == {"COMPLETE"}
    return versions


def nothing_lies_about(yard: Yard) -> None:
    """What a killed agent had in its hands was anonymous, or is swept by the next one."""
    for name in ("exporting", "joining"):
        folder = yard.settings.home / name
        assert not folder.exists() or list(folder.iterdir()) == []


def test_each_zip_becomes_one_revision(settings: Settings, tmp_path: Path) -> None:
    with house(settings) as yard:
        [version] = trained(yard)
        model_id = version["modelId"]

        def begin() -> str:
            upload = yard.call("updatePythonModelZip", modelId=model_id, **NAMES)
            send(yard, upload["uploadId"], zipped(FILES))
            return newest_target(yard, "models.receive")

        targets = Killer(yard, "models.receive", tmp_path).run(begin)
        revisions = yard.call("listModelRevisions", "GET", modelId=model_id)
        assert len(revisions) == 1 + len(targets)
        described = yard.call("describeModel", "GET", modelId=model_id)
        assert (described["codeSource"]["status"], described["codeSource"]["error"]) == ("COMPLETE", None)
        with agent_process(yard.settings):
            again = yard.call("retrainModel", modelId=model_id)["latestModelVersion"]["modelVersion"]
            assert wait_for_end(yard, again)["status"] == "COMPLETE"


def test_each_commit_becomes_one_revision(settings: Settings, tmp_path: Path, repository: Repository) -> None:
    commit = repository.commit(FILES)
    with house(settings, allowed_networks=("127.0.0.0/8",)) as yard:
        [version] = trained(yard)
        model_id, connector_id = version["modelId"], connect_repository(yard, repository.url)

        def begin() -> str:
            given = NAMES | {"modelId": model_id, "pythonRoot": "services/model", "branchName": "main"}
            yard.call("updatePythonModelGit", applicationConnectorId=connector_id, **given)
            return newest_target(yard, "models.receive")

        targets = Killer(yard, "models.receive", tmp_path).run(begin)
        assert len(yard.call("listModelRevisions", "GET", modelId=model_id)) == 1 + len(targets)
        described = yard.call("describeModel", "GET", modelId=model_id)["codeSource"]
        assert (described["status"], commit in described["applicationConnectorInfo"]) == ("COMPLETE", True)


def test_each_export_is_whole_and_the_same_here_and_in_a_folder(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "out"
    with house(settings, file_write_roots=(place,)) as yard:
        [version] = trained(yard)
        folders: list[Path] = []

        def begin() -> str:
            folder = place / str(len(folders))
            folder.mkdir(parents=True)
            folders.append(folder)
            location = f"file://{folder}/" if len(folders) % 2 else None
            given = {"modelVersion": version["modelVersion"], "outputLocation": location}
            return str(yard.call("exportCustomModelVersion", **given)["modelArtifactsExportId"])

        targets = Killer(yard, "models.export", tmp_path).run(begin)
        found = set()
        for folder, target in zip(folders, targets, strict=True):
            export = yard.call("describeModelArtifactsExport", "GET", modelArtifactsExportId=target)
            assert export["status"] == "COMPLETE", export["error"]
            if export["outputLocation"]:
                [file] = folder.iterdir()
                found.add(file.read_bytes())
            else:
                link = yard.call("getModelArtifactsExportDownloadUrl", "GET", modelArtifactsExportId=target)
                found.add(requests.get(link["downloadUrl"], timeout=30).content)
        [content] = found
        assert zipfile.ZipFile(BytesIO(content)).testzip() is None
        nothing_lies_about(yard)


def test_each_import_of_a_model_is_one_version(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "models"
    place.mkdir()
    (place / "linear.onnx").write_bytes((Path(__file__).parent / "imported" / "linear.onnx").read_bytes())
    with house(settings, file_roots=(place,)) as yard:
        client, project_id = yard.client(), make_project(yard)

        def begin() -> str:
            model = client.create_model_from_files(project_id, f"file://{place}/linear.onnx")
            return str(model.latest_model_version.model_version)

        targets = Killer(yard, "models.train", tmp_path).run(begin)
        with yard.database.read() as session:
            rows = [session.get_one(ModelVersion, ModelVersionId(target)) for target in targets]
        assert {row.status for row in rows} == {"COMPLETE"}
        assert len({row.input_digest for row in rows}) == 1
        for row in rows:
            assert len(yard.call("listModelVersions", "GET", modelId=row.model_id)) == 1
        nothing_lies_about(yard)


def test_importances_come_out_the_same_however_often_they_were_begun(settings: Settings, tmp_path: Path) -> None:
    source = "def train(rows):\n    return 2\n\n\ndef predict(model, query):\n    return model * query['x']\n"
    with house(settings) as yard, ThreadPoolExecutor(MOST + 1) as pool:
        make_table(
            yard, "measured", {"x": [float(at % 7) for at in range(50)], "y": [2.0 * (at % 7) for at in range(50)]}
        )
        given = {
            "functionSourceCode": source,
            "trainingInputTables": ["measured"],
            "trainingConfig": {"TARGET": "y", "SEED": 1},
        }
        versions = iter(trained(yard, MOST + 1, **given))
        answers: list[Future[Any]] = []

        def begin() -> str:
            version = next(versions)["modelVersion"]
            answers.append(pool.submit(importance, yard, version))
            wait_until(lambda: newest_target(yard, "models.importance") == version)
            return str(version)

        Killer(yard, "models.importance", tmp_path).run(begin)
        told = [answer.result(500) for answer in answers]
        assert all(each == told[0] for each in told)
        assert told[0]["x"] > 0.5


def test_an_environment_is_there_again_whole(settings: Settings, tmp_path: Path, home: Path) -> None:
    """In a cache of its own, as others' trainings use that of all tests."""
    with house(settings, cache=home / "cache") as yard, ThreadPoolExecutor(MOST + 1) as pool:
        [version] = trained(yard)
        environment_id = version["madeFrom"]["environment"]["environmentId"]
        answers: list[Future[Any]] = []
        folder = home / "cache" / "environments"

        def begin() -> str:
            before = newest_target(yard, "upkeep.rebuild_environment")
            # Between a killed purge and the next agent's build there is none that could be named.
            wait_until(lambda: (folder / environment_id).exists() or rebuilt(yard))
            answers.append(pool.submit(rebuild, yard, environment_id))
            wait_until(lambda: newest_target(yard, "upkeep.rebuild_environment") != before)
            return newest_target(yard, "upkeep.rebuild_environment")

        Killer(yard, "upkeep.rebuild_environment", tmp_path).run(begin)
        assert all(answer.result(500) for answer in answers)
        assert (folder / environment_id / "about.json").exists()
        left = [entry for lane in (folder / ".work").iterdir() for entry in lane.iterdir() if entry.name != "cache"]
        assert left == []
        with agent_process(yard.settings):
            again = yard.call("retrainModel", modelId=version["modelId"])["latestModelVersion"]["modelVersion"]
            assert wait_for_end(yard, again)["status"] == "COMPLETE"


def importance(yard: Yard, version: str) -> dict[str, float]:
    """As the official client is told, which waits for ten minutes."""
    told: dict[str, float] = (
        yard.client().get_feature_importance_by_model_version(version).permutation_feature_importance
    )
    return told


def rebuild(yard: Yard, environment_id: str) -> bool:
    """Whether the call was answered with success, however long that took."""
    url, headers = f"{yard.url}/api/v0/rebuildEnvironment", {"apiKey": yard.key}
    return bool(
        requests.post(url, json={"environmentId": environment_id}, headers=headers, timeout=500).json()["success"]
    )


def rebuilt(yard: Yard) -> bool:
    """Has an agent end what was begun."""
    with agent_process(yard.settings):
        wait_until(lambda: _have_ended(yard, "upkeep.rebuild_environment"), 120)
    return True


def _have_ended(yard: Yard, kind: str) -> bool:
    with yard.database.read() as session:
        return all(state in ENDED for state in session.scalars(select(Run.state).where(Run.kind == kind)))


def newest_target(yard: Yard, kind: str) -> str:
    """What the newest run of that kind is about; an empty text if there is none."""
    with yard.database.read() as session:
        query = select(Run.target).where(Run.kind == kind).order_by(Run.created_at.desc())
        return session.scalars(query.limit(1)).first() or ""
