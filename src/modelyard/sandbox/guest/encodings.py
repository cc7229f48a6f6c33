"""Which columns of a Parquet file are worth a dictionary.

Parquet's writer begins each row group of each column with one, and gives it up when it has grown to a megabyte. Of
columns whose values nearly all differ (measurements, numbers of rows) that is a hash of a hundred thousand values for
nothing, a third of the time that the column takes, and a file that is a little larger.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

#: The values of a column that are looked at, from its first on.
_MOST_ROWS = 65_536
#: Shorter tables get dictionaries throughout.
_LEAST_ROWS = 8_192
#: So many of them differ in a column that gets none. With three in four the dictionary would still fit.
_DIFFERENT = 0.9


def repeating(table: "pyarrow.Table") -> list[str] | bool:
    """The Parquet paths of the columns that get a dictionary, judged by the table's first rows; True for all."""
    if table.num_rows < _LEAST_ROWS:
        return True
    differing = {at for at, column in enumerate(table.columns) if _differs(column)}
    return [path for at, path in _paths(table.schema) if at not in differing] if differing else True


def _paths(schema: "pyarrow.Schema") -> list[tuple[int, str]]:
    """Each primitive column of the file by its path, with the place of the table's column that it belongs to."""
    import io

    import pyarrow.parquet

    memory = io.BytesIO()
    pyarrow.parquet.write_table(schema.empty_table(), memory)
    written = pyarrow.parquet.ParquetFile(memory).schema
    places = [at for at, field in enumerate(schema) for _ in range(leaf_count(field.type))]
    return [(at, written.column(leaf).path) for leaf, at in enumerate(places)]


def leaf_count(kind: Any) -> int:
    """How many primitive columns a column of that type is in Parquet."""
    count = getattr(kind, "num_fields", 0)
    if not count or hasattr(kind, "index_type"):
        return 1
    return sum(leaf_count(kind.field(at).type) for at in range(count))


def _differs(column: "pyarrow.ChunkedArray") -> bool:
    """Whether nearly all of its first values differ; not said of nested columns and of mostly empty ones."""
    from pyarrow import compute

    if not _countable(column.type):
        return False
    seen = column.slice(0, _MOST_ROWS).drop_null()
    return len(seen) >= _LEAST_ROWS // 2 and compute.count_distinct(seen).as_py() > _DIFFERENT * len(seen)


def _countable(kind: Any) -> bool:
    import pyarrow.types as is_type

    kinds = (is_type.is_integer, is_type.is_floating, is_type.is_temporal, is_type.is_string, is_type.is_binary)
    return any(is_kind(kind) for is_kind in kinds)
