"""The base of every table: typed mappings, aware datetimes, JSON columns, stable constraint names.

Each slice's `records.py` subclasses `Record`. Constraint names follow one convention so that Alembic can name what it
alters on both databases.
"""

from datetime import UTC, datetime
from typing import Any, NewType

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, MetaData, String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from modelyard import ids

JsonValue = Any
#: A JSON object as a column holds it. What is inside is the slice's business; it is decoded to a struct at the door.
JsonObject = dict[str, JsonValue]
#: A column of JSON text (JSONB would reorder keys, and what a user sent is given back as it was sent).
Json = JSON(none_as_null=True)


class Utc(TypeDecorator[datetime]):
    """An aware moment. SQLite keeps no zone, so moments are stored in UTC without one and come back aware."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the base class's signature
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without its time zone can't be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the base class's signature
        return None if value is None else value.replace(tzinfo=UTC)


_id_types: dict[Any, Any] = {kind: String for kind in vars(ids).values() if isinstance(kind, NewType)}


class Record(DeclarativeBase):
    """A row of one table."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: Utc,
        int: BigInteger,
        dict[str, Any]: Json,
        list[str]: Json,
        list[dict[str, Any]]: Json,
    } | _id_types
