"""What `OnlineLookups` gives of rows online, and what `read_lookup` makes of a body, at their limits."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.deployments.calls.connection import TOO_LARGE
from modelyard.deployments.calls.frames import Status
from modelyard.deployments.lookups import Lookup, OnlineLookups, read_lookup
from modelyard.errors import InvalidParameterError, MissingParameterError
from modelyard.ids import OnlineTableId, OrganizationId
from modelyard.online_rows.changes import Change, Verb, read_rows
from modelyard.online_rows.reading import get_table
from modelyard.online_rows.tables import add_table
from modelyard.online_rows.writing import Order, RowWriter
from modelyard.settings import Settings

SETTINGS = Settings.load({}, home=Path("/nowhere"))


@pytest.fixture
def table_id(database: Database) -> Iterator[OnlineTableId]:
    """A table of 300 rows."""
    with database.write() as session:
        made = add_table(session, utc_now, OrganizationId("o"), "id").online_table_id
    writer = RowWriter(database, utc_now)
    data = [{"id": number, "text": "x" * 100} for number in range(300)]
    rows = read_rows(data, "id", SETTINGS, stamp=None, generate=False)
    writer.submit(lambda: Order(made, Change(Verb.APPEND, rows)), len).result(30)
    yield made
    writer.close()


def test_many_keys_are_found_in_the_order_asked_for(database: Database, table_id: OnlineTableId) -> None:
    asked: list[str | int | float | bool] = [299, "0", 500, *range(290, 0, -1)]
    answer = OnlineLookups(database, SETTINGS).find(table_id, Lookup({"id": asked}, None, ["id"]))
    assert answer.status == Status.OK
    assert [row["id"] for row in json.loads(answer.body)] == [299, 0, *range(290, 0, -1)]


def test_an_answer_past_its_limit_is_told_by_its_size(database: Database, table_id: OnlineTableId) -> None:
    settings = msgspec.structs.replace(SETTINGS, prediction_answer_limit=5_000)
    lookups = OnlineLookups(database, settings)
    few = lookups.find(table_id, Lookup({"id": list(range(20))}, None, None))
    assert (few.status, len(few.body) < 5_000) == (Status.OK, True)
    answer = lookups.find(table_id, Lookup({"id": list(range(300))}, None, None))
    assert answer.status == TOO_LARGE
    assert 30_000 < int(answer.body) < 60_000


def test_rows_past_their_time_are_gone_at_once(database: Database, table_id: OnlineTableId) -> None:
    late = OnlineLookups(database, SETTINGS, lambda: datetime(2100, 1, 1, tzinfo=UTC))
    lookup = Lookup({"id": [1]}, None, ["id"])
    assert late.find(table_id, lookup).body == b'[{"id":1}]'
    with database.write() as session:
        get_table(session, table_id).retention_hours = 1
    assert late.find(table_id, lookup).body == b"[]"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "has the form"),
        (b"[]", "has the form"),
        (b"[" * 100_000, "has the form"),
        (b'{"queryData": [1]}', "Expected `object`, got `array`"),
        (b'{"queryData": {"a": [[1]]}}', r"got `array` - at `\$.queryData"),
        (b'{"queryData": {"a": 1}, "limitResults": "3"}', "Expected `int | null`, got `str`"),
        (b'{"queryData": {"a": 1}, "resultColumns": "a"}', "Expected `array | null`, got `str`"),
        (b"\xff\xfe", "has the form"),
    ],
)
def test_a_body_of_another_form_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(InvalidParameterError, match=why.replace("|", r"\|")):
        read_lookup(body, SETTINGS)


def test_nulls_are_left_out_and_one_value_is_a_list_of_one() -> None:
    body = b'{"queryData": {"a": "x", "b": [1, 2.5, true]}, "limitResults": null, "other": null}'
    assert read_lookup(body, SETTINGS) == Lookup({"a": ["x"], "b": [1, 2.5, True]}, None, None)
    with pytest.raises(MissingParameterError, match="queryData"):
        read_lookup(b'{"queryData": null}', SETTINGS)
