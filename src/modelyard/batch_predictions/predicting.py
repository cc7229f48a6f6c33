"""One batch as an agent does it: the pinned model in a guest, block after block of the table, lines into the store.

`runs.predict` calls `predict_table` with a version that is PREDICTING. What is the user's doing is raised as
`PredictionsFailed` and becomes data; what is the platform's is Retry or Permanent. Everything that the guest says is
checked against what the host can count.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from modelyard.batch_predictions.results import CsvResult, JsonResult, ResultTooLarge, ResultWriter
from modelyard.database import JsonObject
from modelyard.deployments.replica import opened_files
from modelyard.deployments.servable import model_blobs, model_message
from modelyard.environments import Environment, EnvironmentFailure, Environments
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.execution.agent import capacity_of
from modelyard.feature_groups.twins import opened
from modelyard.models.sizes import CpuSize, Size
from modelyard.models.training import clean, usage_of
from modelyard.models.versions import Deployable
from modelyard.sandbox import Guest, GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.storage import Blob, BlobStore, Table

Reply = TypeVar("Reply", bound=msgspec.Struct)


class PredictionsFailed(Exception):
    """There is no result, for a reason that is the user's to mend; the message is a sentence for them."""

    def __init__(self, message: str, exception: JsonObject | None = None, usage: JsonObject | None = None) -> None:
        super().__init__(clean(message))
        self.exception, self.usage = exception, usage


@dataclass(frozen=True, slots=True)
class Layout:
    """One form of the result; see `sandbox/guest/result_lines.py`."""

    csv: bool
    columns: list[str] | None
    metadata: dict[str, str]
    input_prefix: str = ""
    prediction_prefix: str = ""
    separator: str = "."
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be predicted, and in which forms."""

    served: Deployable
    table: Table
    arguments: JsonObject
    layouts: Sequence[Layout]
    name: str


class Counts(NamedTuple):
    """How far a batch has come."""

    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """What came out: a blob for each layout."""

    blobs: list[Blob]
    counts: Counts
    #: About rows that failed; None where none did.
    warning: str | None
    usage: JsonObject


class _Opened(msgspec.Struct, frozen=True):
    rows: int


class _File(msgspec.Struct, frozen=True):
    path: str
    size: int
    columns: list[str] | None
    widths: list[tuple[int, int]]


class _Failure(msgspec.Struct, frozen=True):
    row: int
    type: str
    value: str
    traceback: str


class _Block(msgspec.Struct, frozen=True):
    rows: int
    failed: int
    files: list[_File]
    first_failure: _Failure | None


def find_environment(run: RunContext, served: Deployable) -> Environment:
    """The environment that the version was trained in; PredictionsFailed with the reason if it can't be had."""
    try:
        return run.parts.get(Environments).ensure(
            served.requirements,
            lock=served.lock,
            on_progress=lambda line: run.log("stdout", f"modelyard: {line}\n"),
            cancelled=run.cancelled,
        )
    except EnvironmentFailure as error:
        run.check_cancelled()
        if error.temporary:
            raise Retry(f"the packages could not be installed: {error}", after_s=5) from error
        raise PredictionsFailed(f"The packages could not be installed: {error}") from error


def predict_table(
    run: RunContext, environment: Environment, work: Work, on_progress: Callable[[Counts], None]
) -> Predicted:
    """Predicts the whole table; PredictionsFailed says why that could not be done."""
    sandbox = run.parts.get(Sandbox)
    try:
        with environment.hold(), _files(run, work) as descriptors:
            guest = sandbox.start(environment.interpreter, _limits(run, work.served), on_output=run.log, name=work.name)
            try:
                predicted = _Conversation(run, guest, work, on_progress).hold(descriptors)
            finally:
                guest.kill()
            if guest.output_failure is not None:
                raise guest.output_failure
            return predicted
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error


class _Conversation:
    """All that is said with one guest about one batch."""

    def __init__(self, run: RunContext, guest: Guest, work: Work, on_progress: Callable[[Counts], None]) -> None:
        self._run, self._guest, self._work, self._on_progress = run, guest, work, on_progress
        self._deadline = time.monotonic() + run.settings.training_timeout_s
        self._first: _Failure | None = None

    def hold(self, descriptors: Sequence[int]) -> Predicted:
        """From the model brought to life to the last block in the store."""
        begun = self._call("predict_table", self._opening(), _Opened, descriptors)
        if begun.rows != self._work.table.rows:
            raise self._nonsense(f"{begun.rows} rows instead of {self._work.table.rows}")
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(self._writer(layout)) for layout in self._work.layouts]
            counts = self._predict(writers)
            self._guest.stop()
            usage = usage_of(self._guest.usage)
            warning = self._judge(counts, usage)
            return Predicted([writer.finish() for writer in writers], counts, warning, usage)

    def _writer(self, layout: Layout) -> ResultWriter:
        store, limit = self._run.parts.get(BlobStore), self._guest.limits.scratch_bytes
        return CsvResult(store, limit, self._run.settings.home / "results") if layout.csv else JsonResult(store, limit)

    def _predict(self, writers: Sequence[ResultWriter]) -> Counts:
        counts, rows = Counts(0, 0), self._work.table.rows
        while True:
            block = self._call("predict_rows", {}, _Block)
            left = rows - counts.total
            if not min(1, left) <= block.rows <= left or not 0 <= block.failed <= block.rows:
                raise self._nonsense(f"{block.rows} rows of {left}")
            self._keep(block, writers)
            self._first = self._first or block.first_failure
            counts = Counts(counts.total + block.rows, counts.failed + block.failed)
            self._on_progress(counts)
            if counts.total == rows:
                return counts

    def _keep(self, block: _Block, writers: Sequence[ResultWriter]) -> None:
        if len(block.files) != len(writers):
            raise self._nonsense(f"{len(block.files)} files")
        try:
            for file, writer in zip(block.files, writers, strict=True):
                with self._guest.open(file.path) as stream:
                    writer.add(stream, file.size, file.columns, file.widths)
        except (ScratchRefused, ResultTooLarge) as error:
            raise PredictionsFailed(str(error)) from error

    def _judge(self, counts: Counts, usage: JsonObject) -> str | None:
        """What to say about rows that failed; PredictionsFailed if none did not."""
        if not counts.failed or self._first is None:
            return None
        first = f"the first, row {self._first.row + 1:,}: {self._first.type}: {self._first.value}"
        if counts.failed == counts.total:
            raise PredictionsFailed(f"All {counts.total:,} predictions failed; {first}", _exception(self._first), usage)
        return clean(f"{counts.failed:,} of {counts.total:,} predictions failed; {first}")

    def _call(self, task: str, message: JsonObject, kind: type[Reply], descriptors: Sequence[int] = ()) -> Reply:
        left_s = max(self._deadline - time.monotonic(), 0.001)
        reply = self._guest.call(task, message, descriptors, timeout_s=left_s, cancelled=self._run.cancelled)
        if reply.error is not None:
            if reply.error.kind == FailureKind.CANCELLED:
                self._run.check_cancelled()
            raise PredictionsFailed(_sentence(reply.error, self._run), _exception(reply.error), self._usage())
        try:
            return msgspec.convert(reply.result, kind)
        except msgspec.ValidationError as error:
            raise self._nonsense(str(error)) from error

    def _opening(self) -> JsonObject:
        layouts = [msgspec.to_builtins(layout) for layout in self._work.layouts]
        arguments = self._work.served.prediction_config | self._work.arguments
        return {**model_message(self._work.served), "arguments": arguments, "layouts": layouts}

    def _nonsense(self, what: str) -> PredictionsFailed:
        return PredictionsFailed(f"The guest answered what is no answer ({what}).", usage=self._usage())

    def _usage(self) -> JsonObject:
        return usage_of(self._guest.usage)


@contextlib.contextmanager
def _files(run: RunContext, work: Work) -> Iterator[list[int]]:
    """The table, and what belongs to the model, open for reading."""
    served = work.served
    with (
        opened(run.parts, run.settings, [work.table]) as table,
        opened_files(run.parts, run.settings, model_blobs(served), [each.table for each in served.tables]) as of_model,
    ):
        yield [*table, *of_model]


def size_of(served: Deployable) -> Size:
    """What the version was given for its training, which a batch of it is given too."""
    return Size(CpuSize(served.cpu_size) if served.cpu_size else None, served.memory_gib, served.use_gpu)


def _limits(run: RunContext, served: Deployable) -> Limits:
    capacity, size = capacity_of(run.settings), size_of(served)
    return Limits(
        cores=min(size.cores, capacity.cores),
        memory_gib=min(float(size.memory_gib or capacity.memory_gib), capacity.memory_gib),
        processes=run.settings.guest_processes,
        scratch_gib=run.settings.scratch_gib,
        gpus=run.gpus,
    )


def _sentence(error: GuestError, run: RunContext) -> str:
    if error.kind == FailureKind.TIMEOUT:
        return f"The predictions took longer than {run.settings.training_timeout_s:g} seconds and were stopped."
    return error.sentence


def _exception(error: GuestError | _Failure) -> JsonObject:
    return {name: clean(text) for name, text in _texts(error).items()}


def _texts(error: GuestError | _Failure) -> dict[str, Any]:
    return {"type": error.type, "value": error.value, "traceback": error.traceback}
