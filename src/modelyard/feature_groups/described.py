"""What people say about a group's columns: tags, feature types, the keys by which rows are found.

Columns are known once a version is complete; before that a name is believed. Nothing here changes a row, so no version
becomes outdated by it.
"""

import difflib
from collections.abc import Sequence

from sqlalchemy.orm import Session

from modelyard.errors import InvalidEnumParameterError, InvalidParameterError
from modelyard.feature_groups.online.groups import rekey
from modelyard.feature_groups.records import FeatureGroup, VersionStatus
from modelyard.feature_groups.tables import newest_version
from modelyard.storage import TableColumn

#: Source: the SDK's Schema, feature_type.
FEATURE_TYPES = (
    "CATEGORICAL", "CATEGORICAL_LIST", "NUMERICAL", "TIMESTAMP", "TEXT", "EMAIL", "LABEL_LIST", "ENTITY_LABEL_LIST",
    "PAGE_LABEL_LIST", "JSON", "OBJECT_REFERENCE", "MULTICATEGORICAL_LIST", "COORDINATE_LIST", "NUMERICAL_LIST",
    "TIMESTAMP_LIST", "ZIPCODE", "URL", "PAGE_INFOS", "PAGES_DOCUMENT", "TOKENS_DOCUMENT", "MESSAGE_LIST",
)  # fmt: skip


def columns_of(session: Session, group: FeatureGroup) -> tuple[TableColumn, ...]:
    """The columns of the newest complete version; none before there is one."""
    version = newest_version(session, group, VersionStatus.COMPLETE)
    return version.manifest.columns if version is not None else ()


def check_feature(columns: Sequence[TableColumn], name: str, where: str) -> None:
    """InvalidParameterError naming the nearest column, if the columns are known and there is none of that name."""
    names = [column.name for column in columns]
    if names and name not in names:
        near = difflib.get_close_matches(name[:200], names, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names[:20])}"
        raise InvalidParameterError(f"{where} has no column {name[:200]!r}{hint}")


def check_feature_type(feature_type: str) -> str:
    """The feature type in capitals; InvalidEnumParameterError if there is no such."""
    wanted = feature_type.upper()
    if wanted not in FEATURE_TYPES:
        near = difflib.get_close_matches(wanted[:100], FEATURE_TYPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it must be one of {', '.join(FEATURE_TYPES)}"
        raise InvalidEnumParameterError(f"Invalid value for featureType: {feature_type[:100]!r}; {hint}")
    return wanted


def set_indexing(
    session: Session,
    group: FeatureGroup,
    primary_key: str | None,
    update_timestamp_key: str | None,
    lookup_keys: list[str] | None,
) -> None:
    """Says by which columns rows are found; what is left out stays, "" and [] clear."""
    kept = group.indexing or {}
    primary = kept.get("primaryKey") if primary_key is None else primary_key or None
    moment = kept.get("updateTimestampKey") if update_timestamp_key is None else update_timestamp_key or None
    lookup = (kept.get("lookupKeys") or []) if lookup_keys is None else list(dict.fromkeys(lookup_keys))
    if primary and lookup:
        if primary_key and lookup_keys:
            raise InvalidParameterError("primaryKey and lookupKeys can't be used together; give one of them")
        # The one that is given takes the place of the other.
        primary, lookup = (primary, []) if primary_key else (None, lookup)
    columns = columns_of(session, group)
    for name in (primary, moment, *lookup):
        if name is not None:
            check_feature(columns, name, f"Feature group {group.table_name}")
    rekey(session, group, primary)
    named = {"primaryKey": primary, "updateTimestampKey": moment, "lookupKeys": lookup}
    group.indexing = named if any(named.values()) else None
