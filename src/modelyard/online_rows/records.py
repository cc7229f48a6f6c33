"""The tables of this room: the online tables, their rows, and the tokens that open writing to them."""

from datetime import datetime

from sqlalchemy import Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import OnlineTableId, OrganizationId


class OnlineTable(Record):
    """A table whose rows are written one by one, and what is known of all of them."""

    __tablename__ = "online_tables"

    online_table_id: Mapped[OnlineTableId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    #: The column that tells rows apart.
    primary_key: Mapped[str]
    #: Column -> what kind of value it holds (`changes.Kind`), in the order in which they first came.
    columns: Mapped[JsonObject] = mapped_column(default=dict)
    #: Grows with every row that is written or goes; equal numbers mean equal rows.
    last_change: Mapped[int] = mapped_column(default=0)
    row_count: Mapped[int] = mapped_column(default=0)
    retention_hours: Mapped[int | None]
    retention_row_count: Mapped[int | None]
    #: Rows that were sent before are ignored.
    ignore_before: Mapped[datetime | None]
    created_at: Mapped[datetime]


class OnlineRow(Record):
    """A row as it stands now. Without a foreign key: rows of a table that was dropped are swept away in pieces."""

    __tablename__ = "online_rows"
    __table_args__ = (Index("ix_online_rows_newest", "online_table_id", "change"),)

    online_table_id: Mapped[OnlineTableId] = mapped_column(primary_key=True)
    primary_key: Mapped[str] = mapped_column(Text, primary_key=True)
    #: The whole row as a JSON object, its key among its values.
    contents: Mapped[str] = mapped_column(Text)
    #: The table's number of the change that wrote it.
    change: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class StreamingToken(Record):
    """Lets its holder write rows of the organisation, and nothing else.

    The token itself is kept: the API's list shows it again and again. Source: StreamingAuthToken.
    """

    __tablename__ = "streaming_tokens"
    __table_args__ = (Index("ix_streaming_tokens_organization", "organization_id"),)

    streaming_token: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    created_at: Mapped[datetime]
