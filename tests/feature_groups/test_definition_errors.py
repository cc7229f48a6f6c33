"""What is wrong with a query is said when it is defined, with its place and what was probably meant."""

# ruff: noqa: E501 - a query is read best in one line
import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.environments import Environments
from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.queries import calls
from modelyard.feature_groups.queries.sql import Query
from modelyard.ids import new_id
from modelyard.sandbox import Limits, Sandbox
from modelyard.settings import Settings
from tests.conftest import shared_cache
from tests.feature_groups.conftest import Tables
from tests.feature_groups.engine_functions import asked
from tests.feature_groups.golden import TABLES, Golden
from tests.feature_groups.golden_sql import QUERIES
from tests.yard import CallFailed

KNOWN = {"events": ["id", "amount"], "customers": ["id", "name"]}


def define(text: str) -> str:
    """What `createFeatureGroup` does with a query, but for looking up its tables."""
    query = Query(text)
    query.check_columns(KNOWN)
    return query.in_engine_dialect({use.name: use.name for use in query.tables})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        # Columns
        ("SELECT id FROM events, customers", "line 1, column 8: column 'id' is in events and customers; write events.id"),
        ("SELECT id FROM events e JOIN customers c ON e.id = c.id", "line 1, column 8: column 'id' is in e and c; write e.id"),
        ("SELECT z.id FROM events e", "line 1, column 10: no table is called 'z' there; there are e"),
        ("SELECT evnts.id FROM events", "no table is called 'evnts' there; did you mean events?"),
        ("SELECT id FROM events\nORDER BY amont", "line 2, column 10: there is no column 'amont'; did you mean amount?"),
        ("SELECT COUNT(*) FROM customers GROUP BY nme", "there is no column 'nme'; did you mean name?"),
        ("WITH a AS (SELECT id FROM events) SELECT amount FROM a", "line 1, column 42: there is no column 'amount'"),
        ("SELECT x FROM (SELECT id FROM events) t", "there is no column 'x'; there are id"),
        ("SELECT amont FROM (SELECT * FROM events) t", "there is no column 'amont'; did you mean amount?"),
        ("SELECT amount FROM (SELECT * EXCEPT (amount) FROM events) t", "there is no column 'amount'; there are id"),
        ("WITH a AS (SELECT e.*, 1 AS one FROM events e) SELECT two FROM a", "there is no column 'two'; there are id, amount, one"),
        ("SELECT (SELECT nme FROM customers LIMIT 1) FROM events", "there is no column 'nme'; did you mean name?"),
        ("SELECT id FROM events UNION SELECT nme FROM customers", "line 1, column 36: there is no column 'nme'"),
        # Functions
        ("SELECT uper(name) FROM customers", "line 1, column 8: there is no function 'uper' here; did you mean upper?"),
        ("SELECT\n  collect_lst(id) FROM events", "line 2, column 3: there is no function 'collect_lst' here; did you mean collect_list?"),
        ("SELECT crc32(name) FROM customers", "there is no function 'crc32' here"),
        ("SELECT inline(array()) FROM events", "there is no function 'inline' here"),
        ("SELECT substring_index(name) FROM customers", "line 1, column 8: substring_index takes 3 arguments, not 1"),
        ("SELECT nanvl(amount, 1, 2) FROM events", "nanvl takes 2 arguments, not 3"),
        ("SELECT upper() FROM customers", "line 1, column 14, at ')': Upper lacks an argument"),
        ("SELECT upper(name, 1) FROM customers", "line 1, column 21"),
        ("SELECT some.thing(id) FROM events", "functions have one name, without dots"),
        ("SELECT zip_with(array(1), array(2), x -> x)", "zip_with needs a function of 2 parameters"),
        # What there is no counterpart of
        ("SELECT split('a,b', ',', 2)", "split takes no limit here"),
        ("SELECT explode(map('a', 1)) AS (k, v)", "one expression gives one column here"),
        ("SELECT rand(7)", "can't be run here: RANDOM with seed"),
        ("SELECT to_number('1', '9')", "can't be run here"),
        # Syntax
        ("SELECT sum(id FROM events", "line 1, column 18"),
        ("SELCT id FROM events", "line 1"),
        ("SELECT id FROM events GROUP BY", "GROUP BY names nothing"),
        ("SELECT id\nFROM events\nWHERE (id = 1", "line 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(query: str, message: str) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        define(query)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM events JOIN customers USING (id)",
        "SELECT id FROM events NATURAL JOIN customers",
        "SELECT (SELECT MAX(name) FROM customers c WHERE c.id = e.id) FROM events e",
        "SELECT (SELECT MAX(name) FROM customers c WHERE c.id = amount) FROM events e",
        "SELECT s.k FROM (SELECT struct(id AS k) s FROM events)",
        "SELECT amount a FROM events GROUP BY a HAVING a > 1 ORDER BY a",
        "SELECT * FROM (SELECT id, amount FROM events) PIVOT (SUM(amount) FOR id IN (1, 2))",
        "SELECT amount, name FROM (SELECT e.*, c.name FROM events e JOIN customers c USING (id)) t",
        "SELECT id FROM (SELECT * FROM events JOIN customers USING (id)) t",
        "SELECT x.id FROM (SELECT * FROM events) x JOIN (SELECT * FROM customers) y ON x.id = y.id",
        "SELECT t.x, pos FROM events LATERAL VIEW posexplode(array(id)) t AS pos, x",
    ],
)
def test_what_can_be_resolved_is_not_refused(query: str) -> None:
    define(query)


@pytest.mark.parametrize(
    "action", ["createFeatureGroup", "updateFeatureGroupSqlDefinition", "executeAsyncFeatureGroupOperation"]
)
@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT *\nFROM evnts", "line 2, column 6: There is no table 'evnts'; did you mean events?"),
        ("SELECT amuont FROM events", "line 1, column 8: there is no column 'amuont'; did you mean amount?"),
        ("SELECT id FROM events a, events b", "column 'id' is in a and b; write a.id"),
        ("SELECT uper(name) FROM events", "line 1, column 8: there is no function 'uper' here; did you mean upper?"),
        ("SELECT nanvl(amount) FROM events", "line 1, column 8: nanvl takes 2 arguments, not 1"),
        ("SELECT id FORM events", "line 1, column"),
    ],
)
def test_every_door_for_queries_says_so(shared: Tables, action: str, sql: str, message: str) -> None:
    shared.put("events", id=[1], amount=[2.0], name=["x"])
    name = f"errors_{action.lower()}"
    given = {"tableName": name, "sql": sql}
    if action == "executeAsyncFeatureGroupOperation":
        given = {"query": sql}
    elif action == "updateFeatureGroupSqlDefinition":
        given = {"featureGroupId": shared.sql(f"{name}_{new_id()}", "SELECT id FROM events"), "sql": sql}
    with pytest.raises(CallFailed) as raised:
        shared.yard.call(action, "PATCH" if action.startswith("update") else "POST", **given)
    assert raised.value.status == 400
    assert message in raised.value.error


def test_a_circle_is_refused_with_the_whole_way_around(shared: Tables) -> None:
    shared.put("circle_rows", id=[1])
    first = shared.sql("circle_a", "SELECT * FROM circle_rows")
    shared.sql("circle_b", "SELECT * FROM circle_a")
    shared.sql("circle_c", "SELECT * FROM circle_b")
    with pytest.raises(CallFailed) as raised:
        shared.yard.call("updateFeatureGroupSqlDefinition", "PATCH", featureGroupId=first, sql="SELECT * FROM circle_c")
    assert raised.value.status == 400
    assert "circle_a -> circle_c -> circle_b -> circle_a" in raised.value.error
    with pytest.raises(CallFailed, match="circle_a -> circle_a"):
        shared.yard.call("updateFeatureGroupSqlDefinition", "PATCH", featureGroupId=first, sql="SELECT * FROM circle_a")


@settings(max_examples=400, deadline=5_000)
@given(st.sampled_from(QUERIES), st.integers(0, 2**32), st.integers(1, 4))
def test_a_mutated_query_is_a_query_or_a_refusal(golden: Golden, seed: int, changes: int) -> None:
    text, chance = golden.query, random.Random(seed)
    words = text.split(" ")
    for _ in range(changes):
        at = chance.randrange(len(words))
        what = chance.randrange(5)
        if what == 0 and len(words) > 1:
            del words[at]
        elif what == 1:
            words.insert(at, chance.choice(words))
        elif what == 2:
            other = chance.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        elif what == 3:
            words[at] = words[at][: chance.randrange(len(words[at]) + 1)]
        else:
            words[at] += chance.choice(["(", ")", ",", "'", "`", "[", "]", " -> x", ".x", "(*)", " OVER ()"])
    with contextlib.suppress(InvalidParameterError):
        query = Query(" ".join(words))
        query.check_columns({name: list(columns) for name, (columns, _) in TABLES.items()})
        query.in_engine_dialect({use.name: use.name for use in query.tables})


@pytest.mark.sandbox
def test_the_list_of_functions_is_what_the_engine_has(tmp_path: Path) -> None:
    settings = Settings.load({}, home=tmp_path, cache=shared_cache())
    sandbox = Sandbox(settings)
    with (base := Environments(settings, sandbox).base()).hold():
        lines = asked(sandbox.start(base.interpreter, Limits(memory_gib=1, timeout_s=60)))
    sandbox.close()
    kept = Path(calls.__file__).with_name("engine_functions.txt").read_text()
    assert lines == kept, "run: python -m tests.feature_groups.engine_functions > ../engine_functions.txt"
