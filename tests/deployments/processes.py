"""How many replicas a deployment has, and which processes of this machine they are."""

import os
from pathlib import Path

from sqlalchemy import func, select

from modelyard.deployments.records import Replica
from tests.yard import Yard


def replicas_of(yard: Yard, deployment_id: str) -> int:
    """How many replicas it has, as the database says."""
    with yard.database.read() as session:
        query = select(func.count()).select_from(Replica).where(Replica.deployment_id == deployment_id)
        return session.scalar(query) or 0


def listeners(path: str) -> list[int]:
    """The processes, other than this one, that hold the socket of that path."""
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    lines = Path("/proc/net/unix").read_text().splitlines()
    inode = next((line.split()[6] for line in lines if line.endswith(path)), "")
    return [pid for pid in everyone if pid != os.getpid() and _holds(pid, f"socket:[{inode}]")]


def _holds(pid: int, name: str) -> bool:
    try:
        return any(link.readlink().name == name for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
