"""A real server whose agent, gateway and replicas are killed while predictions, and rows of tables, are asked."""

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlalchemy import select

from modelyard.database import Database
from modelyard.deployments.records import Replica
from tests.cli.conftest import Served, descendants, is_alive
from tests.deployments.processes import listeners
from tests.waiting import wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

SOURCE = """
import uuid
name = str(uuid.uuid4())

def train():
    return None

def predict(model, query):
    return name
"""
Asked = tuple[int, str | None, str]


class Callers:
    """Ask one deployment again and again, and write down what they are answered."""

    def __init__(self, url: str, count: int = 2) -> None:
        self.answers: list[Asked] = []
        self._url, self._done = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(count)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    @property
    def newest(self) -> str | None:
        """The replica that answered last, if the last call was answered by one."""
        return self.answers[-1][2] if self.answers and self.answers[-1][0] == 200 else None

    @property
    def failures(self) -> list[Asked]:
        return [answer for answer in self.answers if answer[0] != 200]

    def _ask_on(self) -> None:
        while not self._done.is_set():
            self.answers.append(ask(self._url))
            time.sleep(0.01)


def ask(url: str) -> Asked:
    """Status, kind of error, and the name of the replica or the error."""
    try:
        answer = requests.post(url, json={"queryData": {}}, timeout=60)
    except requests.ConnectionError as error:
        return 0, None, str(error)
    body = answer.json()
    return answer.status_code, body.get("errorType"), body.get("result") or body.get("error")


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    """A server of the test's own."""
    started = Served(home)
    try:
        started.wait_until_ready()
        yield started
        everything = started.processes()
        assert started.interrupt() == 0
        wait_until(lambda: not any(map(is_alive, everything)))
    finally:
        started.end()


@pytest.fixture
def urls(served: Served) -> list[str]:
    """Where two deployments of one server are asked."""
    import abacusai

    client = abacusai.ApiClient((served.home / "admin.key").read_text().strip(), server=served.url)
    project = client.create_project("Killed", "PYTHON_MODEL").project_id
    token = client.create_deployment_token(project).deployment_token
    model = client.create_model_from_python(project, SOURCE, "train", [], "predict")
    model.wait_for_training()
    made = [client.create_deployment(name=f"d{i}", model_id=model.model_id) for i in range(2)]
    for deployment in made:
        deployment.wait_for_deployment()
    target = f"{served.url}/api/v0/predict?deploymentToken={token}&deploymentId="
    return [target + deployment.deployment_id for deployment in made]


def test_predictions_come_back_after_their_agent_was_killed(served: Served, urls: list[str]) -> None:
    agent = served.child("agent")
    guests = descendants(agent)
    assert guests
    with Callers(urls[0]) as first, Callers(urls[1]) as second:
        wait_until(lambda: first.newest and second.newest)
        before = {first.newest, second.newest}
        os.kill(agent, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, guests)))
        wait_until(lambda: first.newest not in {None, *before} and second.newest not in {None, *before}, 60)
    for status, kind, words in [*first.failures, *second.failures]:
        # A call that was under way is told so, since it may be what ended the process; the others wait for a replica.
        assert (status, kind) in {(500, "InvalidRequest"), (409, "NotReadyError")}, words
        assert "process ended" in words or "replica" in words
    assert len(first.failures) + len(second.failures) <= 8


def test_replicas_outlive_their_gateway(served: Served, urls: list[str]) -> None:
    before = [ask(url)[2] for url in urls]
    gateway = served.child("gateway")
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: served.has_child("gateway", other_than=gateway))
    wait_until(lambda: ask(urls[0])[0] == 200)
    assert [ask(url)[2] for url in urls] == before


def test_a_killed_replica_is_replaced_and_its_neighbours_notice_nothing(served: Served, urls: list[str]) -> None:
    database = Database(f"sqlite:///{served.home / 'modelyard.db'}")
    with database.read() as session:
        rows = session.scalars(select(Replica)).all()
        path = next(row.socket for row in rows if row.deployment_id == urls[0].rpartition("=")[2])
    database.close()
    with Callers(urls[0]) as killed, Callers(urls[1]) as neighbour:
        wait_until(lambda: killed.newest and neighbour.newest)
        before = killed.newest
        victims = listeners(path)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: killed.newest not in (None, before))
    assert neighbour.failures == []
    assert len({answer[2] for answer in neighbour.answers}) == 1
    assert {answer[:2] for answer in killed.failures} <= {(500, "InvalidRequest")}
    assert len(killed.failures) <= 2


def people(added: int) -> io.BytesIO:
    return io.BytesIO(("user_id,age\n" + "".join(f"u{n},{n + added}\n" for n in range(100_000))).encode())


def kill_agents(served: Served, times: int = 3) -> None:
    """Ends one agent after the other, each as soon as it is there, and so at whatever it is doing."""
    for _ in range(times):
        agent = served.child("agent")
        os.kill(agent, signal.SIGKILL)
        wait_until(lambda: served.has_child("agent", other_than=agent))  # noqa: B023 - called at once


def test_a_table_is_deployed_and_switched_although_its_agent_is_killed_meanwhile(served: Served) -> None:
    import abacusai

    client = abacusai.ApiClient((served.home / "admin.key").read_text().strip(), server=served.url)
    project = client.create_project("Features", "PYTHON_MODEL").project_id
    token = client.create_deployment_token(project).deployment_token
    upload = client.create_dataset_from_upload("people", "CSV")
    dataset = upload.upload_file(people(0))
    dataset.wait_for_import()
    group = client.describe_feature_group_by_table_name("people")
    group.set_indexing_config(primary_key="user_id")

    def age() -> object:
        [row] = client.lookup_features(token, deployment.deployment_id, {"user_id": "u99999"})
        return row["age"]

    deployment = client.create_deployment(feature_group_id=group.id, project_id=project)
    kill_agents(served)
    assert deployment.wait_for_deployment().status == "ACTIVE"
    assert age() == 99_999
    first = deployment.feature_group_version
    client.create_dataset_version_from_upload(dataset.dataset_id).upload_file(people(1)).wait_for_import()
    second = group.refresh().latest_feature_group_version.feature_group_version
    assert second != first
    deployment.set_feature_group_version(second)
    kill_agents(served)
    wait_until(lambda: not deployment.refresh().pending_model_version, 60)
    assert (deployment.status, deployment.feature_group_version, deployment.error) == ("ACTIVE", second, None)
    assert age() == 100_000
