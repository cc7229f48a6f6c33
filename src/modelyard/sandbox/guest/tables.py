"""The tasks about tables: bytes of a user become a table, a query or a table's twin likewise, and Avro for downloads.

The host sends one open file: what was uploaded, in one piece. It takes the results from the working directory and
believes nothing but their sizes; that the bytes are hostile is why this happens in a guest at all.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from . import column_types, database_file, formats, parts
from .avro import encode_avro as encode_avro
from .failures import Refused
from .sql import sql as sql
from .uploads import Again, Options, Source

if TYPE_CHECKING:
    from .work import Work


def import_table(work: "Work") -> dict[str, object]:
    """Message: format (or null), delimiter, escape, merge_schemas, column_types, memory_gib, threads; one file.

    Or `database`, service and sql: the file is a database, and the table is what the query gives.
    """
    source = Source.of(work.fds[0])
    if not source.size:
        raise Refused("The upload holds no bytes.", "ValueError")
    options = Options.of(work.message)
    while True:
        try:
            return _written(work, source, options)
        except Again as again:
            options = dataclasses.replace(options, **again.changes)


def _written(work: "Work", source: Source, options: Options) -> dict[str, object]:
    asked: Any = work.message.get("database")
    found = database_file.read(source, asked, work.message) if asked else formats.read(source, options)
    found = column_types.applied(found, options.column_types)
    if not len(found.schema):
        raise Refused("The file has no columns.", "ValueError")
    return parts.write_table(found.schema, found.batches) | {"inspected": found.inspected}


def arrow_twin(work: "Work") -> dict[str, object]:
    """Message: nothing; the table's Parquet parts in order. The twin lies at the path that the answer names."""
    os.makedirs(parts.FOLDER, exist_ok=True)
    parts.write_twin(parts.mapped(work.fds), parts.TWIN)
    return {"twin": parts.TWIN}
