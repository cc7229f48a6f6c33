"""The task `first_row`: a table's first row, as JSON, for an example of what a model is asked."""

import json
from typing import TYPE_CHECKING

from . import answers, parts

if TYPE_CHECKING:
    from .work import Work

#: Rows that are read at once to get at one; and bytes of its JSON at most.
ROWS, LARGEST = 1, 64 * 1024


def first_row(work: "Work") -> dict[str, object]:
    """Files: the table's Parquet parts in order. Answers `row`; None for a table without rows, or too large a row."""
    for source in parts.mapped(work.fds):
        for batch in parts.Columns(source).file.iter_batches(batch_size=ROWS):
            rows = batch.slice(0, 1).to_pylist()
            if rows:
                text = answers.to_json(rows[0])
                return {"row": json.loads(text) if len(text) <= LARGEST else None}
    return {"row": None}
