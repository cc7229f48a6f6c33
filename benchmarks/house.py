"""The platform as an operator starts it: `modelyard serve`, real processes, a temporary home, the tests' cache."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

START_S, STOP_S, TRAIN_S = 180.0, 60.0, 300.0
_READY = re.compile(r"ready at (\S+)")
#: A model whose functions cost next to nothing.
TRIVIAL = "def train():\n    return 2.0\n\n\ndef predict(model, query):\n    return model * query['x0']\n"


def shared_cache() -> Path:
    """Where environments stay between runs of tests and benchmarks."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard-tests"


def new_home() -> Path:
    """An empty folder with a short path, since names of Unix sockets below it may have 107 bytes."""
    folder = tempfile.gettempdir() if len(tempfile.gettempdir()) < 30 else "/tmp"
    return Path(tempfile.mkdtemp(prefix="bench-", dir=folder))


def free_port() -> int:
    """A port that is free now, with the two after it most likely, too."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class House:
    """Opened by `with`; everything that it started and wrote is gone at the end."""

    def __init__(self, **settings: object) -> None:
        self.home, self.url, self.key = new_home(), "", ""
        self._settings = {f"MODELYARD_{name.upper()}": str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()

    def __enter__(self) -> Self:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        variables = {"MODELYARD_HOME": str(self.home), "MODELYARD_CACHE": str(shared_cache())} | self._settings
        command = [sys.executable, "-P", "-m", "modelyard", "serve", "--port", "0", "--until-stdin-ends"]
        with (self.home / "serve.out").open("wb") as out, (self.home / "serve.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=inherited | variables,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server and removes its home."""
        self._session.close()
        if self._process is not None and self._process.stdin is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdin.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def child(self, name: str) -> int:
        """The process id of the `gateway`, the first where there are several, or of the `agent`."""
        return next(iter(self.children(name)))

    def children(self, name: str) -> list[int]:
        """The process ids of the gateways, or of the agent."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [int(pid) for pid in children if f"{name}_process".encode() in _command_line(int(pid))]

    def processes(self) -> set[int]:
        """The server and every process below it."""
        assert self._process is not None
        return {self._process.pid, *_descendants(self._process.pid)}

    def guests(self) -> list[int]:
        """The guests that run now, each by the process that is its whole tree's first."""
        return [pid for pid in sorted(self.processes()) if b"modelyard_guest/boot.py" in _command_line(pid)]

    # -- the API ------------------------------------------------------------------------------------------------

    def call(self, action: str, **parameters: object) -> Any:
        """An action's result; RuntimeError with what was answered instead."""
        answer = self.ask(action, **parameters)
        body = answer.json()
        if not body["success"]:
            raise RuntimeError(f"{action}: {answer.status_code} {body.get('errorType')}: {body.get('error')}")
        return body["result"]

    def ask(self, action: str, **parameters: object) -> requests.Response:
        """What is answered, to its last byte, as the official client's library gives it."""
        verb = "GET" if action.startswith(("describe", "list", "get", "search")) else "POST"
        verb = "PATCH" if action.startswith("setDeployment") else verb
        verb = "DELETE" if action.startswith(("delete", "remove")) else verb
        given = {"params": parameters} if verb in ("GET", "DELETE") else {"json": parameters}
        url, headers = f"{self.url}/api/v0/{action}", {"apiKey": self.key}
        return self._session.request(verb, url, headers=headers, timeout=120, **given)  # type: ignore[arg-type]

    def project(self) -> str:
        """The id of a new project."""
        return str(self.call("createProject", name="Benchmark", useCase="PYTHON_MODEL")["projectId"])

    def model(self, project_id: str, source: str = TRIVIAL, **parameters: object) -> dict[str, Any]:
        """A new model, whose first version is PENDING."""
        given = {"functionSourceCode": source, "trainFunctionName": "train", "predictFunctionName": "predict"}
        model: dict[str, Any] = self.call("createModelFromPython", projectId=project_id, **(given | parameters))
        return model

    def trained(self, model_version: str) -> dict[str, Any]:
        """The version once it is COMPLETE."""
        version = self.wait("describeModelVersion", ("COMPLETE", "FAILED"), modelVersion=model_version)
        if version["status"] == "FAILED":
            raise RuntimeError(f"the training failed: {version['error']}")
        return version

    def deployed(self, model_version: str) -> str:
        """The id of an ACTIVE deployment of that version."""
        return self.active(self.call("createDeployment", modelVersion=model_version))

    def active(self, deployment: dict[str, Any]) -> str:
        """The id of the deployment once it is ACTIVE."""
        deployment_id = str(deployment["deploymentId"])
        found = self.wait("describeDeployment", ("ACTIVE", "FAILED"), deploymentId=deployment_id)
        if found["status"] == "FAILED":
            raise RuntimeError(f"the deployment failed: {found['error']}")
        return deployment_id

    def stdout(self, model_version: str) -> str:
        """What `train` printed."""
        (logs,) = self.call("getTrainingLogs", modelVersion=model_version, stdout="true", stderr="false")
        return str(logs["stdout"])

    def wait(
        self, action: str, statuses: tuple[str, ...], *, poll_s: float = 0.05, **parameters: object
    ) -> dict[str, Any]:
        """What `action` describes, as soon as its status is one of these."""
        deadline = time.monotonic() + TRAIN_S
        while time.monotonic() < deadline:
            found: dict[str, Any] = self.call(action, **parameters)
            if found["status"] in statuses:
                return found
            time.sleep(poll_s)
        raise RuntimeError(f"{action}: none of {statuses} within {TRAIN_S:g} s")

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while not (found := _READY.search((self.home / "serve.out").read_text(errors="replace"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{(self.home / 'serve.log').read_text()[-3000:]}")
            time.sleep(0.05)
        self.url, self.key = found[1], (self.home / "admin.key").read_text().strip()


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = {int(child) for child in task.read_text().split()}
        except OSError:
            continue
        found |= direct.union(*(_descendants(child) for child in direct))
    return found


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
