"""Rows into a foreign database: all of them or none, however this process or the database ends.

Everything happens in one transaction of the target: rows are added (INSERT), brought up to date by their keys (UPSERT,
by way of a temporary table) or take the place of all that were there (REPLACE). Rows of an INSERT would be there twice
if the transaction was committed just before this process was killed; so its receipt is written along with them, into
the table `modelyard_exports`, and whoever finds it there knows that all is done. The other two can be repeated.

Rows come as bytes that a guest wrote: PostgreSQL takes them as they are (COPY), drivers of others as parameters.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from modelyard.connectors.databases import Database, reason_of
from modelyard.connectors.records import DatabaseService
from modelyard.errors import ConflictError, FailedDependencyError, InvalidParameterError

#: Rows of one statement of a driver.
_ROWS = 1000
_STAGE = "modelyard_stage"
RECEIPTS = "modelyard_exports"
_KEPT = timedelta(days=30)
_NAMED_COLUMN = re.compile(r"[Cc]olumn (?:`[^`]*`\.)*['`\"]([^'`\"]+)['`\"]")
_COPY_PLACE = re.compile(r"line (\d+)(?:, column ([^:]+))?")
_DECIMAL = re.compile(r"decimal\d+\((\d+), (-?\d+)\)")


class WriteMode(StrEnum):
    """What becomes of the rows that are there."""

    #: They stay, and the new ones are added.
    INSERT = "INSERT"
    #: Those with the key of a new one take its values; the other new ones are added.
    UPSERT = "UPSERT"
    #: They go.
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A column of the target and the Arrow type of the values that it gets."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written where."""

    #: `table` or `schema.table`.
    object_name: str
    mode: WriteMode
    columns: tuple[Outgoing, ...]
    #: Columns by which rows are the same; for UPSERT.
    keys: tuple[str, ...]
    #: Names this export for ever: an INSERT with the same receipt is done once.
    receipt: str


class RowRefused(Exception):
    """The database did not take a row. Nothing was written."""

    def __init__(self, message: str, row: int | None = None, column: str | None = None) -> None:
        where = f"Row {row:,}" if row else "A row"
        where += f", column {column!r}" if column else ""
        super().__init__(f"{where}: {message}")
        self.row, self.column, self.reason = row, column, message


def form_of(service: DatabaseService) -> str:
    """The form in which rows are handed over: `COPY` or `ROWS`."""
    if service is DatabaseService.BIGQUERY:
        raise ConflictError(
            "BigQuery can't be written as a whole or not at all; export Parquet files to a bucket of Google's and load "
            "these"
        )
    return "COPY" if service is DatabaseService.POSTGRESQL else "ROWS"


def may_pass(error: FailedDependencyError) -> bool:
    """Whether what the database, or the way to it, did not give may be had a little later: it was lost, or busy."""
    kinds = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError, OSError)
    return isinstance(error.__cause__, kinds)


def write_rows(database: Database, order: Order, chunks: Iterable[bytes]) -> None:
    """Writes all rows or none. RowRefused names the row and column that the database did not take."""
    with database.connect(to_write=True) as connection:
        target = _Target(connection, order)
        if database.service is DatabaseService.MYSQL:
            # Else a value that does not fit would be cut to what does.
            connection.exec_driver_sql("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
        target.prepare()
        if target.is_done():
            return
        if order.mode is WriteMode.REPLACE:
            connection.execute(sa.delete(target.table))
        into = target.stage() if order.mode is WriteMode.UPSERT else target.table
        load = _copy if database.service is DatabaseService.POSTGRESQL else _insert
        load(connection, into, order, chunks, lambda error: reason_of(error, database.secrets))
        if order.mode is WriteMode.UPSERT:
            target.merge(into)
        target.sign()


class _Target:
    """The table that is written, within its transaction."""

    def __init__(self, connection: sa.Connection, order: Order) -> None:
        self._connection, self._order = connection, order
        schema, _, name = order.object_name.rpartition(".")
        if not name or "\0" in order.object_name:
            raise InvalidParameterError(f"objectName {order.object_name[:200]!r} is no name of a table")
        self._schema, self._name = schema or None, name
        self._names = [column.name for column in order.columns]
        self.table = sa.table(name, *map(sa.column, self._names), schema=self._schema)
        self._receipts = sa.Table(
            RECEIPTS, sa.MetaData(), sa.Column("receipt", sa.String(64), primary_key=True),
            sa.Column("written_at", sa.DateTime, nullable=False), schema=self._schema,
        )  # fmt: skip

    def prepare(self) -> None:
        """Makes what is missing. Where a database commits at each change of its tables, that happens before any row."""
        try:
            there = [column["name"] for column in sa.inspect(self._connection).get_columns(self._name, self._schema)]
        except sa.exc.NoSuchTableError:
            self._create()
            there = self._names
        if missing := [name for name in self._names if name not in there]:
            raise InvalidParameterError(
                f"The table {self._order.object_name} has no column {missing[0]!r}; it has {', '.join(there)[:500]}"
            )
        if self._order.mode is WriteMode.INSERT:
            self._receipts.create(self._connection, checkfirst=True)

    def is_done(self) -> bool:
        """Whether an attempt that was thought to have failed has written all that there is."""
        if self._order.mode is not WriteMode.INSERT:
            return False
        mine = self._receipts.c.receipt == self._order.receipt
        return self._connection.execute(sa.select(self._receipts.c.receipt).where(mine)).first() is not None

    def sign(self) -> None:
        """Leaves the receipt, and takes away those that nobody can ask for any more."""
        if self._order.mode is WriteMode.INSERT:
            now = datetime.now(UTC).replace(tzinfo=None)
            self._connection.execute(sa.delete(self._receipts).where(self._receipts.c.written_at < now - _KEPT))
            self._connection.execute(sa.insert(self._receipts).values(receipt=self._order.receipt, written_at=now))

    def stage(self) -> sa.TableClause:
        """A temporary table with the target's own types."""
        compiled = sa.select(*self.table.c).select_from(self.table).where(sa.false()).compile(self._connection)
        dropped = " ON COMMIT DROP" if self._connection.dialect.name == "postgresql" else ""
        self._connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {_STAGE}{dropped} AS {compiled}")
        return sa.table(_STAGE, *map(sa.column, self._names))

    def merge(self, stage: sa.TableClause) -> None:
        """Brings rows of the same keys up to date and adds the others."""
        self._check_keys(stage)
        keys = self._order.keys
        same = sa.and_(*(self.table.c[key] == stage.c[key] for key in keys))
        if self._connection.dialect.name == "postgresql":
            # Nobody adds a row of the same keys between the two statements.
            name = self._connection.dialect.identifier_preparer.format_table(self.table)
            self._connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
        changed = {name: stage.c[name] for name in self._names if name not in keys}
        if changed:
            self._connection.execute(sa.update(self.table).values(changed).where(same))
        fresh = sa.select(*stage.c).where(~sa.exists().where(same).correlate(stage))
        self._connection.execute(sa.insert(self.table).from_select(self._names, fresh))

    def _check_keys(self, stage: sa.TableClause) -> None:
        keys = [stage.c[key] for key in self._order.keys]
        without = sa.select(sa.func.count()).select_from(stage).where(sa.or_(*(key.is_(None) for key in keys)))
        if count := self._connection.execute(without).scalar_one():
            raise RowRefused(f"{count:,} rows have no value in the id columns {', '.join(self._order.keys)}")
        twice = sa.select(*keys).group_by(*keys).having(sa.func.count() > 1).limit(1)
        if (found := self._connection.execute(twice).first()) is not None:
            shown = ", ".join(f"{key} = {value!r:.60}" for key, value in zip(self._order.keys, found, strict=True))
            raise RowRefused(f"more than one row has {shown}; an UPSERT needs rows of different ids")

    def _create(self) -> None:
        keys = self._order.keys if self._order.mode is WriteMode.UPSERT else ()
        columns = [
            sa.Column(each.name, _type_of(each.kind, is_key=each.name in keys), primary_key=each.name in keys)
            for each in self._order.columns
        ]
        sa.Table(self._name, sa.MetaData(), *columns, schema=self._schema).create(self._connection)


def _copy(
    connection: sa.Connection, into: sa.TableClause, order: Order, chunks: Iterable[bytes],
    reason: Callable[[Exception], str],
) -> None:  # fmt: skip
    driver: Any = connection.connection.driver_connection
    names = [part for part in (into.schema, into.name) if part]
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in order.columns)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(*names), columns)
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in chunks:
                copy.write(chunk)
    except psycopg.DataError as error:
        raise _refused_copy(error, reason(error)) from error
    except psycopg.IntegrityError as error:
        raise _refused_copy(error, reason(error)) from error


def _refused_copy(error: psycopg.Error, reason: str) -> RowRefused:
    place = _COPY_PLACE.search(error.diag.context or "")
    column = (place and place[2]) or error.diag.column_name
    words = " ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part)
    return RowRefused(words or reason, int(place[1]) if place else None, column)


def _insert(
    connection: sa.Connection, into: sa.TableClause, order: Order, chunks: Iterable[bytes],
    reason: Callable[[Exception], str],
) -> None:  # fmt: skip
    statement, names = sa.insert(into), [column.name for column in order.columns]
    rows, done = _decoded(chunks, [_from_json(column.kind) for column in order.columns]), 0
    while batch := [dict(zip(names, row, strict=True)) for row in islice(rows, _ROWS)]:
        savepoint = connection.begin_nested()
        try:
            connection.execute(statement, batch)
            savepoint.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            savepoint.rollback()
            raise _first_refused(connection, statement, batch, done, reason) from error
        done += len(batch)


def _first_refused(
    connection: sa.Connection, statement: sa.Insert, batch: Sequence[dict[str, Any]], done: int,
    reason: Callable[[Exception], str],
) -> RowRefused:  # fmt: skip
    """Which row of the batch it was: they are tried one by one."""
    for at, row in enumerate(batch, 1):
        try:
            connection.execute(statement, row)
        except DBAPIError as error:
            words = reason(error)
            column = _NAMED_COLUMN.search(str(error.orig.args[-1] if error.orig else ""))
            return RowRefused(words, done + at, column[1] if column else None)
    return RowRefused("the database took each row alone, but not all of them together")


def _decoded(chunks: Iterable[bytes], converters: Sequence[Callable[[Any], Any] | None]) -> Iterator[list[Any]]:
    decoder, rest = msgspec.json.Decoder(list[Any]), b""
    marked = [(at, convert) for at, convert in enumerate(converters) if convert]
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            row = decoder.decode(line)
            for at, convert in marked:
                row[at] = None if row[at] is None else convert(row[at])
            yield row


def _from_json(kind: str) -> Callable[[Any], Any] | None:
    if kind in ("binary", "large_binary"):
        return bytes.fromhex
    if kind.startswith("timestamp") and "tz=" in kind:
        return lambda text: text.removesuffix("Z")  # the session's own time is UTC
    return None


def _type_of(kind: str, *, is_key: bool) -> sa.types.TypeEngine[Any]:
    """What holds the values of that Arrow type in a table that is made for them."""
    if exact := _DECIMAL.fullmatch(kind):
        return sa.Numeric(int(exact[1]), max(int(exact[2]), 0))
    if kind.startswith("timestamp"):
        plain = sa.DateTime(timezone="tz=" in kind)
        return plain.with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    if kind.startswith("time"):
        return sa.Time().with_variant(mysql.TIME(fsp=6), "mysql", "mariadb")
    if kind.startswith(("list", "large_list", "struct", "map", "fixed_size_list")):
        return sa.Text().with_variant(postgresql.JSONB(), "postgresql").with_variant(mysql.JSON(), "mysql", "mariadb")
    if kind.startswith("duration"):
        return sa.BigInteger()
    found = _PLAIN_TYPES.get(kind)
    if found is not None:
        return found()
    if is_key:
        return sa.Text().with_variant(sa.String(255), "mysql", "mariadb")
    return sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


_PLAIN_TYPES: dict[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    "bool": sa.Boolean,
    "int8": sa.SmallInteger,
    "uint8": sa.SmallInteger,
    "int16": sa.SmallInteger,
    "uint16": sa.Integer,
    "int32": sa.Integer,
    "uint32": sa.BigInteger,
    "int64": sa.BigInteger,
    "uint64": lambda: sa.Numeric(20, 0),
    "halffloat": sa.Double,
    "float": sa.Double,
    "double": sa.Double,
    "date32[day]": sa.Date,
    "binary": lambda: sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"),
}
