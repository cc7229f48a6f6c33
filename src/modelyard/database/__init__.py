"""The one database of the house: SQLite in WAL mode by default, PostgreSQL by URL.

`engine.py` opens it and owns transactions; `records.py` holds the base class and column types that every slice's
`records.py` builds upon; `migrations/` is Alembic's folder. One request or run step is one transaction, committed at
the door. Nothing here knows the trade.
"""

from modelyard.database.engine import DISCONNECTED, Database, after_commit, announce, at_one_moment, first_line
from modelyard.database.records import Json, JsonObject, JsonValue, Record, Utc

__all__ = [
    "DISCONNECTED",
    "Database",
    "Json",
    "JsonObject",
    "JsonValue",
    "Record",
    "Utc",
    "after_commit",
    "announce",
    "at_one_moment",
    "first_line",
]
