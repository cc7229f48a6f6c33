"""From kept predictions to a result: guests of the base environment put them beside the inputs, as text or as a table.

The model's own guests have ended by then. Text is written by as many guests as the batch has cores, chunk by chunk, and
goes into the store in the order of the chunks, so neither memory nor disk ever holds more of it than some chunks; a
table is written by one guest, which is handed one chunk after the other. Here no byte of a result is looked at.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import msgspec

from modelyard.batch_predictions.chunks import Kept
from modelyard.batch_predictions.crew import Asked, Crew, NotHired, PieceFailed, Starved, Unanswered
from modelyard.batch_predictions.predicting import Predicted, PredictionsFailed, Work, cores_of, memory_of
from modelyard.database import JsonObject
from modelyard.datasets.arrivals import BadTable, collect_table
from modelyard.environments import Environment, EnvironmentFailure, Environments
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.feature_groups.twins import opened
from modelyard.sandbox import Guest, GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.storage import Blob, BlobStore, Table
from modelyard.storage.blobs import CHUNK, BlobWriter

#: Columns that predictions may make of their fields; what spreadsheets take.
MOST_FIELDS = 16_384


@dataclass(frozen=True, slots=True)
class Layout:
    """One form of the result; see `sandbox/guest/result_lines.py`."""

    csv: bool
    columns: list[str] | None
    metadata: dict[str, str]
    input_prefix: str = ""
    prediction_prefix: str = ""
    separator: str = "."


class _Lines(msgspec.Struct, frozen=True):
    path: str
    size: int


def write_text(run: RunContext, work: Work, predicted: Predicted, layout: Layout) -> Blob:
    """The result as lines, in the store. PredictionsFailed says why it can't be written."""
    fields = _fields(predicted) if layout.csv else []
    opening: JsonObject = {
        "layout": msgspec.to_builtins(layout), "fields": fields, "errors": predicted.counts.failed > 0,
    }  # fmt: skip
    with _platform(run) as environment, run.parts.get(BlobStore).writer() as blob:
        size = max(1, min(int(cores_of(run, work.served)), len(predicted.chunks)))
        try:
            _write_lines(_Writing(run, environment, work, "result_open", opening, size), predicted.chunks, blob)
        except Starved:
            raise Retry("memory was short while the result was written") from None
        return blob.finish()


def make_table(run: RunContext, work: Work, predicted: Predicted, layout: Layout) -> Table:
    """The result as a table. PredictionsFailed says why it can't be one."""
    _fields(predicted)
    schemas = list(dict.fromkeys(kept.told.schema for kept in predicted.chunks))
    opening: JsonObject = {
        "layout": msgspec.to_builtins(layout), "errors": predicted.counts.failed > 0, "schemas": schemas,
    }  # fmt: skip
    with _platform(run) as environment:
        writing = _Writing(run, environment, work, "table_open", opening, 1)
        try:
            guest = writing.hire()
            try:
                return _write_table(run, writing, guest, predicted.chunks)
            finally:
                guest.kill()
        except Unanswered as failed:
            run.check_cancelled()
            raise PredictionsFailed(_sentence(failed.error)) from failed
        except BadTable as error:
            raise PredictionsFailed(f"The result can't be made a table: {error}") from error


def _write_lines(writing: "_Writing", chunks: Sequence[Kept], blob: BlobWriter) -> None:
    """Appends the lines of each chunk; a result without rows may have a head."""
    limit, by_number = writing.limits.scratch_bytes, {kept.chunk.number: kept for kept in chunks}

    def ask(guest: Guest, numbers: list[int]) -> Asked[tuple[int, IO[bytes]]]:
        return Asked(writing.lines(guest, by_number.get(numbers[0])), 1)

    def drop(answer: tuple[int, IO[bytes]]) -> None:
        answer[1].close()

    crew = Crew[tuple[int, IO[bytes]]](writing.run, writing.size, writing.hire, ask, drop)
    try:
        for size, stream in crew.work_in_order(sorted(by_number) or [0]):
            with stream:
                _append(blob, stream, size, limit)
    except (NotHired, PieceFailed) as failed:
        writing.run.check_cancelled()
        raise PredictionsFailed(_sentence(failed.error)) from failed


def _append(blob: BlobWriter, stream: IO[bytes], size: int, limit: int) -> None:
    if blob.size + size > limit:
        raise PredictionsFailed(
            f"The result has more than {limit:,} bytes. Name fewer columns in resultInputColumns, or return less."
        )
    while size > 0 and (chunk := stream.read(min(size, CHUNK))):
        blob.write(chunk)
        size -= len(chunk)


def _write_table(run: RunContext, writing: "_Writing", guest: Guest, chunks: Sequence[Kept]) -> Table:
    for kept in chunks:
        with kept.path.open("rb") as file:
            writing.call(guest, "table_add", _place(kept), [file.fileno()])
    limits = writing.limits
    engine = {"memory_gib": limits.memory_gib, "scratch_gib": limits.scratch_gib, "threads": limits.threads}
    described = writing.call(guest, "table_close", engine)
    guest.stop()
    return collect_table(run.parts, run.settings, guest, described)


class _Writing:
    """Guests that have a batch's inputs mapped."""

    def __init__(
        self, run: RunContext, environment: Environment, work: Work, task: str, opening: JsonObject, size: int
    ) -> None:
        self.run, self.size = run, size
        self._environment, self._work, self._task, self._opening = environment, work, task, opening
        self.limits = Limits(
            cores=cores_of(run, work.served) / size,
            memory_gib=memory_of(run, work.served) / size,
            timeout_s=run.settings.materialization_timeout_s,
            processes=run.settings.guest_processes,
            scratch_gib=run.settings.scratch_gib,
        )

    def hire(self) -> Guest:
        """A guest that waits for chunks."""
        sandbox, name = self.run.parts.get(Sandbox), f"write {self._work.version}"
        guest = sandbox.start(self._environment.interpreter, self.limits, on_output=self.run.log, name=name)
        try:
            with opened(self.run.parts, self.run.settings, [self._work.table]) as twin:
                self.call(guest, self._task, self._opening, twin)
        except BaseException:
            guest.kill()
            raise
        return guest

    def lines(self, guest: Guest, kept: Kept | None) -> tuple[int, IO[bytes]]:
        """The lines of a chunk, in a file of the guest's; without one a result's that has no rows."""
        if kept is None:
            found = self.call(guest, "result_lines", {"start": 0, "rows": 0, "head": True})
        else:
            with kept.path.open("rb") as file:
                message = {**_place(kept), "head": kept.chunk.number == 0}
                found = self.call(guest, "result_lines", message, [file.fileno()])
        lines = msgspec.convert(found, _Lines)
        stream = guest.open(lines.path)
        if os.fstat(stream.fileno()).st_size != lines.size:
            stream.close()
            raise ScratchRefused("The file of the result is not what was told of it.")
        return lines.size, stream

    def call(self, guest: Guest, task: str, message: JsonObject, fds: Sequence[int] = ()) -> JsonObject:
        """What the guest answers; Unanswered if it fails."""
        reply = guest.call(task, message, fds, cancelled=self.run.cancelled)
        if reply.error is not None or reply.result is None:
            raise Unanswered(reply.error or GuestError(FailureKind.PROTOCOL, "", "there was no answer"))
        return reply.result


@contextlib.contextmanager
def _platform(run: RunContext) -> Iterator[Environment]:
    """The base environment, and what is the platform's fault told as that."""
    try:
        base = run.parts.get(Environments).base()
        with base.hold():
            yield base
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error
    except EnvironmentFailure as error:
        raise (Retry(str(error)) if error.temporary else Permanent(str(error))) from error
    except ScratchRefused as error:
        raise PredictionsFailed(str(error)) from error


def _fields(predicted: Predicted) -> list[list[str]]:
    """The fields of predictions in the order of their appearance, as columns of a result."""
    paths = dict.fromkeys(tuple(path) for kept in predicted.chunks for path in kept.told.fields)
    if len(paths) > MOST_FIELDS:
        raise PredictionsFailed(
            f"The predictions have more than {MOST_FIELDS:,} different fields, which can't become columns. Results as "
            "JSON that are kept here for download have no such limit."
        )
    return [list(path) for path in paths]


def _place(kept: Kept) -> JsonObject:
    return {"start": kept.chunk.start, "rows": kept.chunk.rows, "offset": kept.offset, "size": kept.size}


def _sentence(error: GuestError) -> str:
    if error.kind == FailureKind.EXCEPTION and error.type == "ValueError":
        return error.value
    return f"The predictions were made, but could not be written: {error.sentence}"
