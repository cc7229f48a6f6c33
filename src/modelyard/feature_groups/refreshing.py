"""How a schedule makes a feature group anew: a version like one that somebody asked for."""

from sqlalchemy.orm import Session

from modelyard.container import Container
from modelyard.feature_groups.records import UNFINISHED, FeatureGroup, FeatureGroupVersion
from modelyard.feature_groups.requests import request_version
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import FeatureGroupId, OrganizationId, ProjectId
from modelyard.refresh.records import RefreshType
from modelyard.refresh.targets import Progress, Refreshable, Refreshers
from modelyard.settings import Settings


def register(parts: Container) -> None:
    """Tells refresh of this room."""

    def start(session: Session, feature_group_id: str) -> str:
        group = session.get_one(FeatureGroup, FeatureGroupId(feature_group_id))
        return request_version(session, parts.get(Settings), group).feature_group_version

    parts.get(Refreshers).register(RefreshType.FEATUREGROUP, Refreshable(_check, _in_project, start, _progress))


def _check(session: Session, organization_id: OrganizationId, feature_group_id: str) -> None:
    get_feature_group(session, organization_id, FeatureGroupId(feature_group_id))


def _in_project(_session: Session, _project_id: ProjectId) -> list[str]:
    return []  # feature groups belong to the organisation


def _progress(session: Session, feature_group_version: str) -> Progress:
    version = session.get(FeatureGroupVersion, feature_group_version)
    if version is None:
        return Progress(ended=True, error="the feature group was deleted")
    return Progress(ended=version.status not in UNFINISHED, error=version.error)
