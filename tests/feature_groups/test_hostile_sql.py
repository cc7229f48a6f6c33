"""Queries that want out, or want everything: refused when they are defined, and again by the guest that gets them raw.

The second half goes around the translation: the engine in its guest is handed the attack as it is. Source: the list of
attacks, row 13, and DuckDB's page on securing it.
"""

import time
from collections.abc import Iterator

import pytest

from modelyard.environments import Environments
from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.queries.sql import Query
from modelyard.sandbox import Guest, Limits, Outcome, Sandbox
from modelyard.settings import Settings
from tests.conftest import shared_cache

pytestmark = pytest.mark.sandbox

#: What is no query at all.
STATEMENTS = [
    "COPY (SELECT 1) TO '/tmp/out.csv'",
    "COPY events TO '/tmp/out.parquet'",
    "ATTACH '/etc/passwd' AS p",
    "ATTACH 'modelyard.db' AS p (TYPE sqlite)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL spatial",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET ALL",
    "PRAGMA database_list",
    "PRAGMA disable_object_cache",
    "CALL pragma_version()",
    "EXPORT DATABASE '/tmp/out'",
    "IMPORT DATABASE '/tmp/out'",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE TABLE t AS SELECT 1",
    "CREATE MACRO m(x) AS x",
    "INSERT INTO events VALUES (1)",
    "UPDATE events SET id = 1",
    "DELETE FROM events",
    "DROP VIEW events",
    "CHECKPOINT",
    "VACUUM",
    "USE memory",
    "EXECUTE p",
    "PREPARE p AS SELECT 1",
    "SELECT 1; COPY (SELECT 1) TO '/tmp/out.csv'",
    "WITH x AS (INSERT INTO events VALUES (1) RETURNING *) SELECT * FROM x",
]
#: Queries that read what is no table of anybody's.
READERS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/proc/self/environ')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM read_parquet('/etc/*')",
    "SELECT * FROM read_json('http://169.254.169.254/latest/meta-data')",
    "SELECT * FROM parquet_scan('s3://bucket/key')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM `/proc/self/environ`",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM sqlite_scan('/home/modelyard.db', 'api_keys')",
    "SELECT * FROM postgres_scan('host=localhost', 'public', 'users')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''/tmp/x''')",
    "SELECT * FROM query_table('sys')",
    "SELECT * FROM arrow_scan(0, 0, 0)",
    "SELECT * FROM python_map_function()",
    "SELECT getenv('HOME')",
    "SELECT * FROM sys",
    "SELECT * FROM work",
    "SELECT * FROM connection",
]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Guests of the base environment."""
    opened = Sandbox(Settings.load({}, home=tmp_path_factory.mktemp("home"), cache=shared_cache(), warm_guests=0))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def environments(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """What guests run with."""
    settings = Settings.load({}, home=tmp_path_factory.mktemp("other"), cache=shared_cache())
    return Environments(settings, sandbox)


@pytest.fixture(scope="module")
def guest(sandbox: Sandbox, environments: Environments) -> Iterator[Guest]:
    """One guest for attacks that are to fail at once."""
    with (base := environments.base()).hold():
        yield sandbox.start(base.interpreter, Limits(memory_gib=1, timeout_s=30))


def raw(sandbox: Sandbox, environments: Environments, query: str, **limits: float) -> Outcome[None]:
    """The query as the engine gets it, in a guest of its own with little to spend."""
    with (base := environments.base()).hold():
        message = {"query": query, "tables": {}, "memory_gib": 1, "scratch_gib": 0.2, "threads": 1}
        spent = Limits(memory_gib=1, timeout_s=limits.get("timeout_s", 5), scratch_gib=0.2)
        return sandbox.run(base.interpreter, spent, "sql", message)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_statement_but_a_query_can_be_defined(statement: str) -> None:
    with pytest.raises(InvalidParameterError):
        _ = Query(statement).tables


@pytest.mark.parametrize("query", READERS)
def test_no_query_can_be_defined_that_reads_anything_but_tables(query: str) -> None:
    try:
        read = Query(query)
        names = [use.name for use in read.tables]
        read.in_engine_dialect({name: name for name in names})
    except InvalidParameterError:
        return
    # What is left are names of tables, which are looked up among the organisation's own and refused there.
    assert names == [query.rsplit(" ", 1)[-1].strip("`\"'")]


@pytest.mark.parametrize("attack", [*STATEMENTS, *READERS])
def test_the_guest_refuses_what_came_around_the_translation(attack: str, guest: Guest) -> None:
    reply = guest.call("sql", {"query": attack, "tables": {}, "memory_gib": 1, "threads": 1}, [])
    assert reply.error is not None, attack
    assert "root:" not in reply.error.sentence


@pytest.mark.parametrize(
    "query",
    [
        "SELECT current_setting('temp_directory')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM pragma_database_list()",
    ],
)
def test_what_the_engine_tells_about_itself_can_not_be_defined(query: str) -> None:
    with pytest.raises(InvalidParameterError):
        define(query)


def define(query: str) -> str:
    """The query for the engine, were all its tables there."""
    read = Query(query)
    return read.in_engine_dialect({use.name: use.name for use in read.tables})


@pytest.mark.parametrize(
    "bomb",
    [
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
        "WITH RECURSIVE t(n) AS (SELECT 'x' UNION ALL SELECT n || n FROM t) SELECT length(n) FROM t",
        "SELECT sum(a.range * b.range % 7) FROM range(1000000000) a, range(1000000000) b",
        "SELECT * FROM range(1000000000000)",
        "SELECT range(1000000000000)",
        "SELECT list_transform(range(100000000), LAMBDA x : repeat('x', 1000000))",
        "SELECT repeat('x', 2000000000) || repeat('y', 2000000000)",
        "SELECT string_agg(repeat(i::VARCHAR, 100000), '') FROM range(1000000) t(i)",
        "SELECT DISTINCT hash(a.range, b.range) FROM range(1000000) a, range(1000000) b",
        "SELECT a.range FROM range(100000000) a ORDER BY hash(a.range), repeat('x', 1000)",
        "SELECT count(*) FROM range(100000000) t(i) WHERE regexp_matches(repeat('a', 5000) || i, '(a?){500}(a*)*b')",
    ],
    ids=range(11),
)
def test_a_bomb_ends_its_guest_and_nothing_else(bomb: str, sandbox: Sandbox, environments: Environments) -> None:
    began = time.monotonic()
    outcome = raw(sandbox, environments, bomb, timeout_s=2)
    assert outcome.error is not None
    assert time.monotonic() - began < 25
    assert raw(sandbox, environments, "SELECT 1 AS one").error is None


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 IN (" + ", ".join(map(str, range(9_000))) + ") AS x",
        "SELECT " + " + ".join(["1"] * 3_000) + " AS x",
        "SELECT " + "(" * 300 + "1" + ")" * 300 + " AS x",
        "SELECT " + "abs(" * 100 + "1" + ")" * 100 + " AS x",
        "SELECT CASE " + " ".join(f"WHEN 1 = {at} THEN {at}" for at in range(1_500)) + " END AS x",
        "SELECT " + ", ".join(f"1 AS c{at}" for at in range(5_000)),
        "SELECT 1 AS x" + " UNION ALL SELECT 1" * 400,
        "SELECT " + "CAST(" * 60 + "'1'" + " AS INT)" * 60 + " AS x",
        "SELECT " + "pmod(" * 12 + "7" + ", 5)" * 12 + " AS x",
    ],
    ids=["long list", "sum", "brackets", "calls", "case", "columns", "unions", "casts", "macros"],
)
def test_a_large_query_ends_soon_either_way(query: str, sandbox: Sandbox, environments: Environments) -> None:
    began = time.monotonic()
    try:
        engine_sql = Query(query).in_engine_dialect({})
    except InvalidParameterError:
        assert time.monotonic() - began < 10
        return
    outcome = raw(sandbox, environments, engine_sql, timeout_s=20)
    assert outcome.error is None or outcome.error.sentence
    assert time.monotonic() - began < 40
