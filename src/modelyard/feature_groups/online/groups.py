"""What is particular to groups whose rows are online: where they are, by what they are told apart, if they changed.

The rows themselves are the business of `online_rows`; a version of them is made by `online_snapshots`.
"""

from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, SourceType
from modelyard.ids import OnlineTableId
from modelyard.online_rows.reading import get_table
from modelyard.online_rows.tables import last_changes, set_primary_key


def online_table_of(group: FeatureGroup) -> OnlineTableId | None:
    """Where the rows of an ONLINE group are; None for all others."""
    return group.made_from.online_table_id if group.source_type == SourceType.ONLINE else None


def online_indexing(session: Session, table_id: OnlineTableId | None) -> JsonObject | None:
    """By what the rows of a new group are found."""
    if table_id is None:
        return None
    return {"primaryKey": get_table(session, table_id).primary_key, "updateTimestampKey": None, "lookupKeys": []}


def is_written_since(session: Session, group: FeatureGroup, version: FeatureGroupVersion) -> bool:
    """Whether rows were written, or went, after the version was made of them; never for a group without rows online."""
    table_id = online_table_of(group)
    return table_id is not None and last_changes(session, [table_id]).get(table_id) != version.online_change


def rekey(session: Session, group: FeatureGroup, primary_key: str | None) -> None:
    """Has an ONLINE group's rows be told apart by another column; ConflictError once there are rows."""
    table_id = online_table_of(group)
    if table_id is None:
        return
    if primary_key is None:
        raise InvalidParameterError(f"The rows of {group.table_name} are found by their primary key; it must have one")
    set_primary_key(session, table_id, primary_key)
