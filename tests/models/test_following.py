"""Trainings that wait, go on, and are cancelled: what is told about them, on both databases."""

from typing import Any

import pytest
import requests

from modelyard.settings import Settings
from tests.models.house import make_model, wait_for_end, wait_for_words
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

SLOW = """
def train():
    import sys, time
    print("one", flush=True)
    print("two", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.1)


def predict(model, query):
    return 1
"""


def version_of(model: dict[str, Any]) -> str:
    return str(model["latestModelVersion"]["modelVersion"])


def follow(yard: Yard, version: str, after: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = yard.call("followTrainingLogs", "GET", modelVersion=version, after=after)
    return answer


def test_a_training_is_followed_line_by_line_and_cancelled(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    version = version_of(make_model(yard, functionSourceCode=SLOW, trainingInputTables=[]))
    wait_for_words(yard, version, "one")
    wait_until(lambda: "two" in str(follow(yard, version)["lines"]))
    answer = follow(yard, version)
    assert {(line["stream"], line["text"]) for line in answer["lines"]} >= {("stdout", "one\n"), ("stderr", "two\n")}
    assert (answer["status"], answer["ended"], answer["waitingFor"]) == ("TRAINING", False, None)
    assert follow(yard, version, answer["next"])["lines"] == []
    yard.call("cancelTraining", modelVersion=version)
    ended = wait_for_end(yard, version, 20)
    assert (ended["status"], ended["error"]) == ("FAILED", "The training was cancelled.")
    assert follow(yard, version, answer["next"])["ended"] is True
    with pytest.raises(CallFailed, match="has ended as FAILED"):
        yard.call("cancelTraining", modelVersion=version)


def test_the_command_line_is_answered_when_there_is_something_new(shared_yard: Yard) -> None:
    version = version_of(make_model(shared_yard, functionSourceCode=SLOW, trainingInputTables=[]))
    wait_for_words(shared_yard, version, "one")
    wait_until(lambda: "two" in str(follow(shared_yard, version)["lines"]))
    after = follow(shared_yard, version)["next"]
    headers = {"apiKey": shared_yard.key, "User-Agent": "modelyard-cli/1"}
    url = f"{shared_yard.url}/api/v0/followTrainingLogs?modelVersion={version}&after={after}"
    answer = requests.get(url, headers=headers, timeout=30)
    assert answer.json()["result"]["lines"] == []
    assert answer.elapsed.total_seconds() >= shared_yard.settings.hold_s
    shared_yard.call("cancelTraining", modelVersion=version)
    wait_for_end(shared_yard, version, 20)


def test_a_training_says_what_it_waits_for(settings: Settings) -> None:
    import msgspec

    with Yard(msgspec.structs.replace(settings, agent_cores=1), with_agent=False) as yard:
        first = version_of(make_model(yard, functionSourceCode=SLOW, trainingInputTables=[]))
        described = yard.call("describeModelVersion", "GET", modelVersion=first)
        assert "no agent is running" in described["waitingFor"]
        yard.call("cancelTraining", modelVersion=first)
    with Yard(msgspec.structs.replace(settings, agent_cores=1)) as yard:
        yard.key = (settings.home / "admin.key").read_text().strip()
        assert wait_for_end(yard, first)["error"] == "The training was cancelled."
        second = version_of(make_model(yard, functionSourceCode=SLOW, trainingInputTables=[]))
        wait_for_words(yard, second, "one")
        third = version_of(make_model(yard, trainingInputTables=[]))
        described = yard.call("describeModelVersion", "GET", modelVersion=third)
        assert described["waitingFor"] == (
            "1 cores and 2 GiB to be free: 1 runs hold 1 cores and 2 GiB, 0 others came before it"
        )
        yard.call("cancelTraining", modelVersion=second)
        assert wait_for_end(yard, third)["status"] == "COMPLETE"
