"""The task `sql`: one SELECT over tables that were handed in, its rows a new table.

DuckDB sees views of the mapped twins and nothing else: the file system is shut, nothing can be loaded or attached, the
configuration is locked. The query is in DuckDB's own dialect already.
"""

from typing import TYPE_CHECKING, Any

from . import engine, frames, parts, spark_macros
from .failures import Refused

if TYPE_CHECKING:
    import pyarrow

    from .work import Work

#: Rows of a view that one thread takes at a time.
_SLICE_ROWS = 122_880


def sql(work: "Work") -> dict[str, object]:
    """Message: query, tables {name: number of its file}, memory_gib, scratch_gib, threads, twin; one twin per table.

    Without `twin`, a large result is given without the file that the next reader maps, and so sooner.
    """
    import duckdb

    query, tables = work.text("query"), work.message.get("tables") or {}
    assert isinstance(tables, dict)
    connection = engine.connect(work.message, shut=True)
    for name, number in tables.items():
        connection.register(name, _sliced(frames.read_arrow(work.fds[number])[0]))
    spark_macros.define(connection, query)
    engine.lock(connection)
    try:
        relation = _whole_numbers(connection, _selected(connection, query))
        found = engine.reader(relation)
        # An eighth of the guest's memory may keep the rows until their twin is written.
        memory_bytes = float(work.message.get("memory_gib") or 1) * 1024**3  # type: ignore[arg-type]  # the host's number
        return parts.write_table(found.schema, found, parts.sizes_for(work, int(memory_bytes / 8)))
    except duckdb.Error as error:
        raise Refused(_said(error), type(error).__name__) from None


def _sliced(table: "pyarrow.Table") -> "pyarrow.Table":
    """The table in pieces, so that several threads can read it; nothing is copied."""
    import pyarrow

    return pyarrow.Table.from_batches(table.to_batches(max_chunksize=_SLICE_ROWS), schema=table.schema)


def _selected(connection: Any, query: str) -> Any:
    """The relation of a query that is one SELECT and nothing else."""
    import duckdb

    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Refused("A feature group's SQL must be one SELECT statement.", "ValueError")
    relation = connection.sql(statements[0].query)
    return engine.replaced(relation, engine.exotic(relation))


def _whole_numbers(connection: Any, relation: Any) -> Any:
    """Sums of integers come as 128-bit numbers: columns of such become 64-bit where all values fit, else fractions.

    The rows are computed once, into a table that spills to disk.
    """
    wide = [name for name, kind in zip(relation.columns, relation.types, strict=True) if str(kind) in _WIDE]
    if not wide:
        return relation
    relation.create("modelyard_result")
    stored = connection.table("modelyard_result")
    tests = ", ".join(f"count({name}) = count(TRY_CAST({name} AS BIGINT))" for name in map(engine.quoted, wide))
    (fits,) = stored.aggregate(tests).fetchall()
    types = {name: "BIGINT" if fit else "DOUBLE" for name, fit in zip(wide, fits, strict=True)}
    return engine.replaced(stored, {name: f"CAST({engine.quoted(name)} AS {kind})" for name, kind in types.items()})


_WIDE = ("HUGEINT", "UHUGEINT")


def _said(error: Exception) -> str:
    """DuckDB's message without the lines that name its own settings and pages, or all that was not meant."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    aside = ("Possible solutions", "See https://", "Candidate ")
    ends = [at for at, line in enumerate(lines) if line.strip().startswith(aside)]
    return "\n".join(lines[: ends[0] if ends else len(lines)])
