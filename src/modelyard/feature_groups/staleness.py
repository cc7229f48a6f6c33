"""What is out of date: a group whose definition, code, or anything above it, changed since its newest complete version.

Asked for many groups at once (lists) it takes a handful of queries, however many groups there are and stand above them;
of versions it reads what it compares, not what is in them.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.feature_groups.functions.code import Code
from modelyard.feature_groups.lineage import ancestors, in_order
from modelyard.feature_groups.online.groups import online_table_of
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, VersionStatus
from modelyard.feature_groups.tables import newest_versions
from modelyard.ids import FeatureGroupId
from modelyard.online_rows.tables import last_changes
from modelyard.source_code.pins import Pins

_COMPARED = (FeatureGroupVersion.definition_digest, FeatureGroupVersion.parents, FeatureGroupVersion.pins)


def is_outdated(session: Session, group: FeatureGroup) -> bool:
    """Whether materialising the group now could give other rows than its newest complete version has.

    A group without a complete version is outdated: there is nothing that it could be up to date with.
    """
    return group.feature_group_id in find_outdated(session, [group.feature_group_id])


def find_outdated(session: Session, feature_group_ids: Sequence[FeatureGroupId]) -> set[FeatureGroupId]:
    """Those of the groups, and of all that they read, that are outdated."""
    edges = ancestors(session, feature_group_ids)
    newest = newest_versions(session, list(edges), VersionStatus.COMPLETE, only=_COMPARED)
    groups = session.scalars(select(FeatureGroup).where(FeatureGroup.feature_group_id.in_(edges)))
    by_id = {group.feature_group_id: group for group in groups}
    code = Code(session, list(by_id.values()))
    outdated = _written_since(session, by_id, newest)
    for each in in_order(edges):
        if each in by_id and _has_changed(by_id[each], newest, edges[each], outdated, code):
            outdated.add(each)
    return outdated


def _written_since(
    session: Session,
    groups: Mapping[FeatureGroupId, FeatureGroup],
    newest: Mapping[FeatureGroupId, FeatureGroupVersion],
) -> set[FeatureGroupId]:
    """Those of the ONLINE groups whose rows have changed since their newest version."""
    tables = {each: table_id for each, group in groups.items() if (table_id := online_table_of(group)) is not None}
    changes = last_changes(session, list(tables.values()))
    return {
        each
        for each, table_id in tables.items()
        if each not in newest or newest[each].online_change != changes.get(table_id)
    }


def _has_changed(
    group: FeatureGroup,
    newest: dict[FeatureGroupId, FeatureGroupVersion],
    parents: Iterable[FeatureGroupId],
    outdated: set[FeatureGroupId],
    code: Code,
) -> bool:
    version = newest.get(group.feature_group_id)
    if version is None:
        return True
    if group.is_given:
        return False  # their versions are told to us as they come
    if version.definition_digest != group.definition_digest or outdated.intersection(parents):
        return True
    if Pins.of(version.pins) != code.pins(group):
        return True
    return (version.parents or {}) != {
        parent: newest[parent].feature_group_version for parent in parents if parent in newest
    }
