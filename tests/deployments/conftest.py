"""A house with model versions that are complete from the start: what `train` would have returned is put there."""

import hashlib
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.accounts.records import Organization
from modelyard.clock import utc_now
from modelyard.container import Container
from modelyard.database import Database
from modelyard.environments import Environments
from modelyard.ids import (
    Digest,
    ModelId,
    ModelVersionId,
    OrganizationId,
    ProjectId,
    RevisionId,
    RunId,
    UserId,
    new_id,
)
from modelyard.models.records import Model, ModelRevision, ModelText, ModelVersion, VersionStatus
from modelyard.sandbox import Sandbox
from modelyard.sandbox.guest import artifacts
from modelyard.settings import Settings
from modelyard.storage.blobs import BlobStore
from tests.conftest import shared_cache
from tests.yard import Yard

ECHO = "def train():\n    return 1\n\ndef predict(model, query):\n    return {'model': model, 'query': query}\n"


@dataclass
class Workshop:
    """Makes projects, models and complete versions in a house, and deploys them."""

    database: Database
    settings: Settings
    organization_id: OrganizationId
    lock: str
    yard: Yard
    project_id: ProjectId

    def make_model(self) -> ModelId:
        model_id = ModelId(new_id())
        with self.database.write() as session:
            session.add(
                Model(
                    model_id=model_id, organization_id=self.organization_id, project_id=self.project_id,
                    name="Strength", is_python_model=True, prediction_config={}, head=0, versions=0,
                    created_by=UserId("test"), created_at=utc_now(),
                )
            )  # fmt: skip
        return model_id

    def make_version(
        self, source: str = ECHO, *, model_id: ModelId | None = None, artifact: object = 1, thread_safe: bool = False,
        initialize: bool = False, predict_many: bool = False, metrics: dict[str, Any] | None = None,
        memory_gib: int | None = None, status: VersionStatus = VersionStatus.COMPLETE,
    ) -> ModelVersionId:  # fmt: skip
        """A version as training leaves it."""
        model_id = model_id or self.make_model()
        file = self.settings.home / f"{new_id()}.pickle"
        artifacts.dump(artifact, str(file), pickle.Pickler)
        blob = BlobStore(self.settings.home / "blobs").put_bytes(file.read_bytes())
        file.unlink()
        version, revision_id = ModelVersionId(new_id()), RevisionId(new_id())
        with self.database.write() as session:
            model = session.get_one(Model, model_id)
            model.head, model.versions = model.head + 1, model.versions + 1
            digests = [_keep_text(session, text) for text in (source, self.lock)]
            session.flush()
            session.add(
                ModelRevision(
                    revision_id=revision_id, model_id=model_id, number=model.head, source_digest=digests[0],
                    source_size=len(source), train_function_name="train", predict_function_name="predict",
                    predict_many_function_name="predict_many" if predict_many else None,
                    initialize_function_name="initialize" if initialize else None, training_input_tables=[],
                    feature_group_ids=[], cpu_size=None, memory_gib=memory_gib, use_gpu=False,
                    is_thread_safe=thread_safe, package_requirements=[], inferred_requirements=[],
                    module_dependencies=[], publishing_msg={}, training_config=None, fingerprint=digests[0],
                    notebook_id=None, created_by=UserId("test"), created_at=utc_now(),
                )
            )  # fmt: skip
            session.flush()
            complete = status == VersionStatus.COMPLETE
            session.add(
                ModelVersion(
                    model_version=version, model_id=model_id, organization_id=self.organization_id,
                    project_id=model.project_id, number=model.versions, revision_id=revision_id, run_id=RunId("none"),
                    status=status, training_input_tables=[], feature_group_ids=[], cpu_size=None,
                    memory_gib=memory_gib, use_gpu=False, training_config=None, fingerprint=digests[0],
                    lock_digest=digests[1], artifact_digest=blob.digest if complete else None,
                    artifact_size=blob.size if complete else None, metrics=metrics,
                    pending_deployment_ids=[], failed_deployment_ids=[], created_at=utc_now(),
                )
            )  # fmt: skip
            model.latest_version = version
            if complete:
                model.trained_version = version
        return version

    def deploy(self, version: ModelVersionId, **parameters: Any) -> str:
        """The id of an ACTIVE deployment."""
        deployment_id = self.yard.call("createDeployment", modelVersion=version, **parameters)["deploymentId"]
        found = self.wait(deployment_id)
        assert found["status"] == "ACTIVE", found["error"]
        return str(deployment_id)

    def wait(self, deployment_id: str, done: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
        """The deployment as soon as it is `done` (default: it is neither PENDING nor DEPLOYING)."""
        done = done or (lambda found: found["status"] not in ("PENDING", "DEPLOYING"))
        deadline = time.monotonic() + 60
        while True:
            found: dict[str, Any] = self.yard.call("describeDeployment", "GET", deploymentId=deployment_id)
            if done(found):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def token(self) -> str:
        return str(self.yard.call("createDeploymentToken", projectId=self.project_id)["deploymentToken"])


def _keep_text(session: Session, text: str) -> Digest:
    digest = Digest(hashlib.sha256(text.encode()).hexdigest())
    session.merge(ModelText(digest=digest, content=text.encode()))
    return digest


@pytest.fixture(scope="session")
def base_lock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lock of the base environment, which is built if it has not been."""
    settings = Settings.load({}, home=tmp_path_factory.mktemp("home"), cache=shared_cache())
    parts = Container()
    sandbox = parts.add(Sandbox(settings))
    lock = Environments(settings, sandbox).base().lock
    sandbox.close()
    return lock


def open_workshop(yard: Yard, lock: str) -> Workshop:
    with yard.database.read() as session:
        organization_id = session.scalars(select(Organization.organization_id)).one()
    project_id = ProjectId(yard.call("createProject", name="Concrete", useCase="PYTHON_MODEL")["projectId"])
    return Workshop(yard.database, yard.settings, organization_id, lock, yard, project_id)


@pytest.fixture(scope="module")
def workshop(shared_yard: Yard, base_lock: str) -> Workshop:
    """A workshop in one house for all tests of a module."""
    return open_workshop(shared_yard, base_lock)


@pytest.fixture
def own_workshop(yard: Yard, base_lock: str) -> Workshop:
    """A workshop in a house of the test's own."""
    return open_workshop(yard, base_lock)
