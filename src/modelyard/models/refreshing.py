"""How a refresh policy makes a model anew: by a training of its newest revision on its newest tables."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.container import Container
from modelyard.ids import ModelId, ModelVersionId, OrganizationId, ProjectId
from modelyard.models.records import ENDED, Model, ModelVersion
from modelyard.models.retrain import start_training
from modelyard.models.versions import get_model
from modelyard.refresh.records import RefreshType
from modelyard.refresh.targets import Progress, Refreshable, Refreshers
from modelyard.settings import Settings


def register(parts: Container) -> None:
    """Tells refresh how models are made anew."""

    def start(session: Session, target_id: str) -> str:
        return start_training(session, parts.get(Settings), ModelId(target_id)).model_version

    parts.get(Refreshers).register(RefreshType.MODEL, Refreshable(_check, _in_project, start, _progress))


def _check(session: Session, organization_id: OrganizationId, target_id: str) -> None:
    get_model(session, organization_id, ModelId(target_id))


def _in_project(session: Session, project_id: ProjectId) -> list[str]:
    query = select(Model.model_id).where(Model.project_id == project_id).order_by(Model.created_at, Model.model_id)
    return [str(model_id) for model_id in session.scalars(query)]


def _progress(session: Session, version_id: str) -> Progress:
    version = session.get(ModelVersion, ModelVersionId(version_id))
    if version is None:
        return Progress(ended=True, error="the model version was deleted")
    return Progress(version.status in ENDED, version.error)
