"""How a schedule makes a feature group anew: a version like one that somebody asked for."""

from sqlalchemy.orm import Session

from modelyard.container import Container
from modelyard.database import JsonObject
from modelyard.feature_groups.exports.destinations import check_destination, read_config
from modelyard.feature_groups.exports.exporting import exports_of, start_export
from modelyard.feature_groups.records import UNFINISHED, UNFINISHED_EXPORTS, FeatureGroup, FeatureGroupVersion
from modelyard.feature_groups.requests import request_version
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId, OrganizationId, ProjectId
from modelyard.refresh.records import RefreshType
from modelyard.refresh.targets import Exporting, Progress, Refreshable, Refreshers
from modelyard.settings import Settings

_CONFIG = "featureGroupExportConfig"


def register(parts: Container) -> None:
    """Tells refresh of this room."""

    def start(session: Session, feature_group_id: str) -> str:
        group = session.get_one(FeatureGroup, FeatureGroupId(feature_group_id))
        return request_version(session, parts.get(Settings), group).feature_group_version

    def check_export(session: Session, organization_id: OrganizationId, config: JsonObject) -> None:
        check_destination(session, parts.get(Settings), organization_id, read_config(_CONFIG, config))

    exporting = Exporting(check_export, _export)
    refreshable = Refreshable(_check, _in_project, start, _progress, exporting)
    parts.get(Refreshers).register(RefreshType.FEATUREGROUP, refreshable)


def _check(session: Session, organization_id: OrganizationId, feature_group_id: str) -> None:
    get_feature_group(session, organization_id, FeatureGroupId(feature_group_id))


def _in_project(_session: Session, _project_id: ProjectId) -> list[str]:
    return []  # feature groups belong to the organisation


def _progress(session: Session, feature_group_version: str) -> Progress:
    version = session.get(FeatureGroupVersion, feature_group_version)
    if version is None:
        return Progress(ended=True, error="the feature group was deleted")
    if version.status in UNFINISHED or version.error:
        return Progress(ended=version.status not in UNFINISHED, error=version.error)
    exports = exports_of(session, FeatureGroupVersionId(feature_group_version))
    errors = [f"it could not be exported: {export.error}" for export in exports if export.error]
    is_exporting = any(export.status in UNFINISHED_EXPORTS for export in exports)
    return Progress(ended=not is_exporting, error=errors[0] if errors else None)


def _export(session: Session, feature_group_version: str, config: JsonObject) -> None:
    version = session.get_one(FeatureGroupVersion, feature_group_version)
    start_export(session, version, read_config(_CONFIG, config), is_automatic=True)
