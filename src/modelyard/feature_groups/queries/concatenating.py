"""Puts the rows of another group below those of a SQL group's own query.

UNION keeps the columns of both, null where one lacks a column; INTERSECTION those that both have. Up to the moment of
`replaceUntilTimestamp` the group's own rows give way to the other's. Where the group has a primary key, one row of each
is kept: the one that was updated last, and of equals the other group's. Source: the SDK's concatenateFeatureGroupData.
"""

import msgspec
from sqlalchemy.orm import Session

from modelyard.errors import ConflictError, InvalidEnumParameterError
from modelyard.feature_groups.definition import Concatenation, Definition, Input
from modelyard.feature_groups.described import columns_of
from modelyard.feature_groups.recipes.reading import quoted
from modelyard.feature_groups.records import FeatureGroup
from modelyard.feature_groups.shapes import indexing_of
from modelyard.feature_groups.wire import IndexingShape

_PART = '"modelyard part"'


def check_merge_type(merge_type: str) -> str:
    """UNION or INTERSECTION, in capitals."""
    if merge_type.upper() not in ("UNION", "INTERSECTION"):
        raise InvalidEnumParameterError(
            f"Invalid value for mergeType: {merge_type[:100]!r}; it must be UNION or INTERSECTION"
        )
    return merge_type.upper()


def concatenated(
    session: Session, group: FeatureGroup, definition: Definition, config: Concatenation | None
) -> Definition:
    """The definition of the group's own query, with the other group's rows below; as it is where there is no other."""
    if config is None:
        return definition
    index = indexing_of(group)
    if index.update_timestamp_key is None:
        raise ConflictError(
            f"Feature group {group.table_name} has no updateTimestampKey, which says when its rows were last changed; "
            "setFeatureGroupIndexingConfig sets it"
        )
    columns = "*" if config.merge_type == "UNION" else ", ".join(map(quoted, _common(session, group, config)))
    source = Input(config.feature_group_id, config.table_name)
    return msgspec.structs.replace(
        definition,
        engine_sql=_engine_sql(definition.engine_sql or "", columns, config, index),
        inputs=(*definition.inputs, *([] if source in definition.inputs else [source])),
        concatenation=config,
    )


def _engine_sql(own: str, columns: str, config: Concatenation, index: IndexingShape) -> str:
    moment = f"CAST({quoted(index.update_timestamp_key or '')} AS TIMESTAMP)"
    until = config.replace_until_timestamp
    kept = "" if until is None else f" WHERE epoch({moment}) > {until} OR {moment} IS NULL"
    together = (
        f"SELECT {columns}, 0 AS {_PART} FROM ({own}){kept} UNION ALL BY NAME "  # noqa: S608 - names are quoted
        f"SELECT {columns}, 1 AS {_PART} FROM {quoted(config.table_name)}"
    )
    newest = ""
    if index.primary_key is not None:
        order = f"{moment} DESC NULLS LAST, {_PART} DESC"
        newest = f" QUALIFY row_number() OVER (PARTITION BY {quoted(index.primary_key)} ORDER BY {order}) = 1"
    return f"SELECT * EXCLUDE ({_PART}) FROM ({together}){newest}"  # noqa: S608 - as above


def _common(session: Session, group: FeatureGroup, config: Concatenation) -> list[str]:
    other = session.get_one(FeatureGroup, config.feature_group_id)
    mine = [column.name for column in columns_of(session, group)]
    theirs = {column.name for column in columns_of(session, other)}
    if not mine or not theirs:
        lacking = group.table_name if not mine else other.table_name
        raise ConflictError(
            f"The columns of {lacking} are not known before it has a complete version; create one first"
        )
    common = [name for name in mine if name in theirs]
    if not common:
        raise ConflictError(f"{group.table_name} and {other.table_name} have no column in common")
    return common
