"""Finds groups by words: in names, descriptions, tags and columns, with some room for typing errors.

Every word of the text is compared with the words of a group; a name counts more than a column, and a column more than
a description. Scores are between 0 and 1, where 1 is the name itself. Names of the organisation are all looked through,
newest first, up to a bound; the columns of those that are shown are read, nothing else.
"""

import difflib
import re
from collections.abc import Iterable

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, ProjectFeatureGroup, VersionStatus
from modelyard.feature_groups.shapes import group_shapes, version_shape
from modelyard.feature_groups.tables import get_feature_groups, newest_versions
from modelyard.feature_groups.wire import SearchResultShape
from modelyard.ids import FeatureGroupId, OrganizationId, ProjectId

#: Groups that are looked through.
MOST_GROUPS = 10_000
#: Words that fit worse than this don't fit.
_LEAST = 0.7
_WORD = re.compile(r"[^\W_]+")


class Among(msgspec.Struct, frozen=True, kw_only=True):
    """Which groups are looked through."""

    project_id: ProjectId | None = None
    feature_group_ids: list[FeatureGroupId] | None = None


def search(
    session: Session, organization_id: OrganizationId, text: str, limit: int, among: Among
) -> list[SearchResultShape]:
    """The likest groups, at most `limit`, the likest first."""
    wanted = _words(text)[:20]
    groups = _groups(session, organization_id, among)
    whole = newest_versions(session, [group.feature_group_id for group in groups], VersionStatus.COMPLETE)
    scored = [(_score(wanted, text, group, whole.get(group.feature_group_id)), group) for group in groups]
    best = sorted((each for each in scored if each[0] > 0), key=lambda each: (-each[0], each[1].table_name))[:limit]
    shapes = group_shapes(session, [group for _, group in best])
    return [
        SearchResultShape(
            score=round(score, 4),
            feature_group_context=_context(group, whole.get(group.feature_group_id)),
            feature_group=shape,
            feature_group_version=version_shape(version, group)
            if (version := whole.get(group.feature_group_id))
            else None,
        )
        for (score, group), shape in zip(best, shapes, strict=True)
    ]


def _groups(session: Session, organization_id: OrganizationId, among: Among) -> list[FeatureGroup]:
    if among.feature_group_ids is not None:
        groups = get_feature_groups(session, organization_id, among.feature_group_ids)
        if among.project_id is None:
            return groups
    query = select(FeatureGroup).where(FeatureGroup.organization_id == organization_id)
    if among.feature_group_ids is not None:
        query = query.where(FeatureGroup.feature_group_id.in_(among.feature_group_ids))
    if among.project_id is not None:
        inside = select(ProjectFeatureGroup.feature_group_id).where(ProjectFeatureGroup.project_id == among.project_id)
        query = query.where(FeatureGroup.feature_group_id.in_(inside))
    return list(session.scalars(query.order_by(FeatureGroup.created_at.desc()).limit(MOST_GROUPS)))


def _score(wanted: list[str], text: str, group: FeatureGroup, version: FeatureGroupVersion | None) -> float:
    if group.table_name.lower() == text.strip().lower():
        return 1.0
    if not wanted:
        return 0.0
    columns = [column.name for column in version.manifest.columns] if version is not None else []
    fields = (
        (0.9, _words(group.table_name, *group.tags)),
        (0.6, _words(*columns)),
        (0.4, _words(group.description or "")),
    )
    return sum(max(weight * _likeness(word, words) for weight, words in fields) for word in wanted) / len(wanted)


def _likeness(word: str, words: Iterable[str]) -> float:
    best = 0.0
    for each in set(words):
        if each == word:
            return 1.0
        if len(word) > 2 and each.startswith(word):
            best = max(best, 0.9)
        elif abs(len(each) - len(word)) <= 3:
            matcher = difflib.SequenceMatcher(None, word, each)
            if matcher.real_quick_ratio() > _LEAST and matcher.quick_ratio() > _LEAST:
                best = max(best, matcher.ratio())
    return best if best >= _LEAST else 0.0


def _words(*texts: str) -> list[str]:
    return [word for text in texts for word in _WORD.findall(text.lower())]


def _context(group: FeatureGroup, version: FeatureGroupVersion | None) -> str:
    """The group in a few lines of text."""
    lines = [f"Table {group.table_name} ({group.source_type})"]
    if group.description:
        lines.append(group.description)
    if version is not None:
        lines += [f"- {column.name}: {column.type}" for column in version.manifest.columns[:200]]
    return "\n".join(lines)
