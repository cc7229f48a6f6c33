"""The same scikit-learn model behind this platform and behind its peers, each as its own documentation serves it.

A logistic regression of 20 features, one record a call, 32 connections. Ours sits behind the sandbox with the token
check, limits and metrics on; it is asked plainly, and with `predict_many` and batching on. `python -m benchmarks.peers`
makes an environment for each peer under the cache of the benchmarks (some minutes, some gigabytes); a peer without one
is left out.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchmarks.house import House, free_port
from benchmarks.load import Load, press
from benchmarks.measure import Options, Row, median

HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "modelyard-benchmarks" / "peers"
FEATURES = 20
CONNECTIONS = 32
#: Times the best peer's calls a second.
BUDGET = 10
READY_S = 120.0
RECORD = {f"x{number}": 0.123456 * number + 0.75 for number in range(FEATURES)}
FIT = f"""
import numpy as np
from sklearn.linear_model import LogisticRegression

def fit():
    dice = np.random.default_rng(1)
    features = dice.random((2_000, {FEATURES}))
    return LogisticRegression(max_iter=500).fit(features, features.sum(axis=1) > {FEATURES / 2})

def ask(model, record):
    return float(model.predict_proba([list(record.values())])[0, 1])
"""
OURS = (
    FIT
    + """
def train():
    return fit()

def predict(model, query):
    return ask(model, query)

def predict_many(model, queries: list):
    return model.predict_proba([list(each.values()) for each in queries])[:, 1].tolist()
"""
)
BATCHING = {"maxBatchSize": 64, "latencyBudgetMs": 20}


@dataclass(frozen=True)
class Peer:
    """How one peer is installed, started and asked. Files are written into a folder of its own, PORT filled in."""

    packages: tuple[str, ...]
    files: dict[str, str]
    command: tuple[str, ...]
    path: str
    body: dict[str, Any]
    #: Made before the server starts, by the peer's Python.
    prepare: str = ""
    more: dict[str, str] = field(default_factory=dict)


PEERS = {
    "MLServer": Peer(
        ("mlserver", "mlserver-sklearn", "scikit-learn", "uvloop<0.22"),
        {
            "settings.json": '{"http_port": PORT, "grpc_port": PORT1, "metrics_port": PORT2, "parallel_workers": 0}',
            "model-settings.json": '{"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", '
            '"parameters": {"uri": "model.joblib"}}',
        },
        ("bin/mlserver", "start", "."),
        "/v2/models/m/infer",
        {
            "inputs": [
                {"name": "x", "shape": [1, FEATURES], "datatype": "FP64", "data": list(RECORD.values())},
            ],
            "outputs": [{"name": "predict_proba"}],
        },
        "import joblib\njoblib.dump(fit(), 'model.joblib')",
    ),
    "LitServe": Peer(
        ("litserve", "scikit-learn"),
        {
            "serve.py": FIT
            + """
import litserve

class Served(litserve.LitAPI):
    def setup(self, device):
        self.model = fit()

    def decode_request(self, request):
        return request

    def predict(self, record):
        return ask(self.model, record)

    def encode_response(self, output):
        return {"result": output}

if __name__ == "__main__":
    server = litserve.LitServer(Served(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning")
"""
        },
        ("bin/python", "serve.py"),
        "/predict",
        RECORD,
    ),
    "BentoML": Peer(
        ("bentoml", "scikit-learn"),
        {
            "service.py": FIT
            + """
import bentoml

@bentoml.service(workers=1)
class Served:
    def __init__(self):
        self.model = fit()

    @bentoml.api
    def predict(self, record: dict) -> float:
        return ask(self.model, record)
"""
        },
        ("bin/bentoml", "serve", "service:Served", "--port", "PORT", "--host", "127.0.0.1"),
        "/predict",
        {"record": RECORD},
    ),
    "MLflow": Peer(
        ("mlflow", "scikit-learn", "pandas"),
        {},
        ("bin/mlflow", "models", "serve", "-m", "model", "--env-manager", "local", "--port", "PORT", "--workers", "1"),
        "/invocations",
        {"inputs": [list(RECORD.values())]},
        "import mlflow.sklearn\nmlflow.sklearn.save_model(fit(), 'model', pyfunc_predict_fn='predict_proba', "
        "serialization_format='cloudpickle')",
    ),
    "Ray Serve": Peer(
        ("ray[serve]", "scikit-learn"),
        {
            "serve.py": FIT
            + """
import threading
import ray
from ray import serve

@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class Served:
    def __init__(self):
        self.model = fit()

    async def __call__(self, request):
        return ask(self.model, await request.json())

ray.init(num_cpus=2, logging_level="ERROR", include_dashboard=False)
serve.start(http_options={"host": "127.0.0.1", "port": PORT})
serve.run(Served.bind())
threading.Event().wait()
"""
        },
        ("bin/python", "serve.py"),
        "/",
        RECORD,
        more={"RAY_SERVE_LOG_TO_STDERR": "0"},
    ),
}


def run(options: Options) -> Iterator[Row]:
    """Ours first, then each peer that is installed, and the ratio to the best of them."""
    plain, batched = _ours(options)
    found = {}
    for name, peer in PEERS.items():
        if not _folder(name).exists():
            print(f"  {name} was left out: python -m benchmarks.peers installs it")
            continue
        try:
            found[name] = _peer(name, peer, options)
        except RuntimeError as error:
            print(f"  {name} was left out: {error}")
    yield _row("scikit-learn, plain", plain)
    yield _row("scikit-learn, batched", batched)
    for name, load in found.items():
        yield _row(f"scikit-learn, {name}", load)
    if found:
        best = max(found, key=lambda name: found[name].per_second)
        for what, load in (("plain", plain), ("batched", batched)):
            ratio = load.per_second / found[best].per_second
            yield Row(
                f"scikit-learn, {what}, against the best peer", f"{ratio:.1f} x", f">= {BUDGET} x", f"{ratio:.1f}",
                f"{best} {found[best].per_second:,.0f}/s", ratio >= BUDGET,
            )  # fmt: skip


def _row(what: str, load: Load) -> Row:
    bad = f", {load.errors} failed" if load.errors else ""
    return Row(what, f"{load.per_second:,.0f}/s{bad}", "", "", f"p50 {load.p50_ms:.2f}, p99 {load.p99_ms:.1f} ms")


def _ours(options: Options) -> tuple[Load, Load]:
    body = json.dumps({"queryData": RECORD}).encode()
    with House() as house:
        project_id = house.project()
        model = house.model(project_id, OURS, predictManyFunctionName="predict_many", trainingInputTables=[])
        version = model["latestModelVersion"]["modelVersion"]
        house.trained(version)
        deployment_id = house.deployed(version)
        token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
        url = f"{house.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
        plain = _pressed(url, body, options)
        house.call("setDeploymentOptions", deploymentId=deployment_id, options=BATCHING)
        return plain, _pressed(url, body, options)


def _peer(name: str, peer: Peer, options: Options) -> Load:
    with tempfile.TemporaryDirectory(prefix="bench-peer-", dir="/tmp") as folder:
        port = free_port()
        for file, text in peer.files.items():
            (Path(folder) / file).write_text(_filled(text, port))
        variables = {
            "PATH": f"{_folder(name) / 'bin'}:/usr/bin:/bin",
            "HOME": folder,
            "OMP_NUM_THREADS": "1",
        } | peer.more
        if peer.prepare:
            script = [str(_folder(name) / "bin" / "python"), "-c", FIT + peer.prepare]
            subprocess.run(script, cwd=folder, env=variables, check=True, capture_output=True)
        program, *arguments = (_filled(part, port) for part in peer.command)
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(
                [_folder(name) / program, *arguments], cwd=folder, env=variables, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            url, body = f"http://127.0.0.1:{port}{peer.path}", json.dumps(peer.body).encode()
            _await(server, url, body, Path(folder) / "log")
            return _pressed(url, body, options)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(20)
            with contextlib.suppress(ProcessLookupError):  # what outlives its own server
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _filled(text: str, port: int) -> str:
    return text.replace("PORT1", str(port + 1)).replace("PORT2", str(port + 2)).replace("PORT", str(port))


def _await(server: "subprocess.Popen[bytes]", url: str, body: bytes, log: Path) -> None:
    deadline, said = time.monotonic() + READY_S, ""
    while time.monotonic() < deadline and server.poll() is None:
        try:
            answer = requests.post(url, body, headers={"content-type": "application/json"}, timeout=10)
            if answer.status_code == 200:
                return
            said = answer.text
        except requests.RequestException as error:
            said = str(error)
        time.sleep(0.2)
    raise RuntimeError(f"it does not answer: {said[:300]} {log.read_text(errors='replace')[-300:]}")


def _pressed(url: str, body: bytes, options: Options) -> Load:
    press(url, CONNECTIONS, 1, body)
    loads = [press(url, CONNECTIONS, options.seconds, body) for _ in range(options.rounds)]
    pick: Callable[[str], float] = lambda name: median(getattr(load, name) for load in loads)  # noqa: E731 - a word
    return Load(pick("per_second"), pick("p50_ms"), pick("p99_ms"), sum(load.errors for load in loads))


def _folder(name: str) -> Path:
    return HOME / name.lower().replace(" ", "-")


def main() -> int:
    """Makes the environments that are missing."""
    for name, peer in PEERS.items():
        folder = _folder(name)
        if folder.exists():
            continue
        print(f"{name} ...", flush=True)
        uv = Path(sys.executable).with_name("uv")
        try:
            subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
            pip = [str(uv), "pip", "install", "-q", "--compile-bytecode", "--python", str(folder / "bin" / "python")]
            subprocess.run([*pip, *peer.packages], check=True)
        except subprocess.CalledProcessError as error:
            print(f"  {name} could not be installed: {error}", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
