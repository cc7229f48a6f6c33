"""The tasks `predict_table` and `predict_chunks`: rows of a table through a model, some chunks at a time.

`predict_table` brings the model to life, once, and maps the table; each `predict_chunks` then predicts as many of the
chunks that it names as a moment allows, and leaves their predictions in one file (`predictions`), which the host opens
before it asks for more, and names again only when it has copied it. So memory holds no more than one chunk, several
guests share a table, and a chunk that was kept is never predicted again.
"""

import functools
import mmap
import os
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from . import failures, frames, model, predictions

if TYPE_CHECKING:
    from .work import Work

#: Where the predictions of the newest chunks lie, relative to the working directory: in files that have numbers.
FOLDER = ".modelyard/predictions"
#: A larger file is removed instead of written again: several of them would be much of the scratch space.
_REUSED_BYTES = 32 * 1024**2
#: Small pieces, of which Arrow makes many, are written together.
_BUFFER_BYTES = 16 * 1024
#: Each chunk's predictions begin at a multiple of this.
_ALIGNED = 64
#: Of the table so much is handed to a function before what it wrote into its rows is forgotten.
_FORGET_BYTES = 256 * 1024**2

#: A little less than the largest piece that glibc ever keeps (DEFAULT_MMAP_THRESHOLD_MAX).
_LARGEST_KEPT_BYTES = 31 * 1024**2


@dataclass
class _Batch:
    """What this guest predicts: its model, its table, and how much of that it has seen."""

    model: model.Model
    table: Any
    mapping: mmap.mmap | None
    arguments: dict[str, Any]
    wants_fields: bool
    #: For a function that gets DataFrames.
    frames: frames.PandasRows | None
    seen_bytes: float = 0.0

    @functools.cached_property
    def row_bytes(self) -> float:
        """What a row takes, on the average."""
        return float(self.table.nbytes) / max(int(self.table.num_rows), 1)


_batches: list[_Batch] = []


def predict_table(work: "Work") -> dict[str, object]:
    """Message: as `model.load`, with arguments and whether fields are wanted; files: the table, then the model's."""
    message: dict[str, Any] = work.message
    table_fd, *rest = work.fds
    work.started()
    loaded = model.load(message, rest)
    if wrong := loaded.misspelt(message.get("arguments") or {}):
        raise failures.Refused(wrong, "InvalidParameterError")
    table, mapping = frames.read_arrow(table_fd)
    with_frames = loaded.has_predict_many and loaded.many_form == "pandas"
    rows = frames.PandasRows(table, mapping) if with_frames else None
    _batches[:] = [_Batch(loaded, table, mapping, message.get("arguments") or {}, bool(message.get("fields")), rows)]
    os.makedirs(FOLDER, exist_ok=True)
    _keep_memory()
    return {"rows": table.num_rows}


def predict_chunks(work: "Work") -> dict[str, object]:
    """Message: chunks (pairs of start and rows), within_s, file (its number). The first is predicted, and more in time.

    The answer says of each that was predicted what became of it, and where in the file its predictions lie. What was
    raised for the first is raised; for a later one it is told, since those before it are of use.
    """
    message: dict[str, Any] = work.message
    ends, done = time.monotonic() + float(message["within_s"]), list[dict[str, object]]()
    error: dict[str, object] | None = None
    path = f"{FOLDER}/{int(message['file'])}"
    with _opened(path) as file:
        for start, rows in message["chunks"]:
            if done and time.monotonic() >= ends:
                break
            try:
                done.append(_predict(_batches[0], int(start), int(rows), file))
            except BaseException as raised:  # whatever it is, the host is told of it
                if not done:
                    raise
                error = failures.describe(raised)
                break
    return {"path": path, "done": done, "error": error}


def _opened(path: str) -> IO[bytes]:
    """The file, to be written from its beginning on, over what is there: its pages are in memory already."""
    if os.path.exists(path) and os.path.getsize(path) > _REUSED_BYTES:
        os.unlink(path)
    return open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb", buffering=_BUFFER_BYTES)


def _keep_memory() -> None:
    """Has the C library keep memory that was freed for what is wanted next, as far as it ever does.

    It gives back each larger piece at once until it has seen one freed that was as large as they get; until then the
    arrays that a function makes on its way come page by page: a logistic regression took 50 ns a row instead of 32.
    """
    import numpy

    numpy.empty(_LARGEST_KEPT_BYTES, numpy.uint8)


def _predict(batch: _Batch, start: int, rows: int, file: IO[bytes]) -> dict[str, object]:
    failed = predictions.Failures(start)
    find = _many if batch.model.has_predict_many else _one_by_one
    found = find(batch, start, rows, failed)
    file.write(bytes(-file.tell() % _ALIGNED))
    offset = file.tell()
    written = predictions.write(file, found, failed, wants_fields=batch.wants_fields)
    del found
    _forget(batch, rows * batch.row_bytes)
    return {
        "rows": rows,
        "failed": failed.count,
        "first_failure": failed.first,
        "fields": written.fields,
        "schema": written.schema,
        "offset": offset,
        "size": file.tell() - offset,
    }


def _many(batch: _Batch, start: int, rows: int, _: "predictions.Failures") -> Any:
    """One result a row: an array where they keep a type, else a sequence."""
    raw = batch.model.call_many(_rows(batch, start, rows), batch.arguments)
    found = predictions.typed(raw)
    results = model.in_order(raw) if found is None else found
    batch.model.check_count(len(results), rows)
    return results


def _one_by_one(batch: _Batch, start: int, rows: int, failed: "predictions.Failures") -> list[Any]:
    """Row by row; one that fails has no prediction but its error."""
    results: list[Any] = []
    for at, row in enumerate(batch.table.slice(start, rows).to_pylist()):
        try:
            results.append(batch.model.predict(row, batch.arguments))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a failure of user code is that row's answer
            failed.note(at, error)
            results.append(None)
    return results


def _rows(batch: _Batch, start: int, rows: int) -> Any:
    if batch.frames is not None:
        return batch.frames.slice(start, rows)
    part, form = batch.table.slice(start, rows), batch.model.many_form
    return part.to_pylist() if form == "list" else frames.shape(part, batch.mapping, form)


def _forget(batch: _Batch, size: float) -> None:
    """Gives back the pages that functions have written to: rows are good for one call, and memory has a limit."""
    batch.seen_bytes += size
    if batch.mapping is not None and batch.seen_bytes >= _FORGET_BYTES:
        batch.mapping.madvise(mmap.MADV_DONTNEED)
        batch.seen_bytes = 0.0
