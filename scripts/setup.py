"""Makes `.venv` from nothing but Python 3.11+: `make setup`, and every target that needs the environment, runs this.

The steps: a virtual environment by `venv`, uv into it by pip with its hash checked, everything in
`requirements/dev.lock` by uv with every hash checked, and the package itself, editable. A stamp file holds the digest
of all that went in, so a second run costs nothing. pip's own configuration (indexes, find-links, certificates, proxy)
is handed on to uv, so a machine behind a mirror needs no second one. The standard library only, as nothing else is
there yet.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup.stamp"
OLDEST = (3, 11)


def main() -> None:
    """Brings `.venv` up to date, or says in one sentence why it can't."""
    if sys.version_info < OLDEST:
        found = sys.version.split()[0]
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {found}; name one: make setup PYTHON=python3.12")
    wanted = digest()
    if STAMP.exists() and STAMP.read_text() == wanted and PYTHON.exists():
        return
    start = time.monotonic()
    ensure_venv()
    ensure_uv()
    flags, environment = uv_settings(pip_settings())
    install_locked(flags, environment)
    install_package(environment)
    STAMP.write_text(wanted)
    say(f"ready after {time.monotonic() - start:.1f} s")


def digest() -> str:
    """What the environment is made of: the lock, the project file, this script and the Python beneath."""
    made_of = hashlib.sha256(sys.version.encode() + str(ROOT).encode())
    for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)):
        made_of.update(path.read_bytes())
    return made_of.hexdigest()


def ensure_venv() -> None:
    """A virtual environment of this Python, with pip; one of another Python version is made anew."""
    if PYTHON.exists() and version_of(PYTHON) == version_of(Path(sys.executable)):
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode:
        print(made.stdout, made.stderr, sep="\n", file=sys.stderr)
        sys.exit(
            "setup: `python3 -m venv` failed. Where ensurepip is missing, install it with the system's packages "
            "(Debian and Ubuntu: apt install python3-venv)."
        )


def version_of(python: Path) -> str:
    """The version that an interpreter gives, or nothing where it does not start."""
    asked = [str(python), "-c", "import sys; print(sys.version)"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def ensure_uv() -> None:
    """uv as the lock pins it, installed by pip, which checks its hash."""
    pinned = pinned_in_lock("uv")
    version = pinned.split("==")[1].split()[0]
    uv = VENV / "bin" / "uv"
    if uv.exists() and f"uv {version}" in subprocess.check_output([str(uv), "--version"], text=True):
        return
    say(f"installing uv {version} with pip")
    requirement = VENV / "uv.lock.txt"
    requirement.write_text(pinned)
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    run([*pip, "--require-hashes", "--requirement", str(requirement)], dict(os.environ))
    requirement.unlink()


def pinned_in_lock(name: str) -> str:
    """The lines of one distribution in the lock: its version and its hashes."""
    lines = LOCK.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{name}=="))
    last = next(number for number in range(first, len(lines)) if not lines[number].endswith("\\"))
    return "\n".join(lines[first : last + 1]) + "\n"


def pip_settings() -> dict[str, str]:
    """pip's configuration by option name; the environment wins over `[install]`, and that over `[global]`."""
    listed = subprocess.run([str(PYTHON), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    ranked: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in ranked and value:
            ranked[section][option] = str(ast.literal_eval(value))
    return {**ranked["global"], **ranked["install"], **ranked[":env:"]}


def uv_settings(settings: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """uv's flags and environment that mean what pip's settings mean.

    pip takes the best of all indexes while uv stops at the first that knows a name; as every hash is checked here,
    uv is told to do as pip does.
    """
    flags = ["--index-strategy", "unsafe-best-match"]
    names = {
        "index-url": "--default-index",
        "extra-index-url": "--index",
        "find-links": "--find-links",
        "trusted-host": "--allow-insecure-host",
    }
    for option, flag in names.items():
        for value in settings.get(option, "").split():
            flags += [flag, value]
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        flags.append("--no-index")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables = {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY", "timeout": "UV_HTTP_TIMEOUT"}
    for option, variable in {**variables, "default-timeout": "UV_HTTP_TIMEOUT"}.items():
        if settings.get(option):
            environment.setdefault(variable, settings[option])
    return flags, environment


def install_locked(flags: list[str], environment: dict[str, str]) -> None:
    """Everything in the lock, every hash checked, compiled so that no later start pays for it."""
    say("installing the locked packages with uv")
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON), "--compile-bytecode"]
    run([*uv, *flags, "--require-hashes", "--requirement", str(LOCK)], environment)


def install_package(environment: dict[str, str]) -> None:
    """The package itself, editable, built by the locked hatchling: nothing is fetched."""
    say("installing modelyard itself, editable")
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON), "--offline"]
    run([*uv, "--no-build-isolation", "--no-deps", "--editable", str(ROOT)], environment)


def run(command: list[str], environment: dict[str, str]) -> None:
    """Runs a step; its own words are on the terminal, so a failure adds one line only."""
    done = subprocess.run(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"setup: this step failed (status {done.returncode}): {' '.join(command)}")


def say(words: str) -> None:
    """One line of progress."""
    print(f"setup: {words}", flush=True)


if __name__ == "__main__":
    main()
