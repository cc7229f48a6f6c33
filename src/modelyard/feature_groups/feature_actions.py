"""Columns of SQL feature groups, one by one: add, change, take away, cast."""

from typing import Any

from modelyard.actions import Call, action
from modelyard.database import Database
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    InvalidParameterError,
    PermissionDeniedError,
)
from modelyard.feature_groups import expressions, registering
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.modifying import get_modifiable
from modelyard.feature_groups.records import FeatureGroup, SourceType
from modelyard.feature_groups.shapes import group_shape
from modelyard.feature_groups.tables import get_feature_group
from modelyard.feature_groups.wire import FeatureGroupShape
from modelyard.ids import FeatureGroupId

_ERRORS = (DataNotFoundError, InvalidParameterError, ConflictError, PermissionDeniedError)


@action("POST", errors=(*_ERRORS, AlreadyExistsError), own_transaction=True)
def create_feature(
    call: Call, *, feature_group_id: FeatureGroupId, name: str, select_expression: str
) -> FeatureGroupShape:
    """Adds a column to a SQL feature group: an expression over the columns that it has."""
    group = _get_sql_group(call, feature_group_id)
    known = expressions.known_columns(call.session, group)
    return _redefine(call, group, expressions.add(group.made_from, known, name, select_expression))


@action("PATCH", errors=(*_ERRORS, AlreadyExistsError), own_transaction=True)
def update_feature(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    name: str,
    select_expression: str | None = None,
    new_name: str | None = None,
) -> FeatureGroupShape:
    """Has a column of a SQL feature group computed by another expression, or gives it another name, or both."""
    group = _get_sql_group(call, feature_group_id)
    if not select_expression and not new_name:
        raise InvalidParameterError("Pass selectExpression, newName, or both")
    known = expressions.known_columns(call.session, group)
    changed = expressions.change(group.made_from, known, name, select_expression or None, new_name or None)
    return _redefine(call, group, changed)


@action("DELETE", errors=_ERRORS, own_transaction=True)
def delete_feature(call: Call, *, feature_group_id: FeatureGroupId, name: str) -> FeatureGroupShape:
    """Takes a column away from a SQL feature group."""
    group = _get_sql_group(call, feature_group_id)
    known = expressions.known_columns(call.session, group)
    return _redefine(call, group, expressions.drop(group.made_from, known, name))


@action("POST", errors=_ERRORS, own_transaction=True)
def set_feature_group_schema(call: Call, *, feature_group_id: FeatureGroupId, schema: list[dict[str, Any]]) -> None:
    """Gives columns of a SQL feature group other data types, from its next version on; the others stay as they are.

    Each item has a `name` and a `dataType`: integer, float, string, date, datetime or boolean. A value that does not
    fit becomes null, as CAST has it.
    """
    group = _get_sql_group(call, feature_group_id)
    known = expressions.known_columns(call.session, group)
    _redefine(call, group, expressions.cast(group.made_from, known, [_column_type(each) for each in schema]))


def _column_type(item: dict[str, Any]) -> tuple[str, str]:
    name, data_type = item.get("name"), item.get("dataType", item.get("data_type"))
    if not isinstance(name, str) or not isinstance(data_type, str):
        raise InvalidParameterError("Each item of schema needs a name and a dataType, both text")
    return name, data_type


def _get_sql_group(call: Call, feature_group_id: FeatureGroupId) -> FeatureGroup:
    group = get_modifiable(call, feature_group_id)
    if group.source_type != SourceType.SQL:
        raise ConflictError(
            f"Feature group {group.table_name} is made from {group.source_type}; its columns are changed by a "
            "SQL feature group that reads it (createFeatureGroup)"
        )
    return group


def _redefine(call: Call, group: FeatureGroup, definition: Definition) -> FeatureGroupShape:
    feature_group_id = group.feature_group_id
    whole = expressions.rewritten(call.session, call.organization_id, definition)
    registering.redefine(call, feature_group_id, whole)
    with call.parts.get(Database).read() as session:
        return group_shape(session, get_feature_group(session, call.organization_id, feature_group_id))
