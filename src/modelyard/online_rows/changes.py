"""What a caller wants written, read and checked: rows with their keys, and what kind of value each column holds.

A column keeps the kind that it first had, so that a table can be trained on for years; whole numbers give way to
numbers with a fraction. A value of another kind is refused with its row and column.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings

#: Characters that a key or the name of a column may have.
LONGEST_NAME = 1000


class Kind(StrEnum):
    """What kind of value a column holds. Nulls are of every kind."""

    INTEGER = "integer"
    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"
    LIST = "list"
    STRUCT = "struct"


_KINDS: dict[type, Kind] = {
    bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.STRING, list: Kind.LIST, dict: Kind.STRUCT,
}  # fmt: skip


_ARTICLES = {kind: ("an " if kind == Kind.INTEGER else "a ") + kind for kind in Kind}


class Verb(StrEnum):
    """What is to happen to rows."""

    #: They are new; a key that is there already is refused.
    APPEND = "append"
    #: They take the place of those with their keys.
    UPSERT = "upsert"
    #: They go.
    DELETE = "delete"


class Row(NamedTuple):
    """One row of a change."""

    key: str
    #: JSON text; empty where a row is to go.
    contents: str = ""
    kinds: Mapping[str, Kind] = {}


class Change(NamedTuple):
    """What one caller wants: all of it happens, or nothing."""

    verb: Verb
    rows: tuple[Row, ...]


class WrittenRow(NamedTuple):
    """A row as it was written."""

    key: str
    contents: str
    created_at: datetime
    updated_at: datetime


def read_rows(
    data: Sequence[Mapping[str, Any]], primary_key: str, settings: Settings, *, stamp: str | None, generate: bool
) -> tuple[Row, ...]:
    """The rows of `data`, checked; InvalidParameterError says which of them is wrong, and why.

    `stamp` names a column that holds the moment of writing where a row doesn't say it. A row without a key gets one
    that nobody else has if `generate`, else it is refused.
    """
    if not data:
        raise InvalidParameterError("data holds no row")
    if len(data) > settings.online_rows_a_call:
        raise InvalidParameterError(
            f"data holds {len(data):,} rows; at most {settings.online_rows_a_call:,} can be sent in one call "
            "(online_rows_a_call)"
        )
    return tuple(
        _read_row(dict(each), place, primary_key, settings, stamp, generate=generate)
        for place, each in enumerate(data, 1)
    )


def key_text(value: object, primary_key: str, where: str = "") -> str:
    """The text by which a key is kept: `7` and `"7"` are the same key."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidParameterError(
            f"{where}{primary_key} must be text or a whole number, as it is the primary key, not {_name(value)}"
        )
    text = str(value)
    if not 0 < len(text) <= LONGEST_NAME:
        raise InvalidParameterError(f"{where}{primary_key} must have 1 to {LONGEST_NAME} characters, not {len(text):,}")
    return text


def merge_kinds(known: Mapping[str, str], row: Row, place: int) -> dict[str, str]:
    """What the row adds to the columns that are known; InvalidParameterError where a value is of another kind."""
    news: dict[str, str] = {}
    for column, kind in row.kinds.items():
        before = known.get(column)
        if before == kind or (before == Kind.NUMBER and kind == Kind.INTEGER):
            continue
        if before is not None and not (before == Kind.INTEGER and kind == Kind.NUMBER):
            held, kept = _ARTICLES[kind], _ARTICLES[Kind(before)]
            raise InvalidParameterError(
                f"Row {place}: column {column[:100]!r} holds {held}, but rows before have {kept} there"
            )
        news[column] = kind
    return news


def _read_row(
    row: dict[str, Any], place: int, primary_key: str, settings: Settings, stamp: str | None, *, generate: bool
) -> Row:
    where = f"Row {place}: "
    if row.get(primary_key) is None:
        if not generate:
            raise InvalidParameterError(f"{where}there is no value for {primary_key}, the primary key")
        row[primary_key] = new_key()
    if stamp is not None and row.get(stamp) is None:
        row[stamp] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z"
    key = key_text(row[primary_key], primary_key, where)
    kinds = {}
    for column, value in row.items():
        if not 0 < len(column) <= LONGEST_NAME:
            raise InvalidParameterError(f"{where}names of columns have 1 to {LONGEST_NAME} characters")
        if value is not None:
            kinds[column] = _KINDS[type(value)]
    if len(kinds) > settings.online_columns:
        raise InvalidParameterError(
            f"{where}it has {len(kinds):,} values; at most {settings.online_columns:,} are allowed (online_columns)"
        )
    contents = msgspec.json.encode(row)
    if len(contents) > settings.online_row_limit:
        raise InvalidParameterError(
            f"{where}it has {len(contents):,} bytes as JSON; at most {settings.online_row_limit:,} are allowed "
            "(online_row_limit)"
        )
    return Row(key, contents.decode(), kinds)


def new_key() -> str:
    """A key that nobody else has; later ones sort behind earlier ones, so that rows are written side by side."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


def _name(value: object) -> str:
    return "null" if value is None else _ARTICLES[_KINDS[type(value)]]
