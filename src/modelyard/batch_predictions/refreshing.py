"""How a refresh policy starts a batch prediction anew: by a version like one that somebody asked for."""

from sqlalchemy.orm import Session

from modelyard.batch_predictions.changing import in_project
from modelyard.batch_predictions.records import ENDED, BatchPredictionVersion
from modelyard.batch_predictions.starting import get_batch_prediction, start
from modelyard.container import Container
from modelyard.ids import BatchPredictionId, BatchPredictionVersionId, OrganizationId, ProjectId
from modelyard.refresh.records import RefreshType
from modelyard.refresh.targets import Progress, Refreshable, Refreshers
from modelyard.settings import Settings


def register(parts: Container) -> None:
    """Tells refresh how batch predictions are started anew."""

    def begin(session: Session, target_id: str) -> str:
        return start(session, parts.get(Settings), BatchPredictionId(target_id)).batch_prediction_version

    parts.get(Refreshers).register(RefreshType.BATCHPRED, Refreshable(_check, _in_project, begin, _progress))


def _check(session: Session, organization_id: OrganizationId, target_id: str) -> None:
    get_batch_prediction(session, organization_id, BatchPredictionId(target_id))


def _in_project(session: Session, project_id: ProjectId) -> list[str]:
    return [str(each) for each in in_project(session, project_id)]


def _progress(session: Session, version_id: str) -> Progress:
    version = session.get(BatchPredictionVersion, BatchPredictionVersionId(version_id), populate_existing=True)
    if version is None:
        return Progress(ended=True, error="the batch prediction was deleted")
    return Progress(version.status in ENDED, version.error)
