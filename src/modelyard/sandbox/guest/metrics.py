"""The task `measure_table`: what is in the columns of a table, one column in memory at a time.

Counts are exact. The number of distinct values is exact up to a bound of rows, and an estimate beyond, which the answer
says. Values travel as JSON: moments as ISO 8601, what has no form of its own as text, long text cut with a sign of it.
"""

import datetime
import math
from typing import TYPE_CHECKING, Any

from . import engine, parts

if TYPE_CHECKING:
    from .work import Work

#: Rows up to which distinct values are counted one by one.
EXACT_ROWS = 5_000_000
#: Cells up to which whole rows are compared with each other.
COMPARED_CELLS = 20_000_000
TOP = 10
BINS = 20
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_LONGEST = 200


def measure_table(work: "Work") -> dict[str, object]:
    """Message: memory_gib, scratch_gib, threads; the table's Parquet parts in order. Answers a record a column."""
    connection = engine.connect(work.message, shut=True)
    engine.lock(connection)
    files = [parts.Columns(source) for source in parts.mapped(work.fds)]
    schema = files[0].schema
    columns = [_measure(connection, files, index) for index in range(len(schema))]
    rows = sum(file.file.metadata.num_rows for file in files)
    return {"columns": columns, "rows": rows, "duplicates": _duplicates(connection, files, rows)}


def _measure(connection: Any, files: list[Any], index: int) -> dict[str, object]:
    import duckdb
    import pyarrow

    name = files[0].schema.field(index).name
    chunks = [chunk for file in files for chunk in file.read_alone(index).chunks]
    column = pyarrow.chunked_array(chunks, type=files[0].schema.field(index).type)
    found: dict[str, object] = {"name": name, "count": len(column) - column.null_count, "nulls": column.null_count}
    connection.register("t", pyarrow.table({"c": column}))
    try:
        kind = str(connection.table("t").types[0])
        found |= _distinct(connection, len(column)) | _values(connection, kind) | _top(connection)
        found["histogram"] = _histogram(connection, kind)
    except (duckdb.Error, OverflowError) as error:
        found["note"] = f"Only the values were counted: {str(error).splitlines()[0][:_LONGEST]}"
    finally:
        connection.unregister("t")
    return found


def _rows(connection: Any, query: str) -> Any:
    return connection.execute(query).fetchall()


def _distinct(connection: Any, rows: int) -> dict[str, object]:
    exact = rows <= EXACT_ROWS
    count = "count(DISTINCT c)" if exact else "approx_count_distinct(c)"
    return {"distinct": _rows(connection, f"SELECT {count} FROM t")[0][0], "distinctIsEstimate": not exact}


def _values(connection: Any, kind: str) -> dict[str, object]:
    if _is_number(kind):
        return _numbers(connection)
    if kind == "VARCHAR":
        query = "SELECT min(c), max(c), min(length(c)), max(length(c)), avg(length(c)), count_if(c = '') FROM t"
        [(least, most, short, long, mean, empty)] = _rows(connection, query)
        lengths = {"minLength": short, "maxLength": long, "meanLength": mean, "empty": empty}
        return {"min": _plain(least), "max": _plain(most)} | lengths
    if kind == "BOOLEAN" or _is_moment(kind):
        [(least, most)] = _rows(connection, "SELECT min(c), max(c) FROM t")
        return {"min": _plain(least), "max": _plain(most)}
    return {}


def _numbers(connection: Any) -> dict[str, object]:
    listed = ", ".join(map(str, _QUANTILES))
    [(least, most, mean, deviation, total, quantiles, zeros)] = _rows(
        connection,
        f"SELECT min(c), max(c), avg(d), stddev_samp(d), sum(d), quantile_cont(d, [{listed}]), count_if(d = 0) "
        "FROM (SELECT c, CAST(c AS DOUBLE) AS d FROM t WHERE isfinite(CAST(c AS DOUBLE)))",
    )
    [(odd,)] = _rows(connection, "SELECT count_if(NOT isfinite(CAST(c AS DOUBLE))) FROM t")
    return {
        "min": _plain(least), "max": _plain(most), "mean": _plain(mean), "standardDeviation": _plain(deviation),
        "sum": _plain(total), "zeros": zeros, "notFinite": odd,
        "quantiles": {f"{share:g}": _plain(value) for share, value in zip(_QUANTILES, quantiles or (), strict=False)},
    }  # fmt: skip


def _top(connection: Any) -> dict[str, object]:
    query = f"SELECT c, count(*) FROM t WHERE c IS NOT NULL GROUP BY c ORDER BY 2 DESC, 1 LIMIT {TOP}"
    return {"topValues": [{"value": _plain(value), "count": count} for value, count in _rows(connection, query)]}


def _histogram(connection: Any, kind: str) -> dict[str, object] | None:
    """Bins of equal width over numbers and moments; for all else the top values say it."""
    if not (_is_number(kind) or _is_moment(kind)):
        return None
    number = "epoch(CAST(c AS TIMESTAMP))" if _is_moment(kind) else "CAST(c AS DOUBLE)"
    source = f"(SELECT {number} AS d FROM t WHERE c IS NOT NULL AND isfinite({number}))"
    [(least, most)] = _rows(connection, f"SELECT min(d), max(d) FROM {source}")
    if least is None or not math.isfinite(most - least):
        return None
    width = (most - least) / BINS
    place = f"least(CAST(floor((d - ({least!r})) / {width!r}) AS INTEGER), {BINS - 1})" if width else "0"
    counted = dict(_rows(connection, f"SELECT {place}, count(*) FROM {source} GROUP BY 1"))
    bins = BINS if width else 1
    edges: list[object] = [least + width * at for at in range(bins)] + [most]
    if _is_moment(kind):
        edges = [_moment(edge) for edge in edges]
    return {"edges": edges, "counts": [counted.get(at, 0) for at in range(bins)]}


def _duplicates(connection: Any, files: list[Any], rows: int) -> int | None:
    """Rows that another row is equal to, but for the first of each; None where that is too much to compare."""
    import duckdb
    import pyarrow

    if rows * len(files[0].schema) > COMPARED_CELLS:
        return None
    whole = pyarrow.concat_tables([file.file.read() for file in files])
    connection.register("t", whole.rename_columns([f"c{at}" for at in range(whole.num_columns)]))
    try:
        [(distinct,)] = _rows(connection, "SELECT count(*) FROM (SELECT DISTINCT * FROM t)")
    except duckdb.Error:
        return None
    finally:
        connection.unregister("t")
    return rows - int(distinct)


def _is_number(kind: str) -> bool:
    return kind in _NUMBERS or kind.startswith("DECIMAL")


_NUMBERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
     "FLOAT", "DOUBLE"}
)  # fmt: skip


def _is_moment(kind: str) -> bool:
    return kind == "DATE" or kind.startswith("TIMESTAMP")


def _moment(epoch_s: Any) -> str | None:
    try:
        return datetime.datetime.fromtimestamp(epoch_s, datetime.UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def _plain(value: Any) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value if value is None or abs(value) < 2**63 else str(value)
    text = value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
