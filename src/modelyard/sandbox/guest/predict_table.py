"""The tasks `predict_table` and `predict_rows`: a whole table through a model, a block of rows at a time.

`predict_table` brings the model to life, once, and maps the table; each `predict_rows` then predicts the next rows and
leaves their lines of the result in the working directory, where the host takes them before it asks for more. So
neither memory nor disk ever holds more than one block, and the host knows at each moment how far it has come.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import failures, frames, model
from .failures import Refused
from .result_lines import Layout, Lines, lines_of

if TYPE_CHECKING:
    from .work import Work

#: Where the lines of the newest block lie, relative to the working directory.
FOLDER = ".modelyard/predictions"
#: Rows of a block at most, and what their values may count and take; wide tables go in smaller blocks.
_BLOCK_ROWS = 65_536
_BLOCK_CELLS = 4_000_000
_BLOCK_BYTES = 64 * 1024**2
#: How often `predict_many` may fail on one block.
_ATTEMPTS = 2
_TOLD_LIMIT = 1000


@dataclass
class _Batch:
    """The one batch of this guest: its model, its table, and how far it has come."""

    model: model.Model
    table: Any
    mapping: Any
    arguments: dict[str, Any]
    outputs: list["_Output"]
    #: Columns that some output shows.
    shown: list[str]
    block: int
    next: int = 0


@dataclass
class _Output:
    """One form of the result: who writes it, and its lines of the newest block."""

    lines: Lines
    path: str
    size: int = 0
    #: From which byte of the block on its lines have how many cells.
    widths: list[tuple[int, int]] = field(default_factory=list)

    def begin(self) -> None:
        """A new block."""
        self.size, self.widths = 0, []

    def note(self, line: bytes) -> None:
        """A line that was written."""
        if not self.widths or self.widths[-1][1] != self.lines.width:
            self.widths.append((self.size, self.lines.width))
        self.size += len(line)


@dataclass
class _Counts:
    """What became of a block's rows."""

    rows: int
    failed: int = 0
    first: dict[str, object] | None = field(default=None)

    def fail(self, row: int, error: BaseException) -> str:
        """Notes a failed row; gives what its line says."""
        told = failures.describe(error)
        self.failed += 1
        self.first = self.first or {"row": row, **told}
        return f"{told['type']}: {told['value']}"[:_TOLD_LIMIT]


_batches: list[_Batch] = []


def predict_table(work: "Work") -> dict[str, object]:
    """Message: as `model.load`, and arguments, block, layouts (see `result_lines`); files: table, then its."""
    message: dict[str, Any] = work.message
    table_fd, *rest = work.fds
    work.started()
    loaded = model.load(message, rest)
    table, mapping = frames.read_arrow(table_fd)
    layouts = [Layout.of(each, table.schema) for each in message.get("layouts") or [{}]]
    outputs = [_Output(lines_of(layout), f"{FOLDER}/{place}") for place, layout in enumerate(layouts)]
    shown = [name for name in table.column_names if any(name in layout.names for layout in layouts)]
    block = int(message.get("block") or _block_rows(table))
    _batches[:] = [_Batch(loaded, table, mapping, message.get("arguments") or {}, outputs, shown, block)]
    os.makedirs(FOLDER, exist_ok=True)
    return {"rows": table.num_rows, "predict_many": loaded.has_predict_many}


def predict_rows(work: "Work") -> dict[str, object]:
    """Message: nothing. The lines of the next block lie at the paths that the answer names; none past the end."""
    del work
    batch = _batches[0]
    part = batch.table.slice(batch.next, batch.block)
    counts = _Counts(part.num_rows)
    for output in batch.outputs:
        output.begin()
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(open(output.path, "wb")) for output in batch.outputs]
        found = _many(batch, part, counts) if batch.model.has_predict_many else _one_by_one(batch, part, counts)
        for lines in found:
            for output, target, line in zip(batch.outputs, targets, lines, strict=True):
                target.write(line)
                output.note(line)
    batch.next += part.num_rows
    return {
        "rows": counts.rows,
        "failed": counts.failed,
        "first_failure": counts.first,
        "files": [
            {"path": each.path, "size": each.size, "columns": each.lines.columns, "widths": each.widths}
            for each in batch.outputs
        ],
    }


def _one_by_one(batch: _Batch, part: Any, counts: _Counts) -> Iterator[list[bytes]]:
    """Row by row: one that fails, or whose prediction has no form in the result, carries its error instead."""
    for at, row in enumerate(part.to_pylist()):
        inputs = dict(row)
        try:
            yield _lines(batch, inputs, batch.model.predict(row, batch.arguments))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a failure of user code is that row's answer
            yield _error_lines(batch, inputs, counts.fail(batch.next + at, error))


def _many(batch: _Batch, part: Any, counts: _Counts) -> Iterator[list[bytes]]:
    inputs = part.select(batch.shown).to_pylist() if batch.shown else [{} for _ in range(part.num_rows)]
    results = _predict_many(batch, part) if counts.rows else []
    for at, (row, result) in enumerate(zip(inputs, results, strict=True)):
        try:
            yield _lines(batch, row, result)
        except Refused as error:
            yield _error_lines(batch, row, counts.fail(batch.next + at, error))


def _lines(batch: _Batch, row: dict[str, Any], prediction: object) -> list[bytes]:
    return [output.lines.line(row, prediction) for output in batch.outputs]


def _error_lines(batch: _Batch, row: dict[str, Any], error: str) -> list[bytes]:
    return [output.lines.error_line(row, error) for output in batch.outputs]


def _predict_many(batch: _Batch, part: Any) -> Sequence[Any]:
    """The block's results; a failing function gets the same rows once more, then the batch has failed."""
    for attempt in range(1, _ATTEMPTS + 1):
        # The first attempt may have written into its rows, which are views of the table: the second gets copies.
        rows = _rows(batch, part, batch.mapping if attempt == 1 else None)
        try:
            return batch.model.predict_frame(rows, part.num_rows, batch.arguments)
        except (MemoryError, Refused):
            raise
        except Exception as error:
            if attempt == _ATTEMPTS:
                told = failures.describe(error)
                where = f"rows {batch.next + 1:,} to {batch.next + part.num_rows:,}"
                raise Refused(f"predict_many failed twice on {where}: {told['value']}", str(told["type"])) from error
    raise AssertionError("unreachable")


def _rows(batch: _Batch, part: Any, mapping: Any) -> Any:
    form = batch.model.many_form
    if form == "list":
        return part.to_pylist()
    return frames.shape(part, mapping, form)


def _block_rows(table: Any) -> int:
    if not table.num_rows or not table.num_columns:
        return _BLOCK_ROWS
    by_bytes: int = _BLOCK_BYTES * table.num_rows // max(table.nbytes, 1)
    size: int = max(1, min(_BLOCK_ROWS, _BLOCK_CELLS // table.num_columns, by_bytes))
    return size
