"""Servers as an operator runs them: real processes, started by the command line."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import shared_cache
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "modelyard"]


def environment(home: Path, **settings: object) -> dict[str, str]:
    """What a command of these tests sees: its home, the cache that all tests share, and settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    given = {f"MODELYARD_{name.upper()}": str(value) for name, value in settings.items()}
    return inherited | {"MODELYARD_HOME": str(home), "MODELYARD_CACHE": str(shared_cache())} | given


def run_command(home: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """One command from start to end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Served:
    """A running `modelyard serve`."""

    def __init__(self, home: Path, *arguments: str, **settings: object) -> None:
        name = uuid.uuid4().hex
        self.home, self._out, self._log = home, home / f"{name}.out", home / f"{name}.log"
        with self._out.open("w") as out, self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", "0", *arguments],
                env=environment(home, **settings),
                stdout=out,
                stderr=log,
            )

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"ready at (\S+)", self.output)
        assert found, self.log
        return found[1]

    def wait_until_ready(self) -> None:
        wait_until(lambda: "ready at" in self.output or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.output + self.log

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        with requests.get(self.url + path, timeout=20) as answer:
            return answer.status_code, answer.content

    def child(self, name: str) -> int:
        """The process id of the gateway, the first where there are several, or of the agent."""
        return next(iter(self.children(name)))

    def children(self, name: str) -> list[int]:
        """The process ids of the gateways, or of the agent."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if f"{name}_process" in _command_line(int(pid))]

    def has_child(self, name: str, other_than: int) -> bool:
        """Whether such a child runs, and another one than that."""
        try:
            return self.child(name) != other_than
        except StopIteration:
            return False

    def processes(self) -> set[int]:
        """Everything that runs below the server now, and the server."""
        return {self.process.pid, *descendants(self.process.pid)}

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def end(self) -> None:
        """Kills it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def descendants(pid: int) -> set[int]:
    """Every process below one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = {int(child) for child in task.read_text().split()}
        except OSError:
            continue
        found |= direct
        for child in direct:
            found |= descendants(child)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    """A server that is ready."""
    started = Served(home)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.end()


@pytest.fixture(scope="module")
def shared_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for tests that only look."""
    started = Served(tmp_path_factory.mktemp("served"))
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.end()
