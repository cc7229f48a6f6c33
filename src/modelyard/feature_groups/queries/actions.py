"""Columns of SQL feature groups, one by one: add, change, take away, cast; and the rows of another group below."""

from typing import Any

import msgspec

from modelyard.actions import Call, action
from modelyard.database import Database
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    PermissionDeniedError,
)
from modelyard.feature_groups import registering
from modelyard.feature_groups.definition import Concatenation, Definition
from modelyard.feature_groups.modifying import get_modifiable
from modelyard.feature_groups.queries import concatenating, dataset_expressions, expressions
from modelyard.feature_groups.records import FeatureGroup, SourceType
from modelyard.feature_groups.requests import request_version
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


@action("PATCH", errors=_ERRORS, own_transaction=True)
def update_dataset_feature_group_feature_expression(
    call: Call, *, feature_group_id: FeatureGroupId, feature_expression: str
) -> FeatureGroupShape:
    """Has the feature group of a dataset give what a SELECT statement makes of the dataset's rows; "" takes it back.

    The statement reads the group's own table, by which the imported rows are meant, and nothing else.
    """
    group = get_modifiable(call, feature_group_id)
    definition = dataset_expressions.read(call.session, group, feature_expression)
    with call.parts.get(Database).write() as session:
        group = get_feature_group(session, call.organization_id, feature_group_id)
        dataset_expressions.keep(session, group, definition)
        group.updated_at = call.clock()
        session.flush()
        return group_shape(session, group)


@action("POST", errors=(*_ERRORS, InvalidEnumParameterError), own_transaction=True)
def concatenate_feature_group_data(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    source_feature_group_id: FeatureGroupId,
    merge_type: str = "UNION",
    replace_until_timestamp: int | None = None,
    skip_materialize: bool = False,
) -> None:
    """Puts the rows of another feature group below those of a SQL feature group, and materializes it.

    UNION keeps all columns, INTERSECTION those of both. The group's own rows up to `replaceUntilTimestamp` (seconds
    since 1970) are left out. With a primary key the row that was updated last is kept. The group needs an
    updateTimestampKey.
    """
    source = get_feature_group(call.session, call.organization_id, source_feature_group_id)
    group = _get_sql_group(call, feature_group_id)
    config = Concatenation(
        feature_group_id=source.feature_group_id,
        table_name=source.table_name,
        merge_type=concatenating.check_merge_type(merge_type),
        replace_until_timestamp=replace_until_timestamp,
        skip_materialize=skip_materialize,
    )
    _redefine(call, group, msgspec.structs.replace(group.made_from, concatenation=config))
    if not skip_materialize:
        with call.parts.get(Database).write() as session:
            request_version(session, call.settings, get_feature_group(session, call.organization_id, feature_group_id))


@action("DELETE", errors=_ERRORS, own_transaction=True)
def remove_concatenation_config(call: Call, *, feature_group_id: FeatureGroupId) -> None:
    """Leaves the rows of another feature group out again, from the next version on."""
    group = _get_sql_group(call, feature_group_id)
    _redefine(call, group, msgspec.structs.replace(group.made_from, concatenation=None))


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
    own = expressions.rewritten(call.session, call.organization_id, definition)
    whole = concatenating.concatenated(call.session, group, own, definition.concatenation)
    registering.redefine(call, feature_group_id, whole)
    with call.parts.get(Database).read() as session:
        return group_shape(session, get_feature_group(session, call.organization_id, feature_group_id))
