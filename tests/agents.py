"""Agents in processes of their own, so that they can be killed."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelyard.settings import Settings


@contextmanager
def agent_process(
    settings: Settings, command: Sequence[str] = ("modelyard", "agent")
) -> Iterator[subprocess.Popen[bytes]]:
    """An agent of that house, killed at the end if it still lives. `command` is a module and its arguments."""
    variables = {
        "MODELYARD_HOME": str(settings.home),
        "MODELYARD_CACHE": str(settings.cache),
        "MODELYARD_POLL_S": "0.1",
        "MODELYARD_RUN_ATTEMPTS": str(settings.run_attempts),
    }
    opened = {
        "ALLOWED_NETWORKS": settings.allowed_networks,
        "FILE_ROOTS": settings.file_roots,
        "FILE_WRITE_ROOTS": settings.file_write_roots,
    }
    variables |= {f"MODELYARD_{name}": ":".join(map(str, each)) for name, each in opened.items() if each}
    process = subprocess.Popen([sys.executable, "-m", *command], env=os.environ | variables, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def guest_processes(home: Path) -> dict[int, str]:
    """Process -> command line of the guests that belong to that house."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in line and "bwrap" in line:
            found[int(entry.parent.name)] = line
    return found


def guests(home: Path) -> list[str]:
    """Their command lines alone."""
    return list(guest_processes(home).values())
