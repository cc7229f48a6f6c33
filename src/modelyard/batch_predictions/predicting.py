"""One batch as an agent does it: the pinned model in several guests, chunk after chunk of the table, each kept.

`runs.predict` calls `predict_table` with a version that is PREDICTING. What is the user's doing is raised as
`PredictionsFailed` and becomes data; what is the platform's is Retry or Permanent. Everything that a guest says is
checked against what the host can count. As many guests work as the version was given cores, each with its share of the
memory; where that is too little, one of them goes on with all of it.
"""

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple, TypeVar

import msgspec

from modelyard.batch_predictions.chunks import Chunk, Failure, Kept, KeptChunks, Plan, Told
from modelyard.batch_predictions.crew import Asked, Crew, NotHired, PieceFailed, Starved, Unanswered
from modelyard.database import JsonObject
from modelyard.deployments.replicas.replica import opened_files
from modelyard.environments import Environment, EnvironmentFailure, Environments
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.execution.agent import capacity_of
from modelyard.feature_groups.twins import opened
from modelyard.gpus import NONE_HERE
from modelyard.ids import BatchPredictionVersionId
from modelyard.models.loading import model_blobs, model_message
from modelyard.models.sizes import CpuSize, Size
from modelyard.models.training import clean, usage_of
from modelyard.models.versions import Deployable
from modelyard.sandbox import Guest, GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.channel import WireError
from modelyard.sandbox.failures import FailureKind
from modelyard.sandbox.limits import Usage
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.storage import Table

#: Chunks that a guest is asked for at once, and seconds after which it begins no further one: a function that takes no
#: time shall not wait for us after each chunk, and of one that takes its time each chunk shall be kept at once.
_AT_ONCE, _WITHIN_S = 8, 0.1
#: Seconds without an answer after which what was kept is made durable.
_TICK_S = 0.05
Reply = TypeVar("Reply", bound=msgspec.Struct)


class PredictionsFailed(Exception):
    """There is no result, for a reason that is the user's to mend; the message is a sentence for them."""

    def __init__(self, message: str, exception: JsonObject | None = None, usage: JsonObject | None = None) -> None:
        super().__init__(clean(message))
        self.exception, self.usage = exception, usage


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be predicted."""

    version: BatchPredictionVersionId
    served: Deployable
    table: Table
    arguments: JsonObject
    #: Whether the result has columns for the fields of predictions that are objects.
    wants_fields: bool


class Counts(NamedTuple):
    """How far a batch has come."""

    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """What came out: the predictions of all chunks, in order."""

    chunks: list[Kept]
    counts: Counts
    #: About rows that failed; None where none did.
    warning: str | None
    usage: JsonObject


class _Opened(msgspec.Struct, frozen=True):
    rows: int


class _Part(Told, frozen=True):
    """A chunk, and where in the guest's file its predictions lie."""

    offset: int
    size: int


class _Answered(msgspec.Struct, frozen=True):
    path: str
    done: list[_Part]
    error: WireError | None


class _Done(NamedTuple):
    """Predictions of some chunks, in a file of the guest's that is open."""

    parts: list[_Part]
    stream: IO[bytes]
    #: Which of the guest's files that is.
    files: "_Files"
    number: int


class _Files:
    """A guest's files for its answers, by number; one that was copied is written again, since new ones cost more."""

    def __init__(self) -> None:
        self._free, self._count = list[int](), 0

    def take(self) -> int:
        """One that nobody reads."""
        if self._free:
            return self._free.pop()
        self._count += 1
        return self._count

    def give_back(self, number: int) -> None:
        """It has been read; called from another thread."""
        self._free.append(number)


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
    """Predicts what is not predicted yet; PredictionsFailed says why that could not be done."""
    try:
        with environment.hold():
            batch = _Batch(run, environment, work, on_progress)
            try:
                return batch.predict()
            finally:
                batch.close()
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error
    except ScratchRefused as error:
        raise PredictionsFailed(str(error)) from error


class _Batch:
    """One table, its chunks, and the guests that predict them."""

    def __init__(
        self, run: RunContext, environment: Environment, work: Work, on_progress: Callable[[Counts], None]
    ) -> None:
        self._run, self._environment, self._work, self._on_progress = run, environment, work, on_progress
        self._deadline = time.monotonic() + run.settings.training_timeout_s
        table, many = work.table, work.served.functions.predict_many is not None
        with opened(run.parts, run.settings, [table]) as [twin]:
            self._plan = Plan.of(table.rows, len(table.columns), os.fstat(twin).st_size, many=many)
        self._chunks = self._plan.chunks
        self._kept = KeptChunks(run.settings, work.version, self._key(), run.claim.fence)
        self._counts = Counts(0, 0)
        self._size = 1
        self._used = Usage()
        #: What a guest that was ready worked, and what it took to make the last chunks durable.
        self._predicting_s = self._settling_s = 0.0
        self._files = weakref.WeakKeyDictionary[Guest, _Files]()

    def predict(self) -> Predicted:
        """Every chunk that is missing."""
        done = self._kept.find(self._plan)
        if done:
            self._run.log("stdout", f"modelyard: {len(done)} of {len(self._chunks)} chunks are there already\n")
            self._counts = _counted(done.values())
            self._on_progress(self._counts)
        missing = [chunk.number for chunk in self._chunks if chunk.number not in done]
        tried = set[int]()
        self._size = max(1, min(_most_guests(self._run, self._work.served), len(missing)))
        try:
            self._round(missing, done, tried)
        except Starved:
            self._run.log("stdout", "modelyard: memory was short for several guests; one goes on with all of it\n")
            self._size = 1
            self._round([number for number in missing if number not in done], done, tried)
        chunks = [done[number] for number in sorted(done)]
        usage = usage_of(self._used) | {"predictingSeconds": round(self._predicting_s, 3)}
        return Predicted(chunks, self._counts, _judged(chunks, self._counts, usage), usage)

    def close(self) -> None:
        """Closes what it has open."""
        self._kept.close()

    def _round(self, missing: Sequence[int], done: dict[int, Kept], tried: set[int]) -> None:
        crew = Crew[_Done](self._run, self._size, self._hire, self._ask, _drop, _AT_ONCE)
        try:
            for found in crew.work(missing, tried=tried, tick_s=_TICK_S):
                if found is not None:
                    done.update(self._keep(*found))
                if found is None or self._kept.is_due:
                    self._settle()
            self._settle()
        except NotHired as failed:
            raise self._failed(failed.error, _sentence(failed.error, self._run)) from failed
        except PieceFailed as failed:
            raise self._failed(failed.error, self._told_of(failed)) from failed
        finally:
            self._predicting_s += crew.asked_s / self._size + self._settling_s
            used = crew.used
            peak = max(self._used.peak_memory_bytes, used.peak_memory_bytes)
            self._used = Usage(peak, self._used.cpu_s + used.cpu_s)

    def _keep(self, numbers: Sequence[int], found: _Done) -> dict[int, Kept]:
        kept = {}
        with found.stream:
            for number, part in zip(numbers, found.parts, strict=True):
                told = Told(part.rows, part.failed, part.first_failure, part.fields, part.schema)
                place = part.offset, part.size
                kept[number] = self._kept.keep(self._chunks[number], found.stream, place, told)
                self._counts = Counts(self._counts.total + told.rows, self._counts.failed + told.failed)
        found.files.give_back(found.number)
        return kept

    def _settle(self) -> None:
        began = time.monotonic()
        if self._kept.settle():
            self._settling_s = time.monotonic() - began
            self._on_progress(self._counts)

    def _hire(self) -> Guest:
        """A guest with the model brought to life in it, and the table."""
        served, interpreter, name = self._work.served, self._environment.interpreter, f"predict {self._work.version}"
        limits, sandbox = _limits(self._run, served, self._size), self._run.parts.get(Sandbox)
        guest = sandbox.start(interpreter, limits, on_output=self._run.log, name=name, code=served.code_names)
        try:
            with _files(self._run, self._work) as descriptors:  # its own: guests share no place in a file
                begun = self._call(guest, "predict_table", self._opening(), _Opened, descriptors)
            if begun.rows != self._work.table.rows:
                raise self._nonsense(f"{begun.rows} rows instead of {self._work.table.rows}")
        except BaseException:
            guest.kill()
            raise
        return guest

    def _ask(self, guest: Guest, numbers: list[int]) -> Asked[_Done]:
        chunks = [self._chunks[number] for number in numbers]
        files = self._files.setdefault(guest, _Files())
        number = files.take()
        places = [[each.start, each.rows] for each in chunks]
        asked: JsonObject = {"chunks": places, "within_s": _WITHIN_S, "file": number}
        answered = self._call(guest, "predict_chunks", asked, _Answered)
        stream = guest.open(answered.path)
        try:
            self._check(answered, chunks, os.fstat(stream.fileno()).st_size)
        except BaseException:
            stream.close()
            raise
        error = guest.told(answered.error) if answered.error is not None else None
        return Asked(_Done(answered.done, stream, files, number), len(answered.done), error)

    def _check(self, answered: _Answered, chunks: Sequence[Chunk], size: int) -> None:
        """Raises unless what the guest says can be: a guest may be anybody's code."""
        if not len(answered.done) + (answered.error is not None) <= len(chunks) or not answered.done:
            raise self._nonsense(f"{len(answered.done)} chunks of {len(chunks)}")
        for part, chunk in zip(answered.done, chunks, strict=False):
            if part.rows != chunk.rows or not 0 <= part.failed <= chunk.rows:
                raise self._nonsense(f"{part.rows} rows of {chunk.rows}")
            if part.offset < 0 or part.size <= 0 or part.offset + part.size > size:
                raise self._nonsense(f"{part.size} bytes from {part.offset} on of {size}")

    def _call(
        self, guest: Guest, task: str, message: JsonObject, kind: type[Reply], descriptors: Sequence[int] = ()
    ) -> Reply:
        left_s = max(self._deadline - time.monotonic(), 0.001)
        reply = guest.call(task, message, descriptors, timeout_s=left_s, cancelled=self._run.cancelled)
        if reply.error is not None:
            raise Unanswered(reply.error)
        try:
            return msgspec.convert(reply.result, kind)
        except msgspec.ValidationError as error:
            raise self._nonsense(str(error)) from error

    def _opening(self) -> JsonObject:
        arguments = self._work.served.prediction_config | self._work.arguments
        return {**model_message(self._work.served), "arguments": arguments, "fields": self._work.wants_fields}

    def _key(self) -> dict[str, object]:
        """What the predictions follow from: chunks that were kept under another key are not these."""
        served = self._work.served
        made_from = [served.code.tree, served.artifact, served.files, served.lock, *served.requirements]
        return {"opening": self._opening(), "from": made_from, "table": self._work.table.digest, "plan": self._plan}

    def _told_of(self, failed: PieceFailed) -> str:
        chunk, error = self._chunks[failed.number], failed.error
        where = f"rows {chunk.start + 1:,} to {chunk.start + chunk.rows:,}"
        if error.kind == FailureKind.EXCEPTION:
            who = self._work.served.functions.predict_many or self._work.served.functions.predict
            return f"{error.type}: {who} failed twice on {where}: {error.value}"
        again = " in the second attempt" if failed.attempts > 1 else ""
        return f"{_sentence(error, self._run)} That was at {where}{again}."

    def _failed(self, error: GuestError, sentence: str) -> PredictionsFailed:
        return PredictionsFailed(sentence, _exception(error), usage_of(self._used))

    def _nonsense(self, what: str) -> PredictionsFailed:
        return PredictionsFailed(f"The guest answered what is no answer ({what}).", usage=usage_of(self._used))


def _drop(done: _Done) -> None:
    done.stream.close()


def _counted(chunks: Collection[Kept]) -> Counts:
    return Counts(sum(each.told.rows for each in chunks), sum(each.told.failed for each in chunks))


def _judged(chunks: Sequence[Kept], counts: Counts, usage: JsonObject) -> str | None:
    """What to say about rows that failed; PredictionsFailed if none did not."""
    first: Failure | None = next((each.told.first_failure for each in chunks if each.told.first_failure), None)
    if not counts.failed or first is None:
        return None
    said = f"the first, row {first.row + 1:,}: {first.type}: {first.value}"
    if counts.failed == counts.total:
        raise PredictionsFailed(f"All {counts.total:,} predictions failed; {said}", _exception(first), usage)
    return clean(f"{counts.failed:,} of {counts.total:,} predictions failed; {said}")


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


def cores_of(run: RunContext, served: Deployable) -> float:
    """The cores that a batch may use."""
    return min(size_of(served).cores, capacity_of(run.settings).cores)


def memory_of(run: RunContext, served: Deployable) -> float:
    """The memory that a batch may use, in GiB."""
    capacity = capacity_of(run.settings).memory_gib
    return min(float(size_of(served).memory_gib or capacity), capacity)


def _most_guests(run: RunContext, served: Deployable) -> int:
    """One for each core; where there are GPUs, one alone, since each would load the model into them."""
    return 1 if run.gpus else max(1, int(cores_of(run, served)))


def _limits(run: RunContext, served: Deployable, guests: int) -> Limits:
    """A guest's share."""
    if served.use_gpu and not run.gpus:
        raise PredictionsFailed(f"The model {NONE_HERE}")
    return Limits(
        cores=cores_of(run, served) / guests,
        memory_gib=memory_of(run, served) / guests,
        processes=run.settings.guest_processes,
        scratch_gib=run.settings.scratch_gib,
        gpus=run.gpus,
    )


def _sentence(error: GuestError, run: RunContext) -> str:
    if error.kind == FailureKind.TIMEOUT:
        return f"The predictions took longer than {run.settings.training_timeout_s:g} seconds and were stopped."
    return error.sentence


def _exception(error: GuestError | Failure) -> JsonObject:
    texts = {"type": error.type, "value": error.value, "traceback": error.traceback}
    return {name: clean(text) for name, text in texts.items()}
