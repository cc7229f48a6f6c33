"""A table's columns as the features that callers see; the words for their types are those of the datasets."""

from collections.abc import Mapping, Sequence

from modelyard.datasets.columns import data_type, feature_type
from modelyard.feature_groups.records import FeatureGroup
from modelyard.feature_groups.wire import FeatureShape, SchemaShape
from modelyard.storage import TableColumn


def features(
    columns: Sequence[TableColumn],
    source_table: str,
    types: Mapping[str, str] | None = None,
    expressions: Mapping[str, str] | None = None,
    mappings: Mapping[str, str] | None = None,
) -> list[FeatureShape]:
    """The columns as callers see them; by name: the types they were said to have, their expressions, their mappings."""
    types, expressions, mappings = types or {}, expressions or {}, mappings or {}
    return [
        _feature(column, source_table, types.get(column.name), expressions.get(column.name), mappings.get(column.name))
        for column in columns
    ]


def group_features(
    group: FeatureGroup, columns: Sequence[TableColumn], mappings: Mapping[str, str] | None = None
) -> list[FeatureShape]:
    """The columns of a group's version, with what was said about them."""
    expressions = {each.name: each.expression for each in group.made_from.added}
    return features(columns, group.table_name, group.feature_types, expressions, mappings)


def schema_shape(feature: FeatureShape) -> SchemaShape:
    """The same column as projects and `setFeatureType` show it."""
    return SchemaShape(
        name=feature.name,
        feature_mapping=feature.feature_mapping,
        detected_feature_mapping=None,
        feature_type=feature.feature_type,
        detected_feature_type=feature.detected_feature_type,
        data_type=feature.data_type,
        detected_data_type=feature.detected_data_type,
        nested_features=[],
        point_in_time_info={},
    )


def _feature(
    column: TableColumn, source_table: str, said: str | None, expression: str | None, mapping: str | None
) -> FeatureShape:
    kind, data = feature_type(column), data_type(column)
    return FeatureShape(
        name=column.name,
        select_clause=expression,
        feature_mapping=mapping,
        source_table=source_table,
        original_name=column.name,
        using_clause=None,
        order_clause=None,
        where_clause=None,
        feature_type=said or kind,
        data_type=data,
        detected_feature_type=kind,
        detected_data_type=data,
        columns=[],
        point_in_time_info={},
    )
