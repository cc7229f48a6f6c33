"""Whether tables and modules of a trained version are still the newest: what makes a new training worth its while."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from modelyard.feature_groups.records import VersionStatus
from modelyard.feature_groups.staleness import find_outdated
from modelyard.feature_groups.tables import newest_versions
from modelyard.ids import FeatureGroupId, ModelId, ModelVersionId, OrganizationId
from modelyard.models.records import ModelRevision, ModelVersion
from modelyard.source_code.pins import Modules, Pins


def find_stale(
    session: Session, versions: Sequence[ModelVersion], heads: Mapping[ModelId, ModelRevision]
) -> set[ModelVersionId]:
    """Those of the versions that would be trained on other rows or with other modules now. `heads`: of their models."""
    return _with_other_rows(session, versions) | _with_other_modules(session, versions, heads)


def _with_other_rows(session: Session, versions: Sequence[ModelVersion]) -> set[ModelVersionId]:
    """Where a table has a newer version, or could have."""
    groups = list({FeatureGroupId(each) for version in versions for each in version.feature_group_ids})
    if not groups:
        return set()
    outdated = find_outdated(session, groups)
    newest = newest_versions(session, groups, VersionStatus.COMPLETE)
    newest_ids = {group: found.feature_group_version for group, found in newest.items()}
    return {version.model_version for version in versions if _is_stale(version, outdated, newest_ids)}


def _with_other_modules(
    session: Session, versions: Sequence[ModelVersion], heads: Mapping[ModelId, ModelRevision]
) -> set[ModelVersionId]:
    known: dict[OrganizationId, Modules] = {}
    changed = set()
    for each in versions:
        modules = known.setdefault(each.organization_id, Modules(session, each.organization_id))
        now = modules.pins(heads[each.model_id].module_dependencies)
        if now.modules != Pins.of(each.module_pins).modules:
            changed.add(each.model_version)
    return changed


def _is_stale(version: ModelVersion, outdated: set[FeatureGroupId], newest: Mapping[FeatureGroupId, str]) -> bool:
    groups = [FeatureGroupId(each) for each in version.feature_group_ids]
    current = [newest.get(group) for group in groups]
    return bool(outdated.intersection(groups)) or current != list(version.feature_group_versions or [])
