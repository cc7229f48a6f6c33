"""A table's columns as the features that callers see; the words for their types are those of the datasets."""

from collections.abc import Sequence

from modelyard.datasets.columns import data_type, feature_type
from modelyard.feature_groups.wire import FeatureShape
from modelyard.storage import TableColumn


def features(columns: Sequence[TableColumn], source_table: str) -> list[FeatureShape]:
    """The columns as callers see them."""
    return [_feature(column, source_table) for column in columns]


def _feature(column: TableColumn, source_table: str) -> FeatureShape:
    kind, data = feature_type(column), data_type(column)
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
