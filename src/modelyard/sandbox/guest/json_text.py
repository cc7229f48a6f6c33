"""JSON, one object a line or an array of objects, read by DuckDB: columns and types are those of the whole file.

Objects inside become structs, lists become lists; a column whose values have different kinds is kept as text.
"""

from collections.abc import Iterator
from typing import Any

from . import engine
from .failures import Refused
from .uploads import Found, Options, Source


def read(source: Source, options: Options) -> Found:
    """The table in a file of JSON objects."""
    import duckdb

    first = source.head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not first and source.size <= len(source.head):
        raise Refused(f"{source.name} is blank: it holds no JSON.", "ValueError")
    if first not in (b"[", b"{"):
        raise Refused(f"{source.name} is not JSON objects: it begins with {first!r}.", "ValueError")
    connection = engine.for_files(options.limits)
    try:
        relation = connection.read_json(
            source.path, format="array" if first == b"[" else "auto", records="true", sample_size=-1, compression="none"
        )
        found = engine.reader(engine.replaced(relation, engine.exotic(relation)))
    except duckdb.Error as error:
        raise _refused(source, error) from None
    return Found(found.schema, _batches(found, source), {"format": "JSON"})


def _batches(found: Any, source: Source) -> Iterator[Any]:
    import duckdb

    try:
        yield from found
    except (duckdb.Error, OSError) as error:
        raise _refused(source, error) from None


def _refused(source: Source, error: Exception) -> Refused:
    said = str(error).splitlines()[0]
    if "expected records" in said:
        return Refused(f"{source.name} must hold JSON objects, one a row; it holds others, or none.", "ValueError")
    where = said.partition(source.path)[2].lstrip('"')
    return Refused(f"{source.name} can't be read as JSON{where or ': ' + said.partition(': ')[2]}", "ValueError")
