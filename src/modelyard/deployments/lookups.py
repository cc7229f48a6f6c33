"""What a caller of `lookupFeatures` asks, read and checked; and the rows of groups that are online, found at once.

Called by the lane. Rows of any other group are found by a replica, a guest that has the deployed version's table in
order (`sandbox/guest/lookup.py`); it is sent `for_replica`. Rows online are one indexed query away from the gateway,
which sees each row that has been acknowledged, and none that has gone or is past its time.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from modelyard.clock import Clock, utc_now
from modelyard.database import Database
from modelyard.deployments.calls.connection import TOO_LARGE
from modelyard.deployments.calls.frames import Answer, Status
from modelyard.errors import InvalidParameterError, MissingParameterError
from modelyard.ids import OnlineTableId
from modelyard.online_rows.changes import key_text
from modelyard.online_rows.reading import find_contents, get_table
from modelyard.online_rows.records import OnlineTable
from modelyard.settings import Settings

Scalar = str | int | float | bool


class _Asked(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    query_data: dict[str, Scalar | list[Scalar]]
    limit_results: int | None = None
    result_columns: list[str] | None = None


class Lookup(NamedTuple):
    """Rows that are wanted: those with one of the values in each of the columns."""

    where: dict[str, list[Scalar]]
    limit: int | None
    #: None: all of them.
    columns: list[str] | None


def read_lookup(body: bytes, settings: Settings) -> Lookup:
    """What the JSON body asks; InvalidParameterError or MissingParameterError where that can't be answered."""
    asked = _decode(body)
    where = {column: each if isinstance(each, list) else [each] for column, each in asked.query_data.items()}
    if not where:
        raise InvalidParameterError('queryData names no column; give a value to look up, as {"user_id": "ann"}')
    count = sum(map(len, where.values()))
    if count > settings.lookup_values:
        raise InvalidParameterError(
            f"queryData holds {count:,} values; at most {settings.lookup_values:,} can be looked up in one call "
            "(lookup_values)"
        )
    limit = asked.limit_results
    if limit is not None and not 1 <= limit <= settings.lookup_rows:
        raise InvalidParameterError(
            f"limitResults is {limit:,}; it must be 1 to {settings.lookup_rows:,} (lookup_rows)"
        )
    return Lookup(where, limit, asked.result_columns or None)


def for_replica(lookup: Lookup, settings: Settings) -> bytes:
    """The same as a replica takes it."""
    return msgspec.json.encode(lookup._asdict() | {"most": settings.lookup_rows})


class OnlineLookups:
    """Finds rows online for a gateway. Thread-safe."""

    def __init__(self, database: Database, settings: Settings, clock: Clock = utc_now) -> None:
        self._database, self._settings, self._clock = database, settings, clock

    def find(self, table_id: OnlineTableId, lookup: Lookup) -> Answer:
        """The rows as a JSON array, in the order of the values asked for, as they stand at this moment."""
        with self._database.read() as session:
            table = get_table(session, table_id)
            keys = _keys(table, lookup)
            show = _shown(table, lookup.columns)
            found = find_contents(session, table, keys, self._clock())
            return self._gather(keys, found, show, lookup.limit)

    def _gather(
        self, keys: list[str], found: Iterable[tuple[str, str]], show: Callable[[bytes], bytes], limit: int | None
    ) -> Answer:
        """The answer; of a result past the limit no more is kept than its size."""
        rows: dict[str, bytes] = {}
        size, most = 0, self._settings.prediction_answer_limit
        for key, contents in found:
            row = show(contents.encode())
            size += len(row) + 1
            if size <= most:
                rows[key] = row
        if size > most:
            return Answer(TOO_LARGE, b"%d" % size)
        ordered = [rows[key] for key in keys if key in rows]
        return Answer(Status.OK, b"[" + b",".join(ordered[:limit]) + b"]")


def _decode(body: bytes) -> _Asked:
    try:
        values: dict[str, Any] = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"), type=dict[str, Any])
        given = {name: value for name, value in values.items() if value is not None}
        if "queryData" not in given:
            raise MissingParameterError("Missing required parameter: queryData")
        return msgspec.convert(given, _Asked)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        form = '{"queryData": {column: value or values}, "limitResults": number, "resultColumns": [column]}'
        raise InvalidParameterError(f"A look-up has the form {form}: {error}") from error


def _keys(table: OnlineTable, lookup: Lookup) -> list[str]:
    """The keys that are asked for, each once."""
    for column in lookup.where:
        if column != table.primary_key:
            raise InvalidParameterError(f"Rows online are looked up by {table.primary_key}, not by {column[:200]!r}")
    values = lookup.where[table.primary_key]
    return list(dict.fromkeys(key_text(value, table.primary_key) for value in values))


def _shown(table: OnlineTable, columns: list[str] | None) -> Callable[[bytes], bytes]:
    """What makes of a row's JSON that of the columns; one that the row lacks is null."""
    if columns is None:
        return lambda contents: contents
    names = [table.primary_key, *(each for each in table.columns if each != table.primary_key)]
    for column in columns:
        if column not in names:
            near = difflib.get_close_matches(column[:200], names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names[:20])}"
            raise InvalidParameterError(f"resultColumns: there is no column {column[:200]!r}{hint}")
    read = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    return lambda contents: _chosen(read(contents), columns)


def _chosen(row: dict[str, msgspec.Raw], columns: list[str]) -> bytes:
    return msgspec.json.encode({column: row.get(column, msgspec.Raw(b"null")) for column in columns})
