"""What is asked of a foreign database: its tables, their columns, a query, or all rows of one.

Whatever a caller writes must be one query: it is read by a parser first, runs in a transaction that only reads, and as
the database user that the connector names, whose own rights are the last word.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from modelyard.connectors.avro_rows import ColumnOf, ColumnType, write_rows
from modelyard.connectors.databases import Database, find_database
from modelyard.connectors.records import DatabaseService
from modelyard.errors import DataNotFoundError, InvalidParameterError

__all__ = [
    "Question",
    "check_question",
    "find_database",
    "list_objects",
    "object_columns",
    "read_rows",
    "run_query",
    "sql_of",
]

_DIALECTS = {
    DatabaseService.POSTGRESQL: "postgres",
    DatabaseService.MYSQL: "mysql",
    DatabaseService.SQLITE: "sqlite",
    DatabaseService.DUCKDB: "duckdb",
    DatabaseService.SNOWFLAKE: "snowflake",
    DatabaseService.BIGQUERY: "bigquery",
}
_QUERY_LIMIT = 100_000
#: What changes something, or writes files on the database's own machine, wherever it stands in a query.
_CHANGES = (
    exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Command, exp.Copy, exp.Into,
    exp.Set, exp.Pragma, exp.Attach, exp.Transaction, exp.Commit, exp.Rollback, exp.TruncateTable, exp.Lock,
)  # fmt: skip
_INTO_FILE = re.compile(r"\binto\s+(outfile|dumpfile)\b|/\*(!|M!)", re.IGNORECASE)
_CLAUSE = re.compile(r"\s*(where|group|having|order|limit|offset|fetch)\b", re.IGNORECASE)
#: Rows that are fetched at a time.
_FETCH = 10_000


class Question(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is read of a database: a query, or (some columns of) an object."""

    object_name: str | None = None
    #: Names with commas between them; None: all.
    columns: str | None = None
    #: `WHERE ...`, `ORDER BY ...`, or a condition alone.
    query_arguments: str | None = None
    #: In place of all the others.
    sql_query: str | None = None


def check_question(service: DatabaseService, question: Question) -> None:
    """Raises InvalidParameterError where it is clear without the database that nothing can be read."""
    check_query(service, sql_of(service, question))


def check_query(service: DatabaseService, sql: str) -> None:
    """Raises InvalidParameterError unless the text is one query that changes nothing."""
    if len(sql) > _QUERY_LIMIT:
        raise InvalidParameterError(f"The query has more than the limit of {_QUERY_LIMIT:,} characters")
    try:
        statements = [each for each in sqlglot.parse(sql, dialect=_DIALECTS[service]) if each is not None]
    except (SqlglotError, RecursionError) as error:
        reason = re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()[0][:300]
        raise InvalidParameterError(f"The query can't be read as SQL of {service}: {reason}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise InvalidParameterError("Only one query (SELECT ...) can be run, and nothing that changes anything")
    if _INTO_FILE.search(sql) or any(True for _ in statements[0].find_all(*_CHANGES)):
        raise InvalidParameterError("The query would change or lock something; it may only read")


def list_objects(database: Database) -> list[str]:
    """The tables and views that can be read, `schema.table` where they are not in the schema of the connection."""
    with database.connect(timeout_s=database.settings.connector_timeout_s) as connection:
        inspector = sa.inspect(connection)
        own = inspector.default_schema_name
        found = _names_in(inspector, None)
        for schema in inspector.get_schema_names():
            if schema != own and schema.lower() not in _SYSTEM and not schema.startswith("pg_"):
                found += [f"{schema}.{name}" for name in _names_in(inspector, schema)]
        return found


def object_columns(database: Database, object_name: str) -> list[tuple[str, str]]:
    """The columns of a table or view, with the database's own words for their types."""
    schema, _, name = object_name.rpartition(".")
    with database.connect(timeout_s=database.settings.connector_timeout_s) as connection:
        try:
            columns = sa.inspect(connection).get_columns(name, schema or None)
        except sa.exc.NoSuchTableError:
            raise DataNotFoundError(f"{database.name} has no table {object_name[:200]}") from None
        return [(column["name"], _words(column["type"], connection)) for column in columns]


def run_query(database: Database, sql: str) -> list[dict[str, Any]]:
    """The rows of a query; InvalidParameterError where there are more of them than the limit."""
    check_query(database.service, sql)
    limit = database.settings.connector_rows
    with database.connect(timeout_s=database.settings.connector_timeout_s) as connection:
        result = connection.execution_options(stream_results=True, max_row_buffer=1000).exec_driver_sql(_bare(sql))
        with contextlib.closing(result):
            rows = [dict(row._mapping) for row in result.fetchmany(limit + 1)]  # noqa: SLF001 - a row's public name for it
    if len(rows) > limit:
        raise InvalidParameterError(
            f"The query gives more than the limit of {limit:,} rows (connector_rows); add a LIMIT, or create a dataset"
        )
    return [{name: _for_json(value) for name, value in row.items()} for row in rows]


def read_rows(database: Database, question: Question) -> Iterator[bytes]:
    """All rows as an Avro file, in pieces, without ever having more than some thousands of them here."""
    sql = sql_of(database.service, question)
    check_query(database.service, sql)
    with database.connect() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=_FETCH)
        result = streaming.exec_driver_sql(_bare(sql))
        with contextlib.closing(result):
            columns = _columns(database.service, result)
            if not columns:
                raise InvalidParameterError("The query gives no columns")
            yield from write_rows(columns, (row for part in result.partitions(_FETCH) for row in part))


def sql_of(service: DatabaseService, question: Question) -> str:
    """The query that the question comes to, without a semicolon at its end; it is not checked yet."""
    if question.sql_query:
        return _bare(question.sql_query)
    if not question.object_name:
        raise InvalidParameterError("Name what to read: objectName, or sqlQuery")
    columns = ", ".join(_quoted(service, name.strip()) for name in (question.columns or "").split(",") if name.strip())
    source = ".".join(_quoted(service, part) for part in question.object_name.split("."))
    arguments = (question.query_arguments or "").strip()
    if arguments and not _CLAUSE.match(arguments):
        arguments = f"WHERE {arguments}"
    return f"SELECT {columns or '*'} FROM {source} {arguments}".strip()  # noqa: S608 - names are quoted, and it is checked


def _bare(sql: str) -> str:
    """The query as drivers take it: without the semicolon at its end."""
    return sql.strip().rstrip(";").rstrip()


def _quoted(service: DatabaseService, name: str) -> str:
    if not name or "\0" in name:
        raise InvalidParameterError("objectName and columns must be names")
    return exp.to_identifier(name, quoted=True).sql(dialect=_DIALECTS[service])


_SYSTEM = {"information_schema", "mysql", "performance_schema", "sys"}


def _names_in(inspector: sa.Inspector, schema: str | None) -> list[str]:
    return sorted({*inspector.get_table_names(schema), *inspector.get_view_names(schema)})


def _words(kind: Any, connection: sa.Connection) -> str:
    try:
        return str(kind.compile(dialect=connection.dialect))
    except sa.exc.CompileError:
        return str(kind)


def _for_json(value: Any) -> Any:
    """The value as an answer can hold it: what JSON has no word for as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict | list):
        return value
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def _columns(service: DatabaseService, result: sa.CursorResult[Any]) -> list[ColumnOf]:
    described: Sequence[Any] | None = result.cursor.description if result.returns_rows else None
    of = {DatabaseService.POSTGRESQL: _postgresql_type, DatabaseService.MYSQL: _mysql_type}.get(service)
    return [ColumnOf(str(entry[0]), of(entry) if of else None) for entry in described or ()]


#: Source: PostgreSQL's catalog pg_type.
_POSTGRESQL = {
    16: "boolean", 20: "long", 21: "long", 23: "long", 26: "long", 700: "double", 701: "double", 1082: "date",
    1114: "moment", 1184: "utc moment", 1083: "time", 17: "bytes",
}  # fmt: skip
_NUMERIC = 1700
#: Source: MySQL's protocol, column types.
_MYSQL = {
    1: "long", 2: "long", 3: "long", 8: "long", 9: "long", 13: "long", 4: "double", 5: "double", 10: "date",
    12: "moment", 7: "utc moment", 11: "text", 245: "text",
}  # fmt: skip
_NEWDECIMAL = (0, 246)


def _postgresql_type(entry: Any) -> ColumnType:
    code, precision, scale = entry[1], entry[4], entry[5]
    if code == _NUMERIC:
        if precision is None or precision > 38:
            return ColumnType("double")  # without a declared precision there is no common scale
        return ColumnType("decimal", precision, scale or 0)
    return ColumnType(_POSTGRESQL.get(code, "text"))


def _mysql_type(entry: Any) -> ColumnType | None:
    code, length, scale = entry[1], entry[4], entry[5]
    if code in _NEWDECIMAL:
        return ColumnType("decimal", min(38, length or 38), scale or 0)
    return ColumnType(_MYSQL[code]) if code in _MYSQL else None  # text or bytes, which only the values tell
