"""What `modelyard doctor` looks at: each check gives findings, and a finding that is not well says how to mend it."""

import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from uv import find_uv_bin

from modelyard.cli.address import check_exposure
from modelyard.cli.failure import CommandFailed
from modelyard.database import Database
from modelyard.execution.agent import capacity_of
from modelyard.sandbox import GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.settings import Settings

GIB = 1024**3
#: A Unix socket's whole path may have 107 bytes; ours need about so many below the home.
SOCKET_PATH, BELOW_HOME = 107, 50


class State(StrEnum):
    """How a finding stands."""

    #: Works.
    WELL = "ok"
    #: Works with a limit that is worth knowing.
    LIMITED = "limited"
    #: Something required does not work.
    BROKEN = "broken"


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    state: State
    words: str
    mend: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """All checks, one after the other."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        check_python, check_home, check_disk, check_database, check_uv, check_sandbox, check_limits, check_address,
        check_client,
    )  # fmt: skip
    for check in checks:
        yield from check(settings)


def check_python(_: Settings) -> Iterator[Finding]:
    """The interpreter, and the system beneath it."""
    words = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"
    if sys.platform == "linux":
        yield Finding("python", State.WELL, words)
    else:
        yield Finding(
            "python", State.BROKEN, words, "the server runs on Linux; use it in a virtual machine or container"
        )


def check_home(settings: Settings) -> Iterator[Finding]:
    """Whether state can be kept."""
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = home / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        yield Finding("home", State.BROKEN, f"{home}: {error.strerror}", "set MODELYARD_HOME to a folder of your own")
        return
    if len(os.fsencode(home)) > SOCKET_PATH - BELOW_HOME:
        mend = "set MODELYARD_HOME to a shorter path: the names of Unix sockets may have 107 bytes"
        yield Finding("home", State.BROKEN, f"{home} has {len(os.fsencode(home))} bytes", mend)
    elif home.stat().st_mode & 0o077:
        mend = f"keep it to yourself: chmod 700 {home}"
        yield Finding("home", State.LIMITED, f"{home} can be entered by other users", mend)
    else:
        yield Finding("home", State.WELL, str(home))


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Room for environments, tables and models."""
    for what, folder in (("disk", settings.home), ("cache", settings.cache_dir)):
        free = shutil.disk_usage(_nearest(folder)).free / GIB
        state = State.WELL if free >= 5 else State.LIMITED if free >= 1 else State.BROKEN
        mend = (
            "" if free >= 5 else "make room: an environment takes 0.5 GiB and more, each table and model its own size"
        )
        yield Finding(what, state, f"{free:.1f} GiB free for {folder}", mend)


def check_database(settings: Settings) -> Iterator[Finding]:
    """Whether the database answers."""
    if not settings.database_url and not (settings.home / "modelyard.db").exists():
        yield Finding("database", State.WELL, "SQLite, made at the first start")
        return
    mend = "check MODELYARD_DATABASE_URL and that the server runs" if settings.database_url else "see the message"
    try:
        database = Database(settings.url)
        with closing(database):
            database.check()
            yield Finding("database", State.WELL, f"{database.engine.dialect.name} answers")
    except (SQLAlchemyError, ValueError) as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        yield Finding("database", State.BROKEN, words, mend)


def check_uv(_: Settings) -> Iterator[Finding]:
    """The tool that builds environments."""
    try:
        uv = find_uv_bin()
        version = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("uv", State.BROKEN, str(error), "install it into this environment: pip install uv")
        return
    yield Finding("uv", State.WELL, f"{version.strip().removeprefix('uv ')} at {uv}")


def check_sandbox(settings: Settings) -> Iterator[Finding]:
    """Starts a program behind the walls, and says what they are made of."""
    with closing(Sandbox(settings)) as sandbox:
        report = sandbox.report()
        if not report.usable:
            yield Finding("sandbox", State.BROKEN, "user code can't be walled in here", report.advice)
            return
        try:
            error = sandbox.command(["/bin/true"], Limits(timeout_s=20), name="doctor")
        except (SandboxUnavailable, GuestNotStarted) as failed:
            yield Finding("sandbox", State.BROKEN, str(failed), report.advice)
            return
    if error is not None:
        yield Finding("sandbox", State.BROKEN, error.sentence, report.advice)
    elif not report.walled:
        mend = "unset MODELYARD_SANDBOX, unless all user code is your own"
        yield Finding("sandbox", State.LIMITED, "OFF: user code can read all that this user can", mend)
    else:
        yield Finding("sandbox", State.WELL, f"{report.mode}, {report.bubblewrap}")
    filtered = report.seccomp and report.walled
    mend = "" if filtered else "this processor architecture is not known to the filter; the other walls stand"
    yield Finding(
        "system calls", State.WELL if filtered else State.LIMITED, "filtered" if filtered else "not filtered", mend
    )
    controllers = (
        f"control groups {report.cgroups}: {', '.join(report.controllers)}" if report.cgroups else "a watchdog"
    )
    well = not report.reasons
    yield Finding("guest limits", State.WELL if well else State.LIMITED, controllers, "; ".join(report.reasons))


def check_limits(settings: Settings) -> Iterator[Finding]:
    """What the agent may hand out, and this user's own limits."""
    cores, memory_gib, gpus = capacity_of(settings)
    words = f"{cores:g} cores, {memory_gib:.1f} GiB, {gpus} GPUs for runs"
    mend = "" if memory_gib >= 2 else "trainings with pandas need 1 GiB and more"
    yield Finding("machine", State.LIMITED if mend else State.WELL, words, mend)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    mend = "" if files >= 1024 or files < 0 else "allow more: ulimit -n 4096"
    yield Finding("open files", State.LIMITED if mend else State.WELL, f"{files} at a time", mend)


def check_address(settings: Settings) -> Iterator[Finding]:
    """Who can reach the server."""
    try:
        check_exposure(settings)
    except CommandFailed as error:
        yield Finding("address", State.BROKEN, f"{settings.host}:{settings.port}", str(error))
        return
    yield Finding("address", State.WELL, settings.base_url)


def check_client(_: Settings) -> Iterator[Finding]:
    """The official client, which the server itself doesn't need."""
    try:
        yield Finding("client", State.WELL, f"abacusai {importlib.metadata.version('abacusai')}")
    except importlib.metadata.PackageNotFoundError:
        mend = "`modelyard demo` needs it: pip install abacusai==1.4.119"
        yield Finding("client", State.LIMITED, "abacusai is not installed", mend)


def _nearest(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())
