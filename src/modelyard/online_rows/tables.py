"""How online tables come to be and go, and what the rooms above may ask about them without looking at a row."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.errors import ConflictError, InvalidParameterError
from modelyard.ids import OnlineTableId, OrganizationId, new_id
from modelyard.online_rows.changes import LONGEST_NAME
from modelyard.online_rows.records import OnlineTable

#: The column that tells rows apart where nobody named one; its values are made when rows come without.
DEFAULT_KEY = "row_id"


def add_table(session: Session, clock: Clock, organization_id: OrganizationId, primary_key: str) -> OnlineTable:
    """A new, empty table."""
    check_primary_key(primary_key)
    table = OnlineTable(
        online_table_id=OnlineTableId(new_id()),
        organization_id=organization_id,
        primary_key=primary_key,
        columns={},
        last_change=0,
        row_count=0,
        created_at=clock(),
    )
    session.add(table)
    session.flush()
    return table


def drop_table(session: Session, table_id: OnlineTableId) -> None:
    """Removes the table; its rows can't be found any more, and are swept away later."""
    table = session.get(OnlineTable, table_id)
    if table is not None:
        session.delete(table)


def set_primary_key(session: Session, table_id: OnlineTableId, primary_key: str) -> None:
    """Has rows be told apart by another column; ConflictError once there are rows."""
    check_primary_key(primary_key)
    table = session.get_one(OnlineTable, table_id, with_for_update=True)
    if primary_key != table.primary_key and table.row_count:
        raise ConflictError(
            f"The primary key is {table.primary_key}, and {table.row_count:,} rows are kept by it; it can't be changed"
        )
    table.primary_key = primary_key


def last_changes(session: Session, table_ids: Sequence[OnlineTableId]) -> dict[OnlineTableId, int]:
    """The number of each table's last change: rows are what they were as long as it is the same."""
    if not table_ids:
        return {}
    found = select(OnlineTable.online_table_id, OnlineTable.last_change)
    rows = session.execute(found.where(OnlineTable.online_table_id.in_(table_ids)))
    return {row.online_table_id: row.last_change for row in rows}


def check_primary_key(primary_key: str) -> None:
    """Refuses what is no name of a column."""
    if not 0 < len(primary_key) <= LONGEST_NAME:
        raise InvalidParameterError(f"primaryKey must be the name of a column, 1 to {LONGEST_NAME} characters")
