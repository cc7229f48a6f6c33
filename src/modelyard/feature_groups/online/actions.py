"""Online feature groups: made, and their rows written, found, and let go one by one.

A row is on disk before its call is answered, found by `getData` from then on, and in the group's next version.
"""

import json
from concurrent.futures import Future
from typing import Annotated, Any

import msgspec

from modelyard.actions import Auth, Call, action
from modelyard.clock import iso
from modelyard.database import Database
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    GenericPermissionDeniedError,
    InvalidParameterError,
)
from modelyard.feature_groups import registering
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.online.targets import OnlineTargets, Target
from modelyard.feature_groups.records import SourceType
from modelyard.feature_groups.registering import Particulars
from modelyard.feature_groups.shapes import group_shape
from modelyard.feature_groups.tables import get_feature_group
from modelyard.feature_groups.wire import FeatureGroupRowShape, FeatureGroupShape
from modelyard.ids import FeatureGroupId, OrganizationId
from modelyard.online_rows.changes import Change, Row, Verb, WrittenRow, key_text, read_rows
from modelyard.online_rows.reading import find_row, get_table, newest_rows
from modelyard.online_rows.tables import check_primary_key
from modelyard.online_rows.tokens import StreamingTokens
from modelyard.online_rows.writing import Order, RowWriter

_WRITE_ERRORS = (
    GenericPermissionDeniedError,
    DataNotFoundError,
    ConflictError,
    AlreadyExistsError,
    InvalidParameterError,
)
#: Rows that a call without a number gets at most.
MOST_ROWS = 10_000

Token = Annotated[str | None, "A streaming token of the organisation; or send an API key."]


@action("POST", errors=(AlreadyExistsError, InvalidParameterError), own_transaction=True)
def create_online_feature_group(
    call: Call, *, table_name: str, primary_key: str, description: str | None = None
) -> FeatureGroupShape:
    """Creates a feature group whose rows are written one by one and found by their primary key at once."""
    check_primary_key(primary_key)
    particulars = Particulars(table_name=table_name, source_type=SourceType.ONLINE, description=description)
    made = registering.create(call, particulars, Definition(), primary_key=primary_key)
    with call.parts.get(Database).read() as session:
        return group_shape(session, get_feature_group(session, call.organization_id, made))


@action("POST", auth=Auth.STREAMING_TOKEN, errors=_WRITE_ERRORS, deferred=True)
def append_data(
    call: Call, *, feature_group_id: FeatureGroupId, data: dict[str, Any], streaming_token: Token = None
) -> Future[None]:
    """Appends one row. Without a value for the primary key it gets one; a key that is there already is refused."""
    return _append(call, feature_group_id, [data], streaming_token)


@action("POST", auth=Auth.STREAMING_TOKEN, errors=_WRITE_ERRORS, deferred=True)
def append_multiple_data(
    call: Call, *, feature_group_id: FeatureGroupId, data: list[dict[str, Any]], streaming_token: Token = None
) -> Future[None]:
    """Appends rows: all of them, or none if one is refused."""
    return _append(call, feature_group_id, data, streaming_token)


@action("POST", auth=Auth.STREAMING_TOKEN, errors=_WRITE_ERRORS, deferred=True, proxy=True)
def upsert_data(
    call: Call, *, feature_group_id: FeatureGroupId, data: dict[str, Any], streaming_token: Token = None
) -> Future[FeatureGroupRowShape]:
    """Writes a row in place of the one with its primary key, or as a new one."""

    def prepare() -> Order:
        target = _target(call, feature_group_id, streaming_token)
        rows = read_rows([data], target.primary_key, call.settings, stamp=target.stamp, generate=False)
        return Order(target.table_id, Change(Verb.UPSERT, rows))

    return call.parts.get(RowWriter).submit(prepare, lambda written: _row_shape(feature_group_id, written[0]))


@action("DELETE", errors=(DataNotFoundError, ConflictError, InvalidParameterError), deferred=True)
def delete_data(call: Call, *, feature_group_id: FeatureGroupId, primary_key: str) -> Future[None]:
    """Deletes the row with that primary key."""

    def prepare() -> Order:
        target = _target(call, feature_group_id, None)
        return Order(target.table_id, Change(Verb.DELETE, (Row(key_text(primary_key, target.primary_key)),)))

    return call.parts.get(RowWriter).submit(prepare, _nothing)


@action("GET", errors=(DataNotFoundError, ConflictError, InvalidParameterError), proxy=True)
def get_data(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    primary_key: Annotated[str | None, "Gives the row with that key alone; none if there is no such row."] = None,
    num_rows: Annotated[int | None, "Gives so many of the rows that were written last; default 100."] = None,
) -> list[FeatureGroupRowShape]:
    """Rows of an online feature group as they stand now, the one written last first."""
    target = _target(call, feature_group_id, None)
    table = get_table(call.session, target.table_id)
    if primary_key is not None:
        found = find_row(call.session, table, key_text(primary_key, target.primary_key), call.clock())
        return [_row_shape(feature_group_id, found)] if found is not None else []
    if num_rows is not None and not 1 <= num_rows <= MOST_ROWS:
        raise InvalidParameterError(f"numRows is {num_rows}; it must be 1 to {MOST_ROWS:,}")
    rows = newest_rows(call.session, table, num_rows or call.settings.page_size, call.clock())
    return [_row_shape(feature_group_id, row) for row in rows]


@action("GET", errors=(DataNotFoundError, ConflictError))
def get_recent_feature_group_streamed_data(call: Call, *, feature_group_id: FeatureGroupId) -> list[dict[str, Any]]:
    """The contents of the rows that were written last, the newest first, 100 of them at most."""
    table = get_table(call.session, _target(call, feature_group_id, None).table_id)
    rows = newest_rows(call.session, table, call.settings.page_size, call.clock())
    return [json.loads(row.contents) for row in rows]


def _append(
    call: Call, feature_group_id: FeatureGroupId, data: list[dict[str, Any]], streaming_token: str | None
) -> Future[None]:
    def prepare() -> Order:
        target = _target(call, feature_group_id, streaming_token)
        rows = read_rows(data, target.primary_key, call.settings, stamp=target.stamp, generate=True)
        return Order(target.table_id, Change(Verb.APPEND, rows))

    return call.parts.get(RowWriter).submit(prepare, _nothing)


def _nothing(_: list[WrittenRow]) -> None:
    """What is answered where the rows are known to whoever sent them."""


def _target(call: Call, feature_group_id: FeatureGroupId, streaming_token: str | None) -> Target:
    return call.parts.get(OnlineTargets).find(_writer(call, streaming_token), feature_group_id)


def _writer(call: Call, streaming_token: str | None) -> OrganizationId:
    """The organisation that the token opens, or the caller's own; a token that is given must be right."""
    if streaming_token is not None:
        found = call.parts.get(StreamingTokens).organization_of(streaming_token)
        if found is None or (call.who is not None and call.who.organization_id != found):
            raise GenericPermissionDeniedError("Invalid streaming token")
        return found
    if call.who is None:
        raise GenericPermissionDeniedError("Neither a streaming token nor an API key was given")
    return call.organization_id


def _row_shape(feature_group_id: FeatureGroupId, row: WrittenRow) -> FeatureGroupRowShape:
    return FeatureGroupRowShape(
        feature_group_id=feature_group_id,
        primary_key=row.key,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
        contents=msgspec.Raw(row.contents.encode()),
    )
