"""Steps of metrics.jsonl, seen while the training goes on: by the official client and on both databases.

The trainings wait for words, files that the test puts into their working directory; nothing is timed.
"""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli.trainings import logs as print_logs
from modelyard.execution import Run
from modelyard.ids import ModelVersionId
from modelyard.models.records import MetricStepBatch, ModelVersion
from modelyard.settings import Settings
from tests.agents import agent_process
from tests.models.house import make_model, wait_for_end
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SOURCE = """
import json
import os
import time


def wait_for(word):
    while not os.path.exists(word):
        time.sleep(0.01)


def step(**values):
    with open("metrics.jsonl", "a") as file:
        file.write(json.dumps(values) + "\\n")


def train():
    open("MARK", "w").close()
    BODY
    return 1


def predict(model, query):
    return 1
"""


class Training:
    """A training that goes on, and its working directory as the host sees it."""

    def __init__(self, yard: Yard, mark: str, body: str) -> None:
        self.yard, self.mark = yard, mark
        source = SOURCE.replace("MARK", mark).replace("BODY", body.strip().replace("\n", "\n    "))
        model = make_model(yard, functionSourceCode=source, trainingInputTables=[])
        self.model_id: str = model["modelId"]
        self.version: str = model["latestModelVersion"]["modelVersion"]

    def say(self, word: str) -> None:
        """Puts the word into the working directory, once there is one."""
        wait_until(self.folders, 60)
        for folder in self.folders():
            (folder / word).touch()

    def steps(self) -> list[dict[str, Any]]:
        """As the official client has them."""
        metrics = self.yard.client().get_model_metrics(self.model_id, self.version)
        steps: list[dict[str, Any]] = metrics.algo_metrics[self.model_id]["steps"]
        return steps

    def status(self) -> str:
        return str(self.yard.call("describeModelVersion", "GET", modelVersion=self.version)["status"])

    def folders(self) -> list[Path]:
        """Its working directory, while there is one."""
        return [path.parent for path in (self.yard.settings.home / "scratch").glob(f"*/*/{self.mark}")]


def batches(yard: Yard, version: str) -> int:
    with yard.database.read() as session:
        return session.query(MetricStepBatch).filter_by(model_version=version).count()


def test_the_official_client_sees_a_curve_grow_while_the_version_is_training(shared_yard_of_each: Yard) -> None:
    training = Training(
        shared_yard_of_each,
        "grows",
        'step(epoch=1, loss=2.5)\nopen("metrics.jsonl", "a").write(\'{"epoch": 2\')\nwait_for("go")\n'
        'open("metrics.jsonl", "a").write(\', "loss": 1.5}\\n{"epoch": 3}\\n\')\nwait_for("end")\n'
        'json.dump({"rmse": 0.5}, open("metrics.json", "w"))',
    )
    wait_until(training.steps, 60)
    assert training.steps() == [{"epoch": 1, "loss": 2.5}]
    assert training.status() == "TRAINING"
    training.say("go")
    wait_until(lambda: len(training.steps()) > 1, 60)
    grown = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5}, {"epoch": 3}]
    assert training.steps() == grown
    assert training.status() == "TRAINING"
    followed = shared_yard_of_each.call("followTrainingLogs", "GET", modelVersion=training.version, afterStep=1)
    assert (followed["steps"], followed["nextStep"]) == (grown[1:], 3)
    again = shared_yard_of_each.call("followTrainingLogs", "GET", modelVersion=training.version, afterStep=3)
    assert (again["steps"], again["nextStep"]) == ([], 3)
    anew = shared_yard_of_each.call("followTrainingLogs", "GET", modelVersion=training.version, afterStep=9)
    assert (anew["steps"], anew["nextStep"]) == (grown, 3)
    unasked = shared_yard_of_each.call("followTrainingLogs", "GET", modelVersion=training.version)
    assert (unasked["steps"], unasked["nextStep"]) == ([], None)
    training.say("end")
    assert wait_for_end(shared_yard_of_each, training.version)["status"] == "COMPLETE"
    assert training.steps() == grown
    assert batches(shared_yard_of_each, training.version) == 0


def test_a_file_that_is_written_anew_begins_the_curve_anew_and_the_end_says_what_holds(
    shared_yard_of_each: Yard,
) -> None:
    training = Training(
        shared_yard_of_each,
        "anew",
        'step(a=1)\nstep(a=2)\nwait_for("go")\nos.rename("metrics.jsonl", "old.jsonl")\nstep(b=1)\nwait_for("spoil")\n'
        'open("metrics.jsonl", "a").write("no JSON\\n")\nwait_for("end")\nos.remove("metrics.jsonl")\nstep(c=1)',
    )
    wait_until(lambda: training.steps() == [{"a": 1}, {"a": 2}], 60)
    training.say("go")
    wait_until(lambda: training.steps() == [{"b": 1}], 60)
    training.say("spoil")
    wait_until(lambda: training.steps() == [], 60)
    training.say("end")
    assert wait_for_end(shared_yard_of_each, training.version)["status"] == "COMPLETE"
    assert training.steps() == [{"c": 1}]


def test_a_training_that_fails_keeps_the_curve_up_to_its_last_step(shared_yard_of_each: Yard) -> None:
    training = Training(
        shared_yard_of_each,
        "fails",
        'step(loss=1.0)\nstep(loss=float("nan"), note="\\x00 diverged")\nraise ValueError("nan")',
    )
    assert wait_for_end(shared_yard_of_each, training.version)["status"] == "FAILED"
    assert training.steps() == [{"loss": 1.0}, {"note": "\x00 diverged"}]
    shared_yard_of_each.call("deleteModel", "DELETE", modelId=training.model_id)
    assert batches(shared_yard_of_each, training.version) == 0


def test_an_attempt_after_a_killed_one_begins_the_curve_anew(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        training = Training(
            yard,
            "killed",
            'for at in range(3):\n    step(at=at)\nwait_for("go")\nos.remove("metrics.jsonl")\nstep(at="new")',
        )
        with agent_process(yard.settings) as first:
            wait_until(lambda: len(training.steps()) == 3, 60)
            first.send_signal(signal.SIGKILL)
            first.wait()
        assert len(training.steps()) == 3
        with yard.database.write() as session:  # what an attempt wrote that no other will write again
            session.add(
                MetricStepBatch(model_version=ModelVersionId(training.version), first=3, steps=[{"at": "lost"}])
            )
        with agent_process(yard.settings):
            wait_until(lambda: training.steps() == [{"at": 0}, {"at": 1}, {"at": 2}], 60)
            training.say("go")
            assert wait_for_end(yard, training.version)["status"] == "COMPLETE"
        assert training.steps() == [{"at": "new"}]


def test_an_attempt_that_lost_its_run_writes_no_step_more(yard: Yard) -> None:
    training = Training(yard, "lost", 'wait_for("go")\nstep(at=1)\nwait_for("end")')
    wait_until(training.folders, 60)
    with yard.database.write() as session:
        version = session.get_one(ModelVersion, ModelVersionId(training.version))
        session.get_one(Run, version.run_id).fence += 1  # as the claim of another agent does
    training.say("go")
    wait_until(lambda: not training.folders(), 60)
    assert training.steps() == []


HOSTILE = """
def train():
    import json, os, socket, struct
    wire = socket.socket(fileno=os.dup(3))
    body = json.dumps(FRAME).encode()
    wire.sendall(struct.pack("!I", len(body)) + body)
    return 1


def predict(model, query):
    return 1
"""


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ('{"event": "steps", "first": 5, "steps": [{"a": 1}]}', "steps from 5 on, where 0 are known"),
        ('{"event": "steps", "first": -1, "steps": [{"a": 1}]}', "steps from -1 on"),
        ('{"event": "steps", "first": 0, "steps": [{}] * 200_001}', "more steps than metrics.jsonl may hold"),
        ('{"event": "steps", "first": 0, "steps": [{"a": "x" * 34_000_000}]}', "more steps than metrics.jsonl"),
        ('{"event": "steps", "first": 0, "steps": [{"a": [1]}]}', "not what it should be"),
        ('{"event": "steps", "first": 0, "steps": [{"a": float("nan")}]}', "not what it should be"),
        ('{"event": "steps", "first": 0}', "an answer that is none"),
    ],
)
def test_steps_that_no_guest_of_ours_would_tell_end_the_training(shared_yard: Yard, frame: str, words: str) -> None:
    model = make_model(shared_yard, functionSourceCode=HOSTILE.replace("FRAME", frame), trainingInputTables=[])
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    assert version["status"] == "FAILED"
    assert "The code disturbed its connection to the platform" in version["error"]
    assert words in version["error"]
    assert batches(shared_yard, version["modelVersion"]) == 0


def test_the_command_line_prints_steps_as_they_come(shared_yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    training = Training(
        shared_yard, "printed", 'print("hello")\nstep(epoch=1, loss=0.25, note="a\\nb")\nstep(epoch=2, ok=True)'
    )
    wait_for_end(shared_yard, training.version)
    assert print_logs(training.version, metrics=True, home=shared_yard.settings.home) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("hello\n")
    assert printed.err.splitlines() == [
        'metrics: epoch=1 loss=0.25 note="a\\nb"',
        "metrics: epoch=2 ok=true",
    ]
    assert print_logs(training.version, home=shared_yard.settings.home) == 0
    assert "metrics:" not in capsys.readouterr().err
    assert json.dumps(training.steps()[1]) == '{"epoch": 2.0, "ok": true}'
