"""The tasks `predict_table` and `predict_chunk`: rows of a table through a model, a numbered chunk at a time.

`predict_table` brings the model to life, once, and maps the table; each `predict_chunk` then predicts the rows that it
names and leaves their predictions in one file (`predictions`), which the host opens before it asks for more. So memory
and disk hold no more than one chunk, several guests share a table, and a chunk that was kept is never predicted again.
"""

import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import frames, model, predictions

if TYPE_CHECKING:
    from .work import Work

#: Where the predictions of the newest chunk lie, relative to the working directory.
FOLDER = ".modelyard/predictions"
PATH = f"{FOLDER}/chunk"
#: Of the table so much is handed to a function before what it wrote into its rows is forgotten.
_FORGET_BYTES = 256 * 1024**2


@dataclass
class _Batch:
    """What this guest predicts: its model, its table, and how much of that it has seen."""

    model: model.Model
    table: Any
    mapping: mmap.mmap | None
    arguments: dict[str, Any]
    wants_fields: bool
    seen_bytes: int = 0


_batches: list[_Batch] = []


def predict_table(work: "Work") -> dict[str, object]:
    """Message: as `model.load`, with arguments and whether fields are wanted; files: the table, then the model's."""
    message: dict[str, Any] = work.message
    table_fd, *rest = work.fds
    work.started()
    loaded = model.load(message, rest)
    table, mapping = frames.read_arrow(table_fd)
    _batches[:] = [_Batch(loaded, table, mapping, message.get("arguments") or {}, bool(message.get("fields")))]
    os.makedirs(FOLDER, exist_ok=True)
    return {"rows": table.num_rows}


def predict_chunk(work: "Work") -> dict[str, object]:
    """Message: start and rows. The answer counts failures, and says what the predictions at PATH are made of."""
    message: dict[str, Any] = work.message
    batch, start = _batches[0], int(message["start"])
    part = batch.table.slice(start, int(message["rows"]))
    failed = predictions.Failures(start)
    found = _many(batch, part) if batch.model.has_predict_many else _one_by_one(batch, part, failed)
    if os.path.exists(PATH):
        os.unlink(PATH)  # the host may still read it
    written = predictions.write(PATH, found, failed, wants_fields=batch.wants_fields)
    del found
    _forget(batch, part.nbytes)
    return {
        "rows": part.num_rows,
        "failed": failed.count,
        "first_failure": failed.first,
        "path": PATH,
        "size": os.path.getsize(PATH),
        "fields": written.fields,
        "schema": written.schema,
    }


def _many(batch: _Batch, part: Any) -> Any:
    """One result a row: an array where they keep a type, else a sequence."""
    raw = batch.model.call_many(_rows(batch, part), batch.arguments)
    found = predictions.typed(raw)
    results = model.in_order(raw) if found is None else found
    batch.model.check_count(len(results), part.num_rows)
    return results


def _one_by_one(batch: _Batch, part: Any, failed: "predictions.Failures") -> list[Any]:
    """Row by row; one that fails has no prediction but its error."""
    results: list[Any] = []
    for at, row in enumerate(part.to_pylist()):
        try:
            results.append(batch.model.predict(row, batch.arguments))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a failure of user code is that row's answer
            failed.note(at, error)
            results.append(None)
    return results


def _rows(batch: _Batch, part: Any) -> Any:
    form = batch.model.many_form
    return part.to_pylist() if form == "list" else frames.shape(part, batch.mapping, form)


def _forget(batch: _Batch, size: int) -> None:
    """Gives back the pages that functions have written to: rows are good for one call, and memory has a limit."""
    batch.seen_bytes += size
    if batch.mapping is not None and batch.seen_bytes >= _FORGET_BYTES:
        batch.mapping.madvise(mmap.MADV_DONTNEED)
        batch.seen_bytes = 0
