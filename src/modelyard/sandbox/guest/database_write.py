"""The task `write_database`: a table's rows into a file of SQLite or DuckDB, all of them in one transaction.

The file is a copy, which the host puts in the place of the one that it was made from. Rows are added, or brought up to
date by their keys, or take the place of all that were there. A receipt in the table `modelyard_exports` says which
INSERTs the file holds already: the host may have been killed just after it put a file in place.
"""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import cell_text, engine, parts
from .failures import Refused

if TYPE_CHECKING:
    import pyarrow

    from .work import Work

_NAME = ".modelyard/database/file"
_ROWS = 10_000
_STAGE = "modelyard_stage"
_RECEIPTS = "modelyard_exports"


def write_database(work: "Work") -> dict[str, object]:
    """Message: service, object_name, mode, columns ([name in the table, name outside]), keys, receipt, memory_gib.

    The descriptors are those of the table's Parquet parts in order, and at last the database's.
    """
    *sources, database = work.fds
    message: Any = work.message
    _place(database)
    files = [parts.Columns(source) for source in parts.mapped(sources)]
    writer = (_Sqlite if message["service"] == "SQLITE" else _DuckDb)(files, message)
    return {"path": _NAME, "done": not writer.write()}


def _place(descriptor: int) -> None:
    os.makedirs(os.path.dirname(_NAME), exist_ok=True)
    with os.fdopen(descriptor, "rb") as given:
        given.seek(0)
        if os.fstat(given.fileno()).st_size:
            with open(_NAME, "xb") as named:
                shutil.copyfileobj(given, named, 1024**2)


class _Writer:
    """What both engines do alike; `execute`, `columns_of`, `create` and `load` are theirs."""

    def __init__(self, files: list[parts.Columns], message: dict[str, Any]) -> None:
        self.files, self.mode = files, str(message["mode"])
        self.pairs: list[list[str]] = message["columns"]
        self.keys: list[str] = message["keys"]
        self.receipt = str(message["receipt"])
        self.object_name = str(message["object_name"])
        self.target = ".".join(engine.quoted(part) for part in self.object_name.split("."))
        self.listed = ", ".join(engine.quoted(outside) for _, outside in self.pairs)
        self.schema = files[0].schema

    def write(self) -> bool:
        """Writes all rows; False where the file holds them already."""
        self.execute("BEGIN")
        there = self.columns_of()
        if not there:
            self.create(self.target, self.keys if self.mode == "UPSERT" else [])
        elif missing := [outside for _, outside in self.pairs if outside not in there]:
            raise Refused(
                f"The table {self.object_name} has no column {missing[0]!r}; it has {', '.join(there)[:500]}",
                "ValueError",
            )
        if self.mode == "INSERT" and self._is_done():
            return False
        if self.mode == "REPLACE":
            self.execute(f"DELETE FROM {self.target}")
        if self.mode == "UPSERT":
            # In place of a temporary table: its columns have the types of the target's.
            self.execute(f"CREATE TEMP TABLE {_STAGE} AS SELECT {self.listed} FROM {self.target} LIMIT 0")
            self.load(_STAGE)
            self._merge()
        else:
            self.load(self.target)
        if self.mode == "INSERT":
            self.execute(f"INSERT INTO {_RECEIPTS} VALUES ({_literal(self.receipt)})")
        self.execute("COMMIT")
        self.close()
        return True

    def _is_done(self) -> bool:
        self.execute(f"CREATE TABLE IF NOT EXISTS {_RECEIPTS} (receipt VARCHAR PRIMARY KEY)")
        found = self.execute(f"SELECT 1 FROM {_RECEIPTS} WHERE receipt = {_literal(self.receipt)}").fetchall()
        return bool(found)

    def _merge(self) -> None:
        keys = [engine.quoted(key) for key in self.keys]
        listed = ", ".join(keys)
        without = " OR ".join(f"{key} IS NULL" for key in keys)
        ((count,),) = self.execute(f"SELECT count(*) FROM {_STAGE} WHERE {without}").fetchall()
        if count:
            raise refused(f"{count:,} rows have no value in the id columns {', '.join(self.keys)}")
        query = f"SELECT {listed} FROM {_STAGE} GROUP BY {listed} HAVING count(*) > 1 LIMIT 1"
        for found in self.execute(query).fetchall():
            shown = ", ".join(f"{key} = {value!r:.60}" for key, value in zip(self.keys, found, strict=True))
            raise refused(f"more than one row has {shown}; an UPSERT needs rows of different ids")
        same = " AND ".join(f"t.{key} = s.{key}" for key in keys)
        changed = [engine.quoted(outside) for _, outside in self.pairs if outside not in self.keys]
        if changed:
            values = ", ".join(f"{name} = s.{name}" for name in changed)
            self.execute(f"UPDATE {self.target} AS t SET {values} FROM {_STAGE} AS s WHERE {same}")
        fresh = (
            f"SELECT {self.listed} FROM {_STAGE} AS s WHERE NOT EXISTS (SELECT 1 FROM {self.target} AS t WHERE {same})"
        )
        self.execute(f"INSERT INTO {self.target} ({self.listed}) {fresh}")

    def batches(self) -> "Iterator[pyarrow.RecordBatch]":
        """The rows under the names that they have outside."""
        import pyarrow

        from . import arrow_types

        places = [self.schema.names.index(inside) for inside, _ in self.pairs]
        fields = [(outside, self.schema.field(at).type) for at, (_, outside) in zip(places, self.pairs, strict=True)]
        for file in self.files:
            for batch in file.file.iter_batches(batch_size=_ROWS):
                whole = arrow_types.convert(batch, file.schema)
                chosen = [whole.column(at) for at in places]
                yield pyarrow.RecordBatch.from_arrays(chosen, schema=pyarrow.schema(fields))

    def kinds(self) -> "list[tuple[str, Any]]":
        """The columns outside and their Arrow types."""
        return [(outside, self.schema.field(inside).type) for inside, outside in self.pairs]

    def execute(self, statement: str) -> Any:
        raise NotImplementedError

    def columns_of(self) -> list[str]:
        raise NotImplementedError

    def create(self, name: str, keys: list[str]) -> None:
        raise NotImplementedError

    def load(self, into: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class _Sqlite(_Writer):
    def __init__(self, files: list[parts.Columns], message: dict[str, Any]) -> None:
        import sqlite3

        super().__init__(files, message)
        try:
            self._connection = sqlite3.connect(os.path.abspath(_NAME), isolation_level=None)
            self._connection.execute("PRAGMA schema_version").fetchall()
            # The copy is thrown away if anything goes wrong, so it needs no journal of its own.
            self._connection.execute("PRAGMA journal_mode = MEMORY")
            self._connection.execute("PRAGMA temp_store = FILE")
        except sqlite3.Error as error:
            raise Refused(f"The database file can't be opened: {error}", "ValueError") from None

    def execute(self, statement: str) -> Any:
        import sqlite3

        try:
            return self._connection.execute(statement)
        except sqlite3.Error as error:
            raise refused(str(error)) from None

    def columns_of(self) -> list[str]:
        name = self.object_name.rpartition(".")[2]
        return [row[1] for row in self._connection.execute(f"PRAGMA table_info({engine.quoted(name)})")]

    def create(self, name: str, keys: list[str]) -> None:
        columns = [f"{engine.quoted(outside)} {_sqlite_type(kind)}" for outside, kind in self.kinds()]
        if keys:
            columns.append(f"PRIMARY KEY ({', '.join(map(engine.quoted, keys))})")
        self.execute(f"CREATE TABLE {name} ({', '.join(columns)})")

    def load(self, into: str) -> None:
        import sqlite3

        marks = ", ".join("?" for _ in self.pairs)
        statement, done = f"INSERT INTO {into} ({self.listed}) VALUES ({marks})", 0
        for batch in self.batches():
            columns = [
                _sqlite_values(column, name) for name, column in zip(batch.schema.names, batch.columns, strict=True)
            ]
            for at, row in enumerate(zip(*columns, strict=True), 1):
                try:
                    self._connection.execute(statement, row)
                except (sqlite3.Error, OverflowError) as error:
                    raise refused(str(error), done + at) from None
            done += batch.num_rows

    def close(self) -> None:
        self._connection.close()


class _DuckDb(_Writer):
    def __init__(self, files: list[parts.Columns], message: dict[str, Any]) -> None:
        import duckdb

        super().__init__(files, message)
        os.makedirs(engine.SPILL, exist_ok=True)
        limit = f"{max(int(float(message.get('memory_gib', 1)) * 600), 100)}MiB"
        config = {"memory_limit": limit, "threads": "1", "temp_directory": os.path.abspath(engine.SPILL)}
        try:
            self._connection = duckdb.connect(os.path.abspath(_NAME), config=config)
            self._connection.execute("SET TimeZone = 'UTC'")
        except duckdb.Error as error:
            raise Refused(f"The database file can't be opened: {_line(error)}", "ValueError") from None

    def execute(self, statement: str) -> Any:
        import duckdb

        try:
            return self._connection.execute(statement)
        except duckdb.Error as error:
            raise refused(_line(error)) from None

    def columns_of(self) -> list[str]:
        import duckdb

        try:
            return [str(row[0]) for row in self._connection.execute(f"DESCRIBE {self.target}").fetchall()]
        except duckdb.CatalogException:
            # The failed look ended the transaction.
            self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN")
            return []

    def create(self, name: str, keys: list[str]) -> None:
        self._register(self._empty())
        self.execute(f"CREATE TABLE {name} AS SELECT * FROM modelyard_rows LIMIT 0")
        if keys:
            self.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({', '.join(map(engine.quoted, keys))})")

    def load(self, into: str) -> None:
        import pyarrow

        done = 0
        for batch in self.batches():
            self._register(pyarrow.Table.from_batches([batch]))
            self._insert(into, done)
            done += batch.num_rows

    def close(self) -> None:
        self._connection.execute("CHECKPOINT")
        self._connection.close()

    def _insert(self, into: str, done: int) -> None:
        import duckdb

        try:
            self._connection.execute(f"INSERT INTO {into} ({self.listed}) SELECT {self.listed} FROM modelyard_rows")
        except duckdb.Error as error:
            raise refused(f"{_line(error)} (among rows {done + 1:,} to {done + _ROWS:,})") from None

    def _register(self, rows: "pyarrow.Table") -> None:
        self._connection.register("modelyard_rows", rows)

    def _empty(self) -> "pyarrow.Table":
        import pyarrow

        return pyarrow.schema(self.kinds()).empty_table()


def refused(words: str, row: int | None = None) -> Refused:
    """A refusal as the host reads it."""
    return Refused(f"refused\n{row or ''}\n{words}", "RowRefused")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500]


def _sqlite_type(kind: Any) -> str:
    import pyarrow.types as is_type

    if _is_whole(kind) or is_type.is_duration(kind):
        return "INTEGER"
    if is_type.is_floating(kind):
        return "REAL"
    return "BLOB" if is_type.is_binary(kind) else "TEXT"


def _is_whole(kind: Any) -> bool:
    """Whether an INTEGER of SQLite, which has 64 bits with a sign, holds every value of the type."""
    import pyarrow.types as is_type

    return (is_type.is_integer(kind) and str(kind) != "uint64") or is_type.is_boolean(kind)


def _sqlite_values(column: "pyarrow.Array", name: str) -> list[Any]:
    """Values as SQLite keeps them: what it has no type for (exact and very large numbers, moments, nesting) as text."""
    import pyarrow.types as is_type

    kind = column.type
    if is_type.is_duration(kind):
        return list(cell_text.microseconds(column, name).to_pylist())
    if _is_whole(kind) or is_type.is_floating(kind) or is_type.is_binary(kind):
        return list(column.to_pylist())
    return list(cell_text.texts(column, name).to_pylist())
