"""A table's columns in the API's words: data types, and the feature types that follow from them.

Source: the SDK's enums DataType and the schemas that the hosted service prints, in capitals.
"""

import functools
import re
from collections.abc import Sequence

from modelyard.storage import TableColumn

#: Arrow type's name, as far as it matters -> data type. The first that fits.
_DATA_TYPES = (
    (r"u?int\d+", "INTEGER"),
    (r"halffloat|float|double|decimal.*", "FLOAT"),
    (r"bool", "BOOLEAN"),
    (r"date\d*.*", "DATE"),
    (r"timestamp.*", "DATETIME"),
    (r"(large_|fixed_size_)?list.*|map.*", "LIST"),
    (r"struct.*", "STRUCT"),
    (r"(large_|fixed_size_)?binary.*", "BINARY"),
    (r"null", "NULL"),
)
#: Data types that a column can be told to have.
CASTABLE = ("INTEGER", "FLOAT", "STRING", "BOOLEAN", "DATE", "DATETIME")
_FEATURE_TYPES = {
    "INTEGER": "NUMERICAL",
    "FLOAT": "NUMERICAL",
    "DATE": "TIMESTAMP",
    "DATETIME": "TIMESTAMP",
    "STRUCT": "JSON",
    "LIST": "JSON",
    "BINARY": "TEXT",
}


def data_type(column: TableColumn) -> str:
    """`int64` -> `INTEGER`; all that has no word of its own is STRING."""
    return _word(column.type)


@functools.lru_cache(maxsize=10_000)
def _word(kind: str) -> str:
    return next((name for form, name in _DATA_TYPES if re.fullmatch(form, kind, re.DOTALL)), "STRING")


def feature_type(column: TableColumn) -> str:
    """`int64` -> `NUMERICAL`; text and booleans are CATEGORICAL."""
    return _FEATURE_TYPES.get(data_type(column), "CATEGORICAL")


def original_names(columns: Sequence[TableColumn], renamed: dict[str, str]) -> list[str]:
    """What the columns were called in the file."""
    return [renamed.get(column.name, column.name) for column in columns]
