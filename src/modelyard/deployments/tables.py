"""Feature groups as deployments serve them: which version, and by which columns its rows are looked up.

A group is looked up by its primary key or its lookup keys (setFeatureGroupIndexingConfig), as they are when a version
comes up. A group whose rows are online has no version here: `online_lookups.py` finds its rows where they are written.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelyard.errors import ConflictError, NotReadyError
from modelyard.feature_groups.downloads import table_of
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, VersionStatus
from modelyard.feature_groups.tables import newest_version
from modelyard.storage import Table


@dataclass(frozen=True, slots=True)
class LookupTable:
    """The rows of one version, and the columns by which they are found."""

    table_name: str
    keys: tuple[str, ...]
    table: Table


def newest_table(session: Session, group: FeatureGroup) -> FeatureGroupVersion:
    """The group's newest COMPLETE version; NotReadyError if it has none, ConflictError if its rows have no key."""
    check_group(group)
    version = newest_version(session, group, VersionStatus.COMPLETE)
    if version is None:
        raise NotReadyError(
            f"Feature group {group.table_name} has no complete version yet; make one with createFeatureGroupVersion"
        )
    check_table(session, version)
    return version


def check_group(group: FeatureGroup) -> None:
    """ConflictError unless somebody has said by which columns rows of the group are found."""
    _keys_of(group)


def check_table(session: Session, version: FeatureGroupVersion) -> None:
    """Raises unless the version can be looked up: it is COMPLETE, and its rows have the group's keys."""
    lookup_table(session, version)


def lookup_table(session: Session, version: FeatureGroupVersion) -> LookupTable:
    """What serving the version needs; NotReadyError or ConflictError if it can't be served."""
    name = f"Feature group version {version.feature_group_version}"
    group, table = session.get_one(FeatureGroup, version.feature_group_id), table_of(version, name)
    keys = _keys_of(group)
    there = {column.name for column in table.columns}
    if missing := [key for key in keys if key not in there]:
        raise ConflictError(f"{name} has no column {missing[0]}, by which rows of {group.table_name} are looked up")
    return LookupTable(group.table_name, keys, table)


def _keys_of(group: FeatureGroup) -> tuple[str, ...]:
    indexing = group.indexing or {}
    primary, lookup = indexing.get("primaryKey"), indexing.get("lookupKeys") or []
    keys = tuple(str(each) for each in ([primary] if primary else lookup))
    if not keys:
        raise ConflictError(
            f"Feature group {group.table_name} has no key to look rows up by: name a primaryKey or lookupKeys with "
            "setFeatureGroupIndexingConfig first"
        )
    return keys
