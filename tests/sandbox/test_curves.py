"""metrics.jsonl as it is followed while a training writes it: always what a reading at that moment would give."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.sandbox.channel import ChannelGarbage, Step
from modelyard.sandbox.guest.curves import Bounds, Follower, read_metrics
from modelyard.settings import Settings
from tests.sandbox.conftest import Run

FILE = Path("metrics.jsonl")
SMALL = Bounds(size=2_000, steps=20)


class Host:
    """What a host knows that was told so."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.told = 0

    def heard(self, first: int, steps: list[Any]) -> None:
        assert first in (0, len(self.steps))
        self.steps = self.steps[:first] + list(steps)
        self.told += 1

    def tick(self) -> None:
        """Nothing waits here."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.chdir(tmp_path)
    return Host()


def write(text: str, mode: str = "a") -> None:
    with FILE.open(mode) as file:
        file.write(text)


def replace_by(make: Callable[[], object]) -> None:
    FILE.unlink()
    make()


def test_each_line_is_told_once_and_one_that_is_not_ended_is_waited_for(host: Host) -> None:
    follower = Follower(host.heard, SMALL)
    follower.look()
    write('{"loss": 3.0}\n{"loss"')
    follower.look()
    assert host.steps == [{"loss": 3.0}]
    write(': 2.0, "at": "épo')
    follower.look()
    follower.look()
    assert (host.steps, host.told) == ([{"loss": 3.0}], 1)
    write('que"}\n\n{"loss": 1.0}\n')
    follower.look()
    assert host.steps == [{"loss": 3.0}, {"loss": 2.0, "at": "époque"}, {"loss": 1.0}]
    assert (host.steps, host.told) == (read_metrics(SMALL)["steps"], 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda: write('{"b": 1}\n', "w"),
        lambda: write('{"b": 1}\n{"b": 2}\n{"b": 3}\n{"b": 4}\n', "w"),
        lambda: os.truncate(FILE, len('{"a": 1}\n')),
        lambda: replace_by(lambda: write('{"a": 1}\n{"a": 2}\n{"c": 3}\n')),
        FILE.unlink,
        lambda: replace_by(FILE.mkdir),
        lambda: replace_by(lambda: os.mkfifo(FILE)),
        lambda: replace_by(lambda: FILE.symlink_to("/dev/zero")),
        lambda: replace_by(lambda: FILE.symlink_to("/proc/self/mem")),
        lambda: replace_by(lambda: FILE.symlink_to("nowhere")),
        lambda: write('{"a": "' + "x" * 3_000 + '"}\n'),
        lambda: write("x" * 3_000),
        lambda: write('{"a": 3}\n' * 30),
        lambda: write('{"a": NaN, "b": 1e999, "c": 5, "d": [1], "e": null, "f": true}\n'),
        lambda: write("no JSON\n"),
        lambda: write("[1]\n"),
        lambda: write('{"a": ' + "[" * 900 + "\n"),
        lambda: write("\x00\x00\n"),
        lambda: FILE.write_bytes(b'{"a": "\xff"}\n'),
    ],
)
def test_whatever_becomes_of_the_file_the_host_knows_what_the_end_would_read(
    host: Host, change: Callable[[], object]
) -> None:
    follower = Follower(host.heard, SMALL)
    write('{"a": 1}\n{"a": 2}\n')
    follower.look()
    assert host.steps == [{"a": 1}, {"a": 2}]
    change()
    follower.look()
    assert host.steps == read_metrics(SMALL)["steps"]
    told = host.told
    follower.look()
    assert host.told == told


def test_a_file_that_was_none_is_followed_again_once_it_is_one(host: Host) -> None:
    follower = Follower(host.heard, SMALL)
    write("nonsense\n")
    follower.look()
    write('{"a": 1}\n')
    follower.look()
    assert host.steps == []
    write('{"a": 1}\n', "w")
    follower.look()
    assert host.steps == [{"a": 1}]


def test_a_look_reads_a_part_of_much_and_the_last_one_all(host: Host) -> None:
    follower = Follower(host.heard, Bounds())
    write("".join(f'{{"at": {at}}}\n' for at in range(50_000)))
    write('{"long": "' + "x" * 300_000 + '"}\n')
    follower.look()
    assert 0 < len(host.steps) < 20_000
    ended = threading.Event()
    ended.set()
    follower.follow(ended)
    assert host.steps == read_metrics(Bounds())["steps"]
    assert (len(host.steps), host.told) == (50_001, 2)


def test_a_line_longer_than_a_look_is_read_whole(host: Host) -> None:
    follower = Follower(host.heard, Bounds())
    write('{"long": "' + "x" * 300_000)
    follower.look()
    assert host.steps == []
    write('"}\n{"next": 1}\n')
    follower.look()
    assert len(host.steps) == 2


def test_code_that_goes_to_another_folder_is_followed_where_it_was(host: Host, tmp_path: Path) -> None:
    follower = Follower(host.heard, SMALL)
    write('{"a": 1}\n')
    os.chdir("/")
    follower.look()
    os.chdir(tmp_path)
    assert host.steps == [{"a": 1}]


@pytest.mark.sandbox
def test_steps_reach_the_host_before_the_training_has_ended(train: Run) -> None:
    class Ends(Host):
        def heard(self, first: int, steps: list[Any]) -> None:
            super().heard(first, steps)
            if len(self.steps) == 2:
                raise Seen

    class Seen(Exception):
        pass

    source = (
        "import time\ndef train():\n  with open('metrics.jsonl', 'w', buffering=1) as file:\n"
        "    file.write('{\"step\": 1}\\n')\n    file.write('{\"step\": 2}\\n')\n    time.sleep(600)\n"
    )
    host = Ends()
    with pytest.raises(Seen):
        train(source, message={"tells_steps": True}, on_steps=host)
    assert host.steps == [{"step": 1}, {"step": 2}]


@pytest.mark.sandbox
@pytest.mark.parametrize("ending", ["raise ValueError('no')", "return lambda: open('x')", "sys.exit(3)"])
def test_what_was_written_last_is_told_however_a_training_ends(train: Run, ending: str) -> None:
    host = Host()
    source = f"import sys\ndef train():\n  open('metrics.jsonl', 'w').write('{{\"a\": 1}}\\n')\n  {ending}\n"
    train(source, message={"tells_steps": True}, on_steps=host)
    assert host.steps == [{"a": 1}]


FLOOD = """
import json, os, socket, struct
def train():
    wire = socket.socket(fileno=os.dup(3))
    while True:
        body = json.dumps({"event": "steps", "first": 0, "steps": [{"a": 1}]}).encode()
        wire.sendall(struct.pack("!I", len(body)) + body)
"""


@pytest.mark.sandbox
def test_a_guest_that_floods_its_host_with_steps_is_ended(train: Run) -> None:
    host = Host()
    outcome = train(FLOOD, message={"tells_steps": True}, on_steps=host)
    assert outcome.error is not None
    assert (outcome.error.kind, "more often" in outcome.error.value) == ("protocol", True)
    assert host.told < 100


@pytest.mark.sandbox
def test_a_listener_may_refuse_steps_that_can_not_be(train: Run) -> None:
    class Refuses(Host):
        def heard(self, first: int, steps: list[Step]) -> None:
            raise ChannelGarbage("that can't be")

    outcome = train(
        "def train():\n  open('metrics.jsonl', 'w').write('{}\\n')\n", message={"tells_steps": True}, on_steps=Refuses()
    )
    assert outcome.error is not None
    assert outcome.error.kind == "protocol"


def test_the_bounds_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = Settings.load({}, home=tmp_path)
    assert Bounds() == Bounds(settings.metrics_limit, settings.metrics_steps)
    assert json.dumps(Bounds()._asdict()) == '{"size": 8388608, "steps": 200000}'
