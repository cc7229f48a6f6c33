"""What people say about groups and their columns: tags, feature types, keys; and finding groups by words."""

from typing import Any

from modelyard.actions import Call, action
from modelyard.errors import (
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    PermissionDeniedError,
)
from modelyard.feature_groups import described, searching
from modelyard.feature_groups.described import check_feature, columns_of
from modelyard.feature_groups.modifying import get_modifiable
from modelyard.feature_groups.schema import group_features, schema_shape
from modelyard.feature_groups.wire import SchemaShape, SearchResultShape
from modelyard.ids import FeatureGroupId, ProjectId
from modelyard.projects.access import get_project
from modelyard.projects.tags import with_tags, without_tags

_ERRORS = (DataNotFoundError, InvalidParameterError, PermissionDeniedError)


@action("POST", errors=_ERRORS)
def add_feature_group_tag(call: Call, *, feature_group_id: FeatureGroupId, tag: str) -> None:
    """Puts a tag on a feature group."""
    group = get_modifiable(call, feature_group_id)
    group.tags = with_tags(group.tags, [tag])


@action("DELETE", errors=(DataNotFoundError, PermissionDeniedError))
def remove_feature_group_tag(call: Call, *, feature_group_id: FeatureGroupId, tag: str) -> None:
    """Takes a tag from a feature group."""
    group = get_modifiable(call, feature_group_id)
    group.tags = without_tags(group.tags, [tag])


@action("POST", errors=_ERRORS)
def add_feature_tag(call: Call, *, feature_group_id: FeatureGroupId, feature: str, tag: str) -> None:
    """Puts a tag on a column of a feature group."""
    group = get_modifiable(call, feature_group_id)
    check_feature(columns_of(call.session, group), feature, f"Feature group {group.table_name}")
    group.feature_tags = group.feature_tags | {feature: with_tags(group.feature_tags.get(feature, []), [tag])}


@action("DELETE", errors=(DataNotFoundError, PermissionDeniedError))
def remove_feature_tag(call: Call, *, feature_group_id: FeatureGroupId, feature: str, tag: str) -> None:
    """Takes a tag from a column of a feature group."""
    group = get_modifiable(call, feature_group_id)
    left = without_tags(group.feature_tags.get(feature, []), [tag])
    others: dict[str, Any] = {name: tags for name, tags in group.feature_tags.items() if name != feature}
    group.feature_tags = others | ({feature: left} if left else {})


@action("POST", errors=(*_ERRORS, InvalidEnumParameterError))
def set_feature_type(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    feature: str,
    feature_type: str,
    project_id: ProjectId | None = None,
) -> SchemaShape:
    """Says what kind of feature a column is, in every project. The rows stay as they are."""
    group = get_modifiable(call, feature_group_id)
    if project_id is not None:
        get_project(call.session, call.organization_id, project_id)
    columns = columns_of(call.session, group)
    if not columns:
        raise InvalidParameterError(f"Feature group {group.table_name} has no complete version, so no columns yet")
    check_feature(columns, feature, f"Feature group {group.table_name}")
    group.feature_types = group.feature_types | {feature: described.check_feature_type(feature_type)}
    [found] = [each for each in group_features(group, columns) if each.name == feature]
    return schema_shape(found)


@action("POST", errors=_ERRORS)
def set_feature_group_indexing_config(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    primary_key: str | None = None,
    update_timestamp_key: str | None = None,
    lookup_keys: list[str] | None = None,
) -> None:
    """Says by which columns rows are found: a primary key or lookup keys, and when a row was last changed.

    What is left out stays as it is; "" and [] clear. A primary key takes the place of lookup keys, and they of it.
    """
    group = get_modifiable(call, feature_group_id)
    described.set_indexing(call.session, group, primary_key, update_timestamp_key, lookup_keys)


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def search_feature_groups(
    call: Call,
    *,
    text: str,
    num_results: int = 10,
    project_id: ProjectId | None = None,
    feature_group_ids: list[FeatureGroupId] | None = None,
) -> list[SearchResultShape]:
    """Feature groups whose name, description, tags or columns are like the text, the likest first."""
    if num_results < 1:
        raise InvalidParameterError(f"numResults is {num_results}; it must be at least 1")
    if project_id is not None:
        get_project(call.session, call.organization_id, project_id)
    among = searching.Among(project_id=project_id, feature_group_ids=feature_group_ids)
    return searching.search(call.session, call.organization_id, text, min(num_results, 1000), among)
