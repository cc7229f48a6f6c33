"""A sandbox in a folder of its own, and an environment of the base packages that all test runs share."""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uv

from modelyard.sandbox import Guest, Interpreter, Limits, Outcome, Sandbox
from modelyard.settings import Settings
from tests.conftest import shared_cache

BASE = Path(__file__).parents[2] / "src" / "modelyard" / "environments" / "base.txt"
Run = Callable[..., "Outcome[Any]"]


@pytest.fixture(scope="session")
def interpreter() -> Interpreter:
    """The Python of an environment with the base packages, built once for all test runs."""
    return environment(f"base-{hashlib.sha256(BASE.read_bytes()).hexdigest()[:8]}", ["-r", str(BASE)])


@pytest.fixture(scope="session")
def older_interpreter() -> Interpreter:
    """The same with pandas 2, as a requirement of the user's can ask for."""
    return environment("pandas2", ["pandas<3", "pyarrow", "msgspec", "polars"])


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox without warm guests."""
    opened = Sandbox(Settings(home=tmp_path_factory.mktemp("home"), warm_guests=0))
    yield opened
    opened.close()


@pytest.fixture
def train(sandbox: Sandbox, interpreter: Interpreter) -> Run:
    """Trains a source in a guest: `train(source, memory_gib=..., on_output=...)`."""

    def run(source: str, *, bare_python: bool = False, **options: Any) -> "Outcome[Any]":
        limits = Limits(**{name: options.pop(name) for name in list(options) if name in Limits.__dataclass_fields__})
        message = {"source": source, "module_name": "model", "train_function": "train", **options.pop("message", {})}
        options.setdefault("collect", read_artifact)
        return sandbox.run(interpreter, limits, "train", message, preload=options.pop("preload", ()), **options)

    return run


def read_artifact(guest: Guest, result: dict[str, Any]) -> bytes:
    """The pickled return value."""
    with guest.open(result["artifact"]["path"]) as file:
        return file.read()


def environment(name: str, packages: list[str]) -> Interpreter:
    """An environment below the tests' cache folder, named and filled as given."""
    folder = shared_cache() / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (prefix / "done").exists():
            _build(prefix, packages)
            (prefix / "done").touch()
    return Interpreter(prefix / "bin" / "python", (prefix, Path(sys.base_prefix)))


def _build(prefix: Path, packages: list[str]) -> None:
    tool = uv.find_uv_bin()
    base = str(getattr(sys, "_base_executable", sys.executable))
    subprocess.run([tool, "venv", "--clear", "--quiet", "--python", base, str(prefix)], check=True)
    python = str(prefix / "bin" / "python")
    command = [
        tool,
        "pip",
        "install",
        "--quiet",
        "--index-strategy",
        "unsafe-best-match",
        "--compile-bytecode",
        "--python",
        python,
        *_indexes(),
        *packages,
    ]
    subprocess.run(command, check=True, env={**os.environ, "UV_LINK_MODE": "copy"})


def _indexes() -> list[str]:
    """The indexes that this machine's pip is configured with."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    found: list[str] = []
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        flag = {"extra-index-url": "--extra-index-url", "index-url": "--index-url", "find-links": "--find-links"}
        if (name := key.rpartition(".")[2]) in flag:
            found += [part for entry in value.strip("'\"").split() for part in (flag[name], entry)]
    return found
