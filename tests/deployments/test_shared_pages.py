"""Replicas of one version share the pages of its model's arrays, until one writes into them."""

import re
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from modelyard.deployments.records import Replica, ReplicaState
from modelyard.ids import DeploymentId, ModelVersionId
from modelyard.models.records import ModelVersion
from tests.deployments.conftest import Workshop
from tests.deployments.processes import listeners
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

MIB = 1024**2
SOURCE = """
import uuid
name = str(uuid.uuid4())

def train():
    return None

def initialize(model):
    model["written"][0] = 7.0
    return model

def predict(model, query):
    return name, model["weights"].sum(), model["written"][:2].tolist()
"""


def test_replicas_share_the_arrays_of_their_model(shared_yard: Yard, workshop: Workshop) -> None:
    model = {"weights": np.ones(4 * MIB), "written": np.zeros(MIB)}  # 32 and 8 MiB
    version = workshop.make_version(SOURCE, artifact=model, initialize=True)
    deployment_id = workshop.deploy(version)
    options = {"minReplicas": 2, "maxReplicas": 2}
    shared_yard.call("setDeploymentOptions", "PATCH", deploymentId=deployment_id, options=options)
    client, token = shared_yard.client(), workshop.token()
    names = set[str]()

    def both_answered() -> bool:
        name, total, written = client.predict(token, deployment_id, {})
        names.add(name)
        assert (total, written) == (4 * MIB, [7.0, 0.0])
        return len(names) == 2

    wait_until(both_answered, 30)
    for pid in _processes(shared_yard, deployment_id):
        shared, private = _pages(pid, _digest(shared_yard, version))
        assert shared >= 32 * MIB
        assert 0 < private <= MIB  # what `initialize` wrote


def _processes(yard: Yard, deployment_id: str) -> list[int]:
    with yard.database.read() as session:
        of_it = (Replica.deployment_id == DeploymentId(deployment_id), Replica.state == ReplicaState.READY)
        sockets = session.scalars(select(Replica.socket).where(*of_it)).all()
    found = [pid for path in sockets for pid in listeners(path)]
    assert len(found) == 2
    return found


def _digest(yard: Yard, version: ModelVersionId) -> str:
    with yard.database.read() as session:
        return str(session.get_one(ModelVersion, version).artifact_digest)


def _pages(pid: int, digest: str) -> tuple[int, int]:
    """Bytes of the mapped artifact that the process shares, and that it has for itself."""
    sizes = {"Shared": 0, "Private": 0}
    ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-", line):
            ours = digest[2:] in line
        elif ours and (found := re.match(r"(Shared|Private)_\w+: +(\d+) kB", line)):
            sizes[found[1]] += int(found[2]) * 1024
    return sizes["Shared"], sizes["Private"]
