"""The words by which groups are found: of their names, tags, descriptions and columns, kept as groups are written.

A table of our own, since the full texts of SQLite and PostgreSQL speak differently and neither forgives typing errors:
one row a word of a group with its weight, and for each word of an organisation its spellings, which are its beginnings
and itself with one letter left out. Two words that differ by a letter that is missing, wrong, too many or swapped share
a spelling, so the words like a given one are found by looking up few rows, however many there are.

The mapper tells of every group and version that is written; nobody has to think of it. `searching.py` reads.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, event, insert, inspect, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapper

from modelyard.feature_groups.records import (
    FeatureGroup,
    FeatureGroupVersion,
    FeatureGroupWord,
    VersionStatus,
    WordSpelling,
)
from modelyard.ids import FeatureGroupId, OrganizationId
from modelyard.storage import Table

#: What a word counts that stands in a name or a tag, as a column, in a description.
NAME, COLUMN, DESCRIPTION = 0.9, 0.6, 0.4
#: Words of one group that are kept, those of its name first and those of its last columns last.
MOST_WORDS = 500
#: Letters of a word that are looked at; the fewest of one that may be spelt otherwise; of a beginning.
LONGEST, SPELT, BEGINNING = 64, 4, 3
_AT_ONCE = 500
T = TypeVar("T")
_WORD = re.compile(r"[^\W_]+")
_SPELL = {
    "postgresql": postgresql.insert(WordSpelling.__table__).on_conflict_do_nothing(),  # type: ignore[arg-type]
    "sqlite": sqlite.insert(WordSpelling.__table__).on_conflict_do_nothing(),  # type: ignore[arg-type]
}


def words_of(*texts: str) -> list[str]:
    """The words of the texts in small letters, each once, in their order."""
    found = (word[:LONGEST] for text in texts for word in _WORD.findall(text.lower()))
    return list(dict.fromkeys(found))


def spellings_of(word: str) -> set[str]:
    """What the word is filed under: itself, its beginnings, itself less any one letter; a number under itself alone."""
    return {word} if word.isdigit() else shortened(word) | {word[:end] for end in range(BEGINNING, len(word))}


def shortened(word: str) -> set[str]:
    """The word, and what it is without any one of its letters."""
    if len(word) < SPELT:
        return {word}
    return {word} | {word[:at] + word[at + 1 :] for at in range(len(word))}


@event.listens_for(FeatureGroup, "after_insert")
def _group_made(_: Mapper[FeatureGroup], connection: Connection, group: FeatureGroup) -> None:
    _write(connection, group.feature_group_id, ())


@event.listens_for(FeatureGroup, "after_update")
def _group_changed(_: Mapper[FeatureGroup], connection: Connection, group: FeatureGroup) -> None:
    attributes = inspect(group).attrs
    if any(attributes[name].history.has_changes() for name in ("table_name", "tags", "description")):
        whole = (
            FeatureGroupVersion.status == VersionStatus.COMPLETE,
            *_of(FeatureGroupVersion, group.feature_group_id),
        )
        newest = select(FeatureGroupVersion.table).where(*whole).order_by(FeatureGroupVersion.number.desc()).limit(1)
        table = connection.scalar(newest)
        _write(connection, group.feature_group_id, _columns(table) if table is not None else ())


@event.listens_for(FeatureGroup, "before_delete")
def _group_deleted(_: Mapper[FeatureGroup], connection: Connection, group: FeatureGroup) -> None:
    kept = _kept(connection, group.feature_group_id)
    _remove(connection, group.organization_id, group.feature_group_id, list(kept))


@event.listens_for(FeatureGroupVersion, "after_insert")
@event.listens_for(FeatureGroupVersion, "after_update")
def _version_written(_: Mapper[FeatureGroupVersion], connection: Connection, version: FeatureGroupVersion) -> None:
    if version.status == VersionStatus.COMPLETE and inspect(version).attrs.status.history.has_changes():
        _write(connection, version.feature_group_id, _columns(version.table))


def _columns(table: object) -> list[str]:
    return [column.name for column in msgspec.convert(table, Table).columns]


def _write(connection: Connection, feature_group_id: FeatureGroupId, columns: Sequence[str]) -> None:
    """Has the group be found by what it says of itself now; writes what differs from before, nothing else."""
    said = select(FeatureGroup.organization_id, FeatureGroup.table_name, FeatureGroup.tags, FeatureGroup.description)
    group = connection.execute(said.where(*_of(FeatureGroup, feature_group_id))).one_or_none()
    if group is None:
        return
    wanted = group_words(group.table_name, group.tags, group.description, columns)
    kept = _kept(connection, feature_group_id)
    gone = [word for word, weight in kept.items() if wanted.get(word) != weight]
    _remove(connection, group.organization_id, feature_group_id, gone)
    added = [word for word, weight in wanted.items() if kept.get(word) != weight]
    add_words(connection, group.organization_id, {feature_group_id: {word: wanted[word] for word in added}})


def group_words(
    table_name: str, tags: Sequence[str], description: str | None, columns: Sequence[str]
) -> dict[str, float]:
    """The words by which a group is found, with their weights; a word in several places counts where it counts most."""
    fields = (
        (NAME, words_of(table_name, *tags)),
        (DESCRIPTION, words_of(description or "")),
        (COLUMN, words_of(*columns)),
    )
    found: dict[str, float] = {}
    for weight, words in fields:
        for word in words:
            if word in found or len(found) < MOST_WORDS:
                found[word] = max(weight, found.get(word, 0.0))
    return found


def add_words(
    connection: Connection, organization_id: OrganizationId, groups: Mapping[FeatureGroupId, Mapping[str, float]]
) -> None:
    """Keeps words of groups that have not got them, and the spellings of those that the organisation hasn't had."""
    rows = [
        {"feature_group_id": group, "word": word, "organization_id": organization_id, "weight": words[word]}
        for group, words in groups.items()
        for word in sorted(words)
    ]
    if not rows:
        return
    connection.execute(insert(FeatureGroupWord), rows)
    # Sorted, so that two who write the same words at once wait for each other in the same order.
    words = sorted({word for each in groups.values() for word in each})
    for some in _batches(words):
        filed = (WordSpelling.organization_id == organization_id, WordSpelling.spelling.in_(some))
        known = set(
            connection.scalars(select(WordSpelling.word).where(*filed, WordSpelling.word == WordSpelling.spelling))
        )
        spelt = [
            {"organization_id": organization_id, "spelling": spelling, "word": word}
            for word in some
            if word not in known
            for spelling in sorted(spellings_of(word))
        ]
        if spelt:
            connection.execute(_SPELL[connection.dialect.name], spelt)


def _kept(connection: Connection, feature_group_id: FeatureGroupId) -> dict[str, float]:
    mine = select(FeatureGroupWord.word, FeatureGroupWord.weight).where(*_of(FeatureGroupWord, feature_group_id))
    return {word: weight for word, weight in connection.execute(mine)}  # noqa: C416 - rows are no pairs to mypy


def _remove(
    connection: Connection, organization_id: OrganizationId, feature_group_id: FeatureGroupId, words: Sequence[str]
) -> None:
    """Takes words from the group, and their spellings where no other group of the organisation has them."""
    for some in _batches(words):
        connection.execute(
            delete(FeatureGroupWord).where(*_of(FeatureGroupWord, feature_group_id), FeatureGroupWord.word.in_(some))
        )
        elsewhere = (FeatureGroupWord.organization_id == organization_id, FeatureGroupWord.word.in_(some))
        used = set(connection.scalars(select(FeatureGroupWord.word).where(*elsewhere).distinct()))
        spellings = [(spelling, word) for word in some if word not in used for spelling in spellings_of(word)]
        for few in _batches(spellings):
            filed = tuple_(WordSpelling.spelling, WordSpelling.word).in_(few)
            connection.execute(delete(WordSpelling).where(WordSpelling.organization_id == organization_id, filed))


def _of(
    record: type[FeatureGroup | FeatureGroupVersion | FeatureGroupWord], feature_group_id: FeatureGroupId
) -> tuple[ColumnElement[bool]]:
    return (record.feature_group_id == feature_group_id,)


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    return (things[at : at + _AT_ONCE] for at in range(0, len(things), _AT_ONCE))
