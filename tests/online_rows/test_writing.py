"""The writer of rows against a plain dictionary, on both databases, by one caller and by many at once."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.clock import utc_now
from modelyard.database import Database, at_one_moment
from modelyard.errors import AlreadyExistsError, DataNotFoundError, InvalidParameterError
from modelyard.ids import OnlineTableId, OrganizationId
from modelyard.online_rows import writing
from modelyard.online_rows.changes import Change, Row, Verb, WrittenRow, read_rows
from modelyard.online_rows.reading import find_row, get_table, newest_rows, read_all
from modelyard.online_rows.records import OnlineTable
from modelyard.online_rows.retention import set_retention, sweep
from modelyard.online_rows.tables import add_table, drop_table, set_primary_key
from modelyard.online_rows.writing import Order, RowWriter
from modelyard.settings import Settings

LIMITS = Settings(home=Path("/nowhere"))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Bench:
    """One online table and its writer."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, Clock()
        self.writer = RowWriter(database, self.clock)
        with database.write() as session:
            self.table_id = add_table(session, utc_now, OrganizationId("o"), "id").online_table_id

    def write(self, verb: Verb, *rows: dict[str, Any]) -> list[WrittenRow]:
        return self.order(verb, *rows).result(30)

    def order(self, verb: Verb, *rows: dict[str, Any]) -> Future[list[WrittenRow]]:
        def prepare() -> Order:
            read = read_rows(rows, "id", LIMITS, stamp=None, generate=verb == Verb.APPEND)
            return Order(self.table_id, Change(verb, read))

        return self.writer.submit(prepare, lambda written: written)

    def delete(self, *keys: str) -> None:
        change = Change(Verb.DELETE, tuple(Row(key) for key in keys))
        self.writer.submit(lambda: Order(self.table_id, change), lambda _: None).result(30)

    def rows(self) -> dict[str, dict[str, Any]]:
        with self.database.read() as session:
            at_one_moment(session)
            _, lines = read_all(session, self.table_id, self.clock)
            found = [json.loads(line) for line in b"".join(lines).splitlines()]
        assert len({row["id"] for row in found}) == len(found)
        return {row["id"]: row for row in found}

    def table(self) -> OnlineTable:
        with self.database.read() as session:
            return get_table(session, self.table_id)

    def keep(self, *, hours: int | None = None, count: int | None = None, since: datetime | None = None) -> None:
        with self.database.write() as session:
            set_retention(get_table(session, self.table_id), hours, count, since)


@pytest.fixture
def bench(database: Database) -> Iterator[Bench]:
    opened = Bench(database)
    yield opened
    opened.writer.close()


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('rows') / 'rows.db'}")
    database.migrate()
    opened = Bench(database)
    yield opened
    opened.writer.close()
    database.close()


def _always(order: Order) -> Callable[[], Order]:
    return lambda: order


KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.tuples(KEYS, st.integers()), min_size=1, max_size=4)),
        st.tuples(st.just("append"), st.lists(st.tuples(KEYS, st.integers()), min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.lists(st.tuples(KEYS, st.integers()), min_size=1, max_size=3)),
    ),
    max_size=15,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changes_leave_what_a_dictionary_would_hold(shared_bench: Bench, steps: list[Any]) -> None:
    model: dict[str, dict[str, Any]] = {}
    with shared_bench.database.write() as session:
        shared_bench.table_id = add_table(session, utc_now, OrganizationId("o"), "id").online_table_id
    futures: list[tuple[Future[Any], bool]] = []
    for verb, pairs in steps:
        rows = [{"id": key, "n": number % 2**50} for key, number in pairs]
        keys = [row["id"] for row in rows]
        if verb == "delete":
            change = Change(Verb.DELETE, tuple(Row(key) for key in keys))
            order = Order(shared_bench.table_id, change)
            future: Future[Any] = shared_bench.writer.submit(_always(order), list)
            good = all(key in model for key in keys)
            if good:
                for key in keys:
                    model.pop(key, None)
        else:
            future = shared_bench.order(Verb(verb), *rows)
            good = verb == "upsert" or (len(set(keys)) == len(keys) and not model.keys() & set(keys))
            if good:
                model |= {row["id"]: row for row in rows}
        futures.append((future, good))
    for future, good in futures:
        assert (future.exception(30) is None) is good
    assert shared_bench.rows() == model
    assert shared_bench.table().row_count == len(model)


def test_a_row_is_found_by_its_key_as_it_was_written_last(bench: Bench) -> None:
    [first] = bench.write(Verb.APPEND, {"id": "a", "n": 1})
    bench.clock.now += timedelta(hours=1)
    [second] = bench.write(Verb.UPSERT, {"id": "a", "n": 2, "new": "x"})
    assert (second.created_at, second.updated_at) == (first.created_at, bench.clock.now)
    with bench.database.read() as session:
        found = find_row(session, get_table(session, bench.table_id), "a", bench.clock.now)
        assert found == second
        assert find_row(session, get_table(session, bench.table_id), "b", bench.clock.now) is None


def test_rows_are_told_newest_first(bench: Bench) -> None:
    bench.write(Verb.APPEND, *({"id": key} for key in "abc"))
    bench.write(Verb.UPSERT, {"id": "a"})
    with bench.database.read() as session:
        newest = newest_rows(session, get_table(session, bench.table_id), 2, bench.clock.now)
    assert [row.key for row in newest] == ["a", "c"]


def test_an_appended_key_that_is_there_is_refused_with_all_rows_of_its_call(bench: Bench) -> None:
    bench.write(Verb.APPEND, {"id": "a", "n": 1})
    with pytest.raises(AlreadyExistsError, match="Row 2: there is a row with the id 'a' already"):
        bench.write(Verb.APPEND, {"id": "b", "n": 2}, {"id": "a", "n": 3})
    with pytest.raises(AlreadyExistsError, match="Row 2"):
        bench.write(Verb.APPEND, {"id": "c"}, {"id": "c"})
    assert bench.rows() == {"a": {"id": "a", "n": 1}}


def test_rows_without_a_key_get_one_in_the_order_of_their_coming(bench: Bench) -> None:
    written = bench.write(Verb.APPEND, *({"n": number} for number in range(50)))
    keys = [row.key for row in written]
    assert sorted(set(keys)) == keys
    assert [json.loads(row.contents)["id"] for row in written] == keys


def test_a_value_of_another_kind_is_refused_by_row_and_column(bench: Bench) -> None:
    bench.write(Verb.UPSERT, {"id": "a", "n": 1, "t": "x", "l": [1], "nothing": None})
    with pytest.raises(InvalidParameterError, match="Row 2: column 't' holds an integer, but rows before have a str"):
        bench.write(Verb.UPSERT, {"id": "b", "t": "y"}, {"id": "c", "t": 7})
    bench.write(Verb.UPSERT, {"id": "b", "n": 1.5, "t": None, "nothing": {"a": 1}})
    bench.write(Verb.UPSERT, {"id": "c", "n": 2})
    assert bench.table().columns == {
        "id": "string", "n": "number", "t": "string", "l": "list", "nothing": "struct",
    }  # fmt: skip
    assert bench.rows().keys() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"n": 1}, "Row 1: there is no value for id"),
        ({"id": None}, "there is no value for id"),
        ({"id": ""}, "1 to 1000 characters, not 0"),
        ({"id": "x" * 1001}, "not 1,001"),
        ({"id": 1.5}, "must be text or a whole number, as it is the primary key, not a number"),
        ({"id": True}, "not a boolean"),
        ({"id": ["a"]}, "not a list"),
        ({"id": "a", "": 1}, "names of columns"),
        ({"id": "a", "text": "x" * 2_000_000}, "at most 1,048,576 are allowed"),
        ({"id": "a"} | {f"c{number}": 1 for number in range(1001)}, "at most 1,000 are allowed"),
    ],
)
def test_what_is_no_row_is_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        read_rows([row], "id", LIMITS, stamp=None, generate=False)


@pytest.mark.parametrize("rows", [[], [{"id": "a"}] * 10_001])
def test_too_few_and_too_many_rows_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidParameterError, match=r"holds no row|at most 10,000 can be sent"):
        read_rows(rows, "id", LIMITS, stamp=None, generate=False)


def test_a_number_and_its_text_are_the_same_key(bench: Bench) -> None:
    bench.write(Verb.UPSERT, {"id": 7, "n": 1})
    bench.delete("7")
    assert bench.rows() == {}


def test_deleting_what_is_not_there_deletes_nothing(bench: Bench) -> None:
    bench.write(Verb.UPSERT, {"id": "a"})
    with pytest.raises(DataNotFoundError, match="no row with the id 'b'"):
        bench.delete("a", "b")
    assert bench.rows().keys() == {"a"}


def test_a_dropped_table_is_an_error_and_its_rows_are_swept_away(bench: Bench) -> None:
    bench.write(Verb.UPSERT, {"id": "a"}, {"id": "b"})
    with bench.database.write() as session:
        drop_table(session, bench.table_id)
    with pytest.raises(DataNotFoundError, match="deleted meanwhile"):
        bench.write(Verb.UPSERT, {"id": "a"})
    assert sweep(bench.database, bench.clock.now) == 2
    assert sweep(bench.database, bench.clock.now) == 0


def test_only_so_many_rows_are_kept(bench: Bench) -> None:
    bench.write(Verb.APPEND, *({"id": f"{number}"} for number in range(10)))
    bench.keep(count=3)
    bench.write(Verb.UPSERT, {"id": "0"})
    assert list(bench.rows()) == ["8", "9", "0"]
    assert bench.table().row_count == 3
    bench.keep(count=0)
    bench.write(Verb.APPEND, *({"id": f"x{number}"} for number in range(10)))
    assert len(bench.rows()) == 13


def test_rows_past_their_hours_are_not_seen_and_then_not_there(bench: Bench) -> None:
    bench.write(Verb.APPEND, {"id": "old"}, {"id": "kept"})
    bench.keep(hours=2)
    bench.clock.now += timedelta(hours=1)
    bench.write(Verb.UPSERT, {"id": "kept"})
    bench.clock.now += timedelta(hours=1, minutes=1)
    before = bench.table().last_change
    assert list(bench.rows()) == ["kept"]
    with bench.database.read() as session:
        assert find_row(session, get_table(session, bench.table_id), "old", bench.clock.now) is None
    assert sweep(bench.database, bench.clock.now) == 1
    assert bench.table().row_count == 1
    assert bench.table().last_change > before, "a version that was made before is outdated now"


def test_a_key_whose_row_is_past_its_time_can_be_appended_again(bench: Bench) -> None:
    bench.write(Verb.APPEND, {"id": "a", "n": 1})
    bench.keep(hours=1)
    bench.clock.now += timedelta(hours=2)
    with pytest.raises(DataNotFoundError):
        bench.delete("a")
    [again] = bench.write(Verb.APPEND, {"id": "a", "n": 2})
    assert again.created_at == bench.clock.now
    assert bench.rows() == {"a": {"id": "a", "n": 2}}
    assert bench.table().row_count == 1


def test_rows_before_a_moment_are_ignored(bench: Bench) -> None:
    bench.write(Verb.APPEND, {"id": "before"})
    bench.clock.now += timedelta(minutes=1)
    bench.keep(since=bench.clock.now)
    bench.write(Verb.APPEND, {"id": "after"})
    assert bench.rows().keys() == {"after"}


def test_the_primary_key_stays_once_there_are_rows(bench: Bench) -> None:
    with bench.database.write() as session:
        set_primary_key(session, bench.table_id, "other")
        set_primary_key(session, bench.table_id, "id")
    bench.write(Verb.UPSERT, {"id": "a"})
    with bench.database.write() as session, pytest.raises(Exception, match="1 rows are kept by it"):
        set_primary_key(session, bench.table_id, "other")


def test_many_callers_at_once_lose_nothing_and_share_commits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    really = writing._write_table

    def counted(connection: Any, table_id: OnlineTableId, jobs: Any, now: datetime) -> None:
        batches.append(len(jobs))
        really(connection, table_id, jobs, now)

    monkeypatch.setattr(writing, "_write_table", counted)

    def call(caller: int) -> None:
        for number in range(40):
            bench.write(Verb.UPSERT, {"id": f"{caller}-{number}", "n": number})

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(bench.rows()) == sum(batches) == 640
    assert len(batches) < 640


def test_all_rows_are_read_as_of_one_moment(bench: Bench) -> None:
    bench.write(Verb.APPEND, {"id": "x"})
    bench.write(Verb.UPSERT, *({"id": f"{number:05}"} for number in range(9_000)))
    with bench.database.read() as session:
        at_one_moment(session)
        moment, lines = read_all(session, bench.table_id, bench.clock)
        bench.write(Verb.UPSERT, {"id": "late"}, {"id": "00000", "late": True})
        found = [json.loads(line) for line in b"".join(lines).splitlines()]
    assert len(found) == 9_001
    assert not [row for row in found if row.get("late") or row["id"] == "late"]
    assert moment.last_change < bench.table().last_change
