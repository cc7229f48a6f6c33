"""A database server that is killed: calls say so, whoever starts waits for it, and all goes on once it is back."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlalchemy.exc import OperationalError

from benchmarks.postgresql import PostgreSQL, postgresql
from modelyard.database import Database
from modelyard.settings import Settings
from tests.waiting import wait_until
from tests.yard import Yard


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


def test_a_call_while_the_database_is_away_says_so_in_one_line(
    home: Path, server: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    with Yard(Settings(home=home, port=0, database_url=server.url), with_agent=False) as yard:
        project = yard.call("createProject", name="Kept", useCase="PYTHON_MODEL")["projectId"]
        server.kill()
        headers, caplog.handler.records[:] = {"apiKey": yard.key}, []
        answer = requests.get(f"{yard.url}/api/v0/listProjects", headers=headers, timeout=30)
        assert answer.status_code == 500
        assert "The database does not answer" in answer.json()["error"]
        said = [each for each in caplog.records if "listProjects" in each.getMessage() and each.levelno > logging.INFO]
        assert [each.exc_info for each in said] == [None]
        server.start()
        wait_until(lambda: requests.get(f"{yard.url}/api/v0/listProjects", headers=headers, timeout=30).ok)
        assert [each["projectId"] for each in yard.call("listProjects", "GET")] == [project]


def test_who_starts_while_the_database_is_away_waits_for_it(server: PostgreSQL) -> None:
    server.kill()
    database = Database(server.url)
    waiting = threading.Thread(target=database.wait, args=(60,))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    server.start()
    waiting.join(30)
    assert not waiting.is_alive()
    database.check()
    database.close()


def test_patience_ends(server: PostgreSQL) -> None:
    server.kill()
    database = Database(server.url)
    with pytest.raises(OperationalError):
        database.wait(0.3)
    database.close()
