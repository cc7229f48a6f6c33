"""A table's columns in the API's words: data types, and the feature types that follow from them.

Source: the SDK's enums DataType and Schema.featureType; the hosted service prints data types in capitals.
"""

import re
from collections.abc import Sequence

from modelyard.feature_groups.wire import FeatureShape
from modelyard.storage import TableColumn

#: Arrow type's name, as far as it matters -> data type. The first that fits.
_DATA_TYPES = (
    (r"u?int\d+", "INTEGER"),
    (r"halffloat|float|double|float\d+|decimal.*", "FLOAT"),
    (r"bool", "BOOLEAN"),
    (r"date\d*.*", "DATE"),
    (r"timestamp.*", "DATETIME"),
    (r"(large_|fixed_size_)?list.*|map.*", "LIST"),
    (r"struct.*", "STRUCT"),
    (r"(large_|fixed_size_)?binary.*", "BINARY"),
    (r"null", "NULL"),
)
_FEATURE_TYPES = {
    "INTEGER": "NUMERICAL",
    "FLOAT": "NUMERICAL",
    "BOOLEAN": "CATEGORICAL",
    "DATE": "TIMESTAMP",
    "DATETIME": "TIMESTAMP",
    "STRUCT": "JSON",
    "BINARY": "TEXT",
    "NULL": "CATEGORICAL",
    "STRING": "CATEGORICAL",
}
_LIST_TYPES = {"NUMERICAL": "NUMERICAL_LIST", "TIMESTAMP": "TIMESTAMP_LIST", "CATEGORICAL": "CATEGORICAL_LIST"}


def data_type(arrow_type: str) -> str:
    """`int64` -> `INTEGER`; times of day, durations and all that has no word of its own are STRING."""
    kind = re.sub(r"^dictionary<values=([^,]+),.*", r"\1", arrow_type)
    return next((name for pattern, name in _DATA_TYPES if re.fullmatch(pattern, kind, re.DOTALL)), "STRING")


def feature_type(arrow_type: str) -> str:
    """`int64` -> `NUMERICAL`; of a list, by what is in it."""
    kind = data_type(arrow_type)
    if kind != "LIST":
        return _FEATURE_TYPES[kind]
    inside = re.match(r"[a-z_]*list<[^:]*:\s*(.+?)(?: not null)?>", arrow_type, re.DOTALL)
    return _LIST_TYPES.get(feature_type(inside.group(1)) if inside else "", "JSON")


def features(columns: Sequence[TableColumn], source_table: str) -> list[FeatureShape]:
    """The columns as callers see them."""
    return [_feature(column, source_table) for column in columns]


def _feature(column: TableColumn, source_table: str) -> FeatureShape:
    kind, data = feature_type(column.type), data_type(column.type)
    return FeatureShape(
        name=column.name,
        select_clause=None,
        feature_mapping=None,
        source_table=source_table,
        original_name=column.name,
        using_clause=None,
        order_clause=None,
        where_clause=None,
        feature_type=kind,
        data_type=data,
        detected_feature_type=kind,
        detected_data_type=data,
        columns=[],
        point_in_time_info={},
    )
