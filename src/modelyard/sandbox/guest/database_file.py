"""Files of SQLite and DuckDB: a query's rows as a table. Opened here alone, for an engine may do what a file tells it.

The file is a copy of what the connector names; the engines open it for reading, and get no way to open another one.
"""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import engine
from .failures import Refused
from .uploads import Found, Source

if TYPE_CHECKING:
    import sqlite3

    import pyarrow

_ROWS = 20_000
_NAME = ".modelyard/database/file"


def read(source: Source, asked: dict[str, Any], message: dict[str, Any]) -> Found:
    """The rows of the query `asked["sql"]` in a file of `asked["service"]`."""
    if asked["service"] == "SQLITE":
        return _read_sqlite(source, asked["sql"])
    return _read_duckdb(source, asked["sql"], message)


def _read_duckdb(source: Source, sql: str, message: dict[str, Any]) -> Found:
    import duckdb

    os.makedirs(engine.SPILL, exist_ok=True)
    name = _copied(source)
    limit = f"{max(int(float(message.get('memory_gib', 1)) * 600), 100)}MiB"
    try:
        config = {"memory_limit": limit, "threads": "1", "temp_directory": os.path.abspath(engine.SPILL)}
        connection = duckdb.connect(name, read_only=True, config=config)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET TimeZone = 'UTC'")
        engine.lock(connection)
        reader = engine.reader(connection.sql(sql))
    except duckdb.Error as error:
        raise Refused(f"The database file can't be read: {_line(error)}", "ValueError") from None
    return Found(reader.schema, _batches(reader), {"format": "DUCKDB"})


def _copied(source: Source) -> str:
    """The file under a name: the engines follow descriptors to names, and what was handed in has none."""
    os.makedirs(os.path.dirname(_NAME), exist_ok=True)
    with source.open() as given, open(_NAME, "xb") as named:
        shutil.copyfileobj(given, named, 1024**2)
    return os.path.abspath(_NAME)


def _batches(reader: Any) -> "Iterator[pyarrow.RecordBatch]":
    import duckdb

    try:
        yield from reader
    except duckdb.Error as error:
        raise Refused(f"The database file can't be read: {_line(error)}", "ValueError") from None


def _read_sqlite(source: Source, sql: str) -> Found:
    import sqlite3

    import pyarrow

    # Rows are read ahead in a thread; no two use the connection at once.
    connection = sqlite3.connect(f"file:{_copied(source)}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.text_factory = _text
    connection.set_authorizer(_allow)
    try:
        names = [entry[0] for entry in connection.execute(f"SELECT * FROM ({sql}) LIMIT 0").description]
        schema = pyarrow.schema([(name, _type(connection, sql, name)) for name in names])
        rows = connection.execute(sql)
    except sqlite3.Error as error:
        raise Refused(f"The database file can't be read: {_line(error)}", "ValueError") from None
    return Found(schema, _rows(rows, schema), {"format": "SQLITE"})


def _rows(cursor: "sqlite3.Cursor", schema: "pyarrow.Schema") -> "Iterator[pyarrow.RecordBatch]":
    import sqlite3

    import pyarrow

    try:
        while rows := cursor.fetchmany(_ROWS):
            columns = list(zip(*rows, strict=True))
            arrays = [
                pyarrow.array(_as(values, field.type), field.type)
                for values, field in zip(columns, schema, strict=True)
            ]
            yield pyarrow.RecordBatch.from_arrays(arrays, schema=schema)
    except sqlite3.Error as error:
        raise Refused(f"The database file can't be read: {_line(error)}", "ValueError") from None


def _type(connection: "sqlite3.Connection", sql: str, name: str) -> "pyarrow.DataType":
    """What holds every value of the column: in SQLite each value has a type of its own."""
    import pyarrow

    query = f"SELECT DISTINCT typeof({engine.quoted(name)}) FROM ({sql})"
    kinds = {row[0] for row in connection.execute(query)} - {"null"}
    if kinds == {"integer"}:
        return pyarrow.int64()
    if kinds and kinds <= {"integer", "real"}:
        return pyarrow.float64()
    return pyarrow.binary() if kinds == {"blob"} else pyarrow.string()


def _as(values: tuple[Any, ...], kind: "pyarrow.DataType") -> list[Any]:
    import pyarrow

    if kind == pyarrow.float64():
        return [None if value is None else float(value) for value in values]
    if kind == pyarrow.string():
        return [value if value is None or isinstance(value, str) else _text(value) for value in values]
    return list(values)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _allow(action: int, _: str | None, second: str | None, *__: object) -> int:
    """Reading and computing; nothing that opens a file or loads code."""
    import sqlite3

    if action == sqlite3.SQLITE_FUNCTION and second in ("load_extension", "fts3_tokenizer"):
        return sqlite3.SQLITE_DENY
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
