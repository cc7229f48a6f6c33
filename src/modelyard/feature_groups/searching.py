"""Finds groups by words: in names, descriptions, tags and columns, with some room for typing errors.

Every word of the text is compared with the words of the groups (`words.py`): it may be the beginning of one, or differ
by a letter that is missing, wrong, too many or swapped with its neighbour. A name counts more than a column, and a
column more than a description. Scores are between 0 and 1, where 1 is the name itself.

However many groups there are, so many rows are read for each word and no more: those in whose names it stands first. Of
words that more groups have than that, the groups that have two of them are looked for as well.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import msgspec
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from modelyard.feature_groups.records import (
    FeatureGroup,
    FeatureGroupVersion,
    FeatureGroupWord,
    ProjectFeatureGroup,
    VersionStatus,
    WordSpelling,
)
from modelyard.feature_groups.shapes import group_shapes, version_shape
from modelyard.feature_groups.tables import get_feature_groups, newest_versions
from modelyard.feature_groups.wire import SearchResultShape
from modelyard.feature_groups.words import BEGINNING, NAME, shortened, words_of
from modelyard.ids import FeatureGroupId, OrganizationId, ProjectId

#: Words of a text that are looked for, words of groups that each may mean, and words that are considered for that.
MOST_WORDS, MEANINGS, CONSIDERED = 20, 4, 200
#: Groups that are read for one word, and that are compared in the end; more where more are to be shown.
MOST_GROUPS = 200
#: Words that fit worse than this don't fit.
_LEAST = 0.7
#: What a word is worth that another begins with.
_BEGUN = 0.9

Weights = dict[FeatureGroupId, dict[str, float]]


class Among(msgspec.Struct, frozen=True, kw_only=True):
    """Which groups are looked through."""

    project_id: ProjectId | None = None
    feature_group_ids: list[FeatureGroupId] | None = None


def search(
    session: Session, organization_id: OrganizationId, text: str, limit: int, among: Among
) -> list[SearchResultShape]:
    """The likest groups, at most `limit`, the likest first."""
    asked = _Asked(session, organization_id, among, max(MOST_GROUPS, limit))
    best = asked.best(text, limit)
    groups = [session.get_one(FeatureGroup, each) for each in best]
    whole = newest_versions(session, list(best), VersionStatus.COMPLETE)
    return [
        SearchResultShape(
            score=round(best[group.feature_group_id], 4),
            feature_group_context=_context(group, whole.get(group.feature_group_id)),
            feature_group=shape,
            feature_group_version=version_shape(version, group)
            if (version := whole.get(group.feature_group_id))
            else None,
        )
        for group, shape in zip(groups, group_shapes(session, groups), strict=True)
    ]


class _Asked:
    """One search: what is read for it."""

    def __init__(self, session: Session, organization_id: OrganizationId, among: Among, most: int) -> None:
        self._session, self._organization_id, self._most = session, organization_id, most
        self._found: Weights = {}
        #: Words that more groups have than were read.
        self._common: list[str] = []
        self._among = among
        if among.feature_group_ids is not None:
            get_feature_groups(session, organization_id, among.feature_group_ids)

    def best(self, text: str, limit: int) -> dict[FeatureGroupId, float]:
        """Groups and their scores, the best first."""
        wanted = words_of(text)[:MOST_WORDS]
        meanings = [self._meanings(word) for word in wanted]
        for word in dict.fromkeys(word for each in meanings for word in each):
            self._read(word)
        for one, other in list(combinations(self._common, 2))[:MOST_WORDS]:
            self._read_both(one, other)
        if self._common:
            hoped = dict.fromkeys(self._common, NAME)
            best = {
                group: (-_score(meanings, hoped | weights), -_score(meanings, weights))
                for group, weights in self._found.items()
            }
            self._complete(sorted(best, key=best.__getitem__)[: self._most])
        scores = self._scored(meanings)
        scores |= dict.fromkeys(self._named(text), 1.0)
        return self._in_order(scores, limit)

    def _meanings(self, word: str) -> dict[str, float]:
        """Words that groups have -> how like the word they are, the likest."""
        mine = (WordSpelling.organization_id == self._organization_id, WordSpelling.spelling.in_(shortened(word)))
        considered = self._session.scalars(select(WordSpelling.word).where(*mine).distinct().limit(CONSIDERED))
        likeness = {each: _likeness(word, each) for each in considered} | {word: 1.0}
        fitting = sorted((each for each in likeness if likeness[each] > 0), key=lambda each: (-likeness[each], each))
        return {each: likeness[each] for each in fitting[:MEANINGS]}

    def _read(self, word: str) -> None:
        """The groups that have the word, those first where it counts most."""
        query = select(FeatureGroupWord.feature_group_id, FeatureGroupWord.weight).where(*self._having(word))
        order = (FeatureGroupWord.weight.desc(), FeatureGroupWord.feature_group_id.desc())
        rows = self._session.execute(query.order_by(*order).limit(self._most)).all()
        for group, weight in rows:
            self._found.setdefault(group, {})[word] = weight
        if len(rows) == self._most:
            self._common.append(word)

    def _read_both(self, one: str, other: str) -> None:
        """Groups that have both words, of which each is in more groups than were read."""
        second = aliased(FeatureGroupWord)
        same = (second.feature_group_id == FeatureGroupWord.feature_group_id) & (second.word == other)
        query = select(FeatureGroupWord.feature_group_id, FeatureGroupWord.weight, second.weight).join(second, same)
        for group, weight, further in self._session.execute(query.where(*self._having(one)).limit(self._most)):
            self._found.setdefault(group, {}).update({one: weight, other: further})

    def _complete(self, groups: Sequence[FeatureGroupId]) -> None:
        """Reads which of the common words those groups have besides; the others are out of the running."""
        # By an expression of the word, not the word: by its index SQLite would read every group that has it.
        found = FeatureGroupWord.feature_group_id.in_(groups), FeatureGroupWord.word.concat("").in_(self._common)
        rows = select(FeatureGroupWord.feature_group_id, FeatureGroupWord.word, FeatureGroupWord.weight).where(*found)
        self._found = {group: self._found[group] for group in groups}
        for group, word, weight in self._session.execute(rows):
            self._found[group][word] = weight

    def _scored(self, meanings: Sequence[Mapping[str, float]]) -> dict[FeatureGroupId, float]:
        return {group: _score(meanings, weights) for group, weights in self._found.items()}

    def _named(self, text: str) -> Iterable[FeatureGroupId]:
        query = select(FeatureGroup.feature_group_id).where(
            FeatureGroup.organization_id == self._organization_id,
            func.lower(FeatureGroup.table_name) == text.strip().lower(),
            *self._inside(FeatureGroup.feature_group_id),
        )
        return self._session.scalars(query).all()

    def _having(self, word: str) -> list[ColumnElement[bool]]:
        mine = [FeatureGroupWord.organization_id == self._organization_id, FeatureGroupWord.word == word]
        return [*mine, *self._inside(FeatureGroupWord.feature_group_id)]

    def _inside(self, feature_group_id: InstrumentedAttribute[FeatureGroupId]) -> list[ColumnElement[bool]]:
        """That the group is among those that are looked through."""
        asked = self._among
        inside: list[ColumnElement[bool]] = []
        if asked.feature_group_ids is not None:
            inside.append(feature_group_id.in_(asked.feature_group_ids))
        if asked.project_id is not None:
            theirs = select(ProjectFeatureGroup.feature_group_id)
            inside.append(feature_group_id.in_(theirs.where(ProjectFeatureGroup.project_id == asked.project_id)))
        return inside

    def _in_order(self, scores: dict[FeatureGroupId, float], limit: int) -> dict[FeatureGroupId, float]:
        """The best; by their names where several are as good."""
        ranked = sorted((score for score in scores.values() if score > 0), reverse=True)[:limit]
        running = [group for group, score in scores.items() if ranked and score >= ranked[-1]][: self._most * 4]
        rows = select(FeatureGroup.feature_group_id, FeatureGroup.table_name)
        found = self._session.execute(rows.where(FeatureGroup.feature_group_id.in_(running)))
        names = {group: name for group, name in found}  # noqa: C416 - rows are no pairs to mypy
        order = sorted(names, key=lambda group: (-scores[group], names[group]))
        return {group: scores[group] for group in order[:limit]}


def _score(meanings: Sequence[Mapping[str, float]], weights: Mapping[str, float]) -> float:
    """How well a group with those words fits: for each word of the text the best that it has, on the average."""
    best = (max((weights.get(word, 0.0) * like for word, like in each.items()), default=0.0) for each in meanings)
    return sum(best) / max(len(meanings), 1)


def _likeness(word: str, each: str) -> float:
    if each == word:
        return 1.0
    if len(word) >= BEGINNING and each.startswith(word):
        return _BEGUN
    ratio = difflib.SequenceMatcher(None, word, each).ratio()
    return ratio if ratio >= _LEAST else 0.0


def _context(group: FeatureGroup, version: FeatureGroupVersion | None) -> str:
    """The group in a few lines of text."""
    lines = [f"Table {group.table_name} ({group.source_type})"]
    if group.description:
        lines.append(group.description)
    if version is not None:
        lines += [f"- {column.name}: {column.type}" for column in version.manifest.columns[:200]]
    return "\n".join(lines)
