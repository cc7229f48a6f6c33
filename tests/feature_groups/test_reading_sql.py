"""Reading queries in the gateway: what is found in them, what is refused and how, and that no input hangs it."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.queries.sql import LONGEST, Query

KNOWN = {"events": ["id", "amount"], "customers": ["id", "name"]}


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT 1", []),
        ("SELECT * FROM events", ["events"]),
        ("SELECT * FROM events e JOIN customers c ON e.id = c.id", ["events", "customers"]),
        ("WITH events AS (SELECT 1 id) SELECT * FROM events", []),
        ("WITH a AS (SELECT * FROM events) SELECT * FROM a", ["events"]),
        ("WITH a AS (SELECT 1 id) SELECT * FROM (SELECT * FROM a) JOIN events USING (id)", ["events"]),
        ("SELECT (SELECT MAX(id) FROM customers) m FROM events", ["customers", "events"]),
        ("SELECT id FROM events WHERE id IN (SELECT id FROM customers)", ["events", "customers"]),
        ("SELECT id FROM events UNION ALL SELECT id FROM customers", ["events", "customers"]),
        ("SELECT x FROM customers LATERAL VIEW explode(split(name, ',')) t AS x", ["customers"]),
        ("SELECT * FROM `events`", ["events"]),
        ("SELECT a.id FROM events a, events b WHERE EXISTS (SELECT 1 FROM customers)", ["events", "customers"]),
    ],
)
def test_the_tables_that_a_query_needs_are_found(query: str, tables: list[str]) -> None:
    assert [use.name for use in Query(query).tables] == tables


def test_a_table_is_named_with_its_place() -> None:
    (use,) = Query("SELECT *\n  FROM evnts").tables
    assert use.place == "line 2, column 8"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("DROP TABLE events", "must be a SELECT"),
        ("INSERT INTO events SELECT * FROM events", "must be a SELECT"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT 1; DROP TABLE events", "2 statements"),
        ("SELECT FROM WHERE", "line 1"),
        ("SELECT id FROM events WHERE (id = 1", "line 1"),
        ("SELECT * FROM read_csv('/etc/passwd')", r"read_csv\(\.\.\.\)"),
        ("SELECT * FROM other.events", "without dots"),
        ("SELECT 'a", "can't be read"),
        ("x" * (LONGEST + 1), "characters"),
        ("SELECT " + "1, " * 15_000 + "1", "words"),
        ("SHOW TABLES", "must be a SELECT"),
        ("SET x = 1", "must be a SELECT"),
        ("CREATE TABLE t AS SELECT 1", "must be a SELECT"),
    ],
)
def test_what_is_no_single_select_is_refused_with_the_reason(query: str, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        _ = Query(query).tables


@pytest.mark.parametrize(
    "query",
    [
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "SELECT " + "f(" * 5_000 + "1" + ")" * 5_000,
        "SELECT * FROM " + "(SELECT * FROM " * 3_000 + "t" + ")" * 3_000,
        "SELECT " + "CASE WHEN 1 = 1 THEN " * 2_000 + "1" + " END" * 2_000,
        "SELECT " + "NOT " * 9_000 + "1",
        "SELECT " + "- " * 9_000 + "1",
        "SELECT 1" + " + 1" * 9_000,
        "SELECT 1" + " UNION SELECT 1" * 5_000,
        "SELECT CAST(1 AS " + "ARRAY<" * 5_000 + "INT" + ">" * 5_000 + ")",
        "SELECT " + "transform(a, x -> " * 300 + "1" + ")" * 300,
        "SELECT a" + "[0]" * 5_000 + " FROM events",
        "SELECT " + "CAST(" * 300 + "a" + " AS INT)" * 300 + " FROM events",
        "WITH " + ", ".join(f"t{n} AS (SELECT * FROM t{n - 1})" for n in range(1, 800)) + " SELECT * FROM t799",
        "(" * 9_000,
        "SELECT " + "'" * 9_999,
        "/*" * 9_000,
        "SELECT \x00",
        "SELECT \ud800",
    ],
    ids=range(18),
)
def test_a_hostile_query_ends_soon_and_in_a_clean_refusal_or_a_query(query: str) -> None:
    began = time.thread_time()
    try:
        read = Query(query)
        names = {use.name: use.name for use in read.tables}
        read.check_columns(KNOWN)
        read.in_engine_dialect(names)
    except InvalidParameterError:
        pass
    assert time.thread_time() - began < 5


WORDS = (
    "SELECT FROM WHERE events customers ( ) , * id name 1 'x' AND OR NOT = + - CASE WHEN THEN END JOIN ON USING WITH "
    "AS UNION GROUP BY ORDER LIMIT OVER PARTITION CAST INT ` [ ] -> :: . ; NULL IN EXISTS INTERVAL DAY a t"
)


@settings(max_examples=300, deadline=5_000)
@given(st.lists(st.sampled_from(WORDS.split(" ")), max_size=40))
def test_no_jumble_of_words_raises_anything_but_a_refusal(words: list[str]) -> None:
    with contextlib.suppress(InvalidParameterError):
        query = Query("SELECT " + " ".join(words))
        names = {use.name: use.name for use in query.tables}
        query.check_columns(KNOWN)
        query.in_engine_dialect(names)


@settings(max_examples=200, deadline=5_000)
@given(st.text(max_size=60))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    with contextlib.suppress(InvalidParameterError):
        _ = Query(text).tables


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT amuont FROM events", r"line 1, column 8: there is no column 'amuont'; did you mean amount\?"),
        ("SELECT id FROM events WHERE\n  amuont > 1", "line 2, column 3: there is no column 'amuont'"),
        ("SELECT c.nam FROM events e JOIN customers c ON e.id = c.id", "no column 'nam'; did you mean name"),
        ("SELECT e.nam FROM events e JOIN customers c ON e.id = c.id", "no column 'nam'; there are id, amount"),
    ],
)
def test_a_column_that_no_table_has_is_named_with_its_nearest(query: str, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Query(query).check_columns(KNOWN)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id AS other, other + 1 FROM events",
        "SELECT ID, Amount FROM Events",
        "WITH a AS (SELECT id AS k FROM events) SELECT k FROM a",
        "SELECT x FROM (SELECT id AS x FROM events) t ORDER BY x",
        "SELECT transform(array(id), x -> x + 1) FROM events",
        "SELECT t.x FROM events LATERAL VIEW explode(array(id)) t AS x",
        "SELECT unknown_column FROM events JOIN unknown_table USING (id)",
        "SELECT a FROM VALUES (1) AS t(a)",
        "SELECT named_struct('f', id).f FROM events",
        "SELECT SUM(amount) AS total FROM events GROUP BY id HAVING total > 1",
    ],
)
def test_a_column_that_may_be_there_is_left_to_the_engine(query: str) -> None:
    Query(query).check_columns({name.capitalize() if "Events" in query else name: c for name, c in KNOWN.items()})
