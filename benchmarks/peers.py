"""The same model behind this platform and behind its peers, each as its own documentation serves it.

A logistic regression of 20 features, one record a call, 32 connections: by scikit-learn, whose own call of one row
bounds what any server can reach with a process, and by the same coefficients in a loop of plain Python (`dot`). Ours
sits behind the sandbox with the token check, limits and metrics on; scikit-learn is asked plainly, and with
`predict_many` and batching on. Peers that can gather calls are asked both ways, too: batches are held against the best
of all, plain calls against the best of plain ones.
`python -m benchmarks.peers` makes an environment for each peer under the cache of the benchmarks (some minutes, some
gigabytes); a peer without one is left out.
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
from pathlib import Path

import requests

from benchmarks.house import House, free_port
from benchmarks.load import Load, press
from benchmarks.measure import Options, Row, median
from benchmarks.peer_servers import DOT, FIT, PEERS, RECORD, Peer

HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "modelyard-benchmarks" / "peers"
CONNECTIONS = 32
#: Times the best peer's calls a second.
BUDGET = 10
READY_S = 120.0
WAYS = {"plain": "scikit-learn, plain", "batched": "scikit-learn, batched", "dot": "plain Python"}
OURS = """
def train():
    return fit()

def predict(model, query):
    return ask(model, query)

def predict_many(model, queries: list):
    return ask_many(model, queries)
"""
BATCHING = {"maxBatchSize": 64, "latencyBudgetMs": 20}


def run(options: Options) -> Iterator[Row]:
    """Ours first, then each peer that is installed, and the ratio to the best of them."""
    ours, theirs = _ours(options), {way: dict[str, Load]() for way in WAYS}
    for name, peer in PEERS.items():
        if not _folder(name).exists():
            print(f"  {name} was left out: python -m benchmarks.peers installs it")
            continue
        for way, served in (("plain", peer), ("batched", peer.gathering), ("dot", peer.varied(peer.dot))):
            try:
                if served is not None:
                    theirs[way][name] = _peer(name, served, options)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                print(f"  {name}, {way}, was left out: {error}")
    for way, load in ours.items():
        yield _row(f"{WAYS[way]}, ours", load)
        for name, other in theirs[way].items():
            yield _row(f"{WAYS[way]}, {name}", other)
        # Batches have to beat peers that gather none, too.
        rivals = [*theirs[way].items(), *(theirs["plain"].items() if way == "batched" else ())]
        if rivals:
            best, other = max(rivals, key=lambda found: found[1].per_second)
            ratio, against = load.per_second / other.per_second, f"{best} {other.per_second:,.0f}/s"
            what = f"{WAYS[way]}, against the best peer"
            yield Row(what, f"{ratio:.1f} x", f">= {BUDGET} x", f"{ratio:.1f}", against, ratio >= BUDGET)


def _row(what: str, load: Load) -> Row:
    bad = f", {load.errors} failed" if load.errors else ""
    return Row(what, f"{load.per_second:,.0f}/s{bad}", "", "", f"p50 {load.p50_ms:.2f}, p99 {load.p99_ms:.1f} ms")


def _ours(options: Options) -> dict[str, Load]:
    body, found = json.dumps({"queryData": RECORD}).encode(), dict[str, Load]()
    with House() as house:
        project_id = house.project()
        token = house.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
        for source in (FIT, DOT):
            many = {"predictManyFunctionName": "predict_many", "trainingInputTables": []}
            version = house.model(project_id, source + OURS, **many)["latestModelVersion"]["modelVersion"]
            house.trained(version)
            deployment_id = house.deployed(version)
            url = f"{house.url}/api/v0/predict?deploymentToken={token}&deploymentId={deployment_id}"
            found["plain" if source is FIT else "dot"] = _pressed(url, body, options)
            if source is FIT:
                house.call("setDeploymentOptions", deploymentId=deployment_id, options=BATCHING)
                found["batched"] = _pressed(url, body, options)
            house.call("stopDeployment", deploymentId=deployment_id)
    return found


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
            script = [str(_folder(name) / "bin" / "python"), "-c", peer.prepare]
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
