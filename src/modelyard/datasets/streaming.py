"""Streaming datasets: their rows come one by one, and a version is what they were at one moment.

A run takes the rows as JSON lines, without looking into them, and has them imported like any file; feature groups whose
rows are online take theirs here as well.
"""

from dataclasses import dataclass

from modelyard.database import at_one_moment
from modelyard.datasets.reading import FileFormat, Reading
from modelyard.execution import RunContext
from modelyard.ids import OnlineTableId
from modelyard.online_rows.changes import Kind
from modelyard.online_rows.reading import Moment, read_all
from modelyard.storage import Blob, BlobStore

#: Kinds whose columns have the same type in every version, whatever rows there are; texts may all be moments.
_TYPES = {Kind.INTEGER: "INTEGER", Kind.NUMBER: "FLOAT", Kind.BOOLEAN: "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class Taken:
    """All rows of an online table as a file, and how it is read."""

    blob: Blob
    reading: Reading
    #: The table's number of the last change that is in it.
    last_change: int


def take_rows(run: RunContext, table_id: OnlineTableId) -> Taken:
    """The rows as they stand now. A table without rows is a file that has the names of its columns alone."""
    store = run.parts.get(BlobStore)
    with run.read() as session:
        at_one_moment(session)
        moment, lines = read_all(session, table_id, run.clock)
        blob = store.put_chunks(lines)
    types = {column: _TYPES[Kind(kind)] for column, kind in moment.columns.items() if kind in _TYPES}
    if blob.size == 0:
        header = store.put_bytes(_header(moment))
        return Taken(header, Reading(format=FileFormat.CSV, column_types=types), moment.last_change)
    return Taken(blob, Reading(format=FileFormat.JSON, column_types=types), moment.last_change)


def _header(moment: Moment) -> bytes:
    names = [*moment.columns] or [moment.primary_key]
    return (",".join('"' + name.replace('"', '""') + '"' for name in names) + "\n").encode()
