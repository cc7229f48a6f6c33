"""What is in the columns of a table: counted once by a guest, when somebody first asks, and kept with the table.

Datasets and feature groups ask with the table of a version; versions with the same rows share the answer. A call that
comes before the answer is known waits for the run that finds it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import JsonObject
from modelyard.datasets import questions
from modelyard.datasets.columns import data_type, feature_type
from modelyard.datasets.questions import key_of
from modelyard.datasets.records import TableMetrics
from modelyard.datasets.wire import DataMetricsShape
from modelyard.environments import Environments
from modelyard.errors import ConflictError, InvalidParameterError
from modelyard.execution import After, Permanent, Retry, RunContext
from modelyard.ids import RunId
from modelyard.sandbox import Guest, GuestNotStarted, Limits, Outcome, Sandbox
from modelyard.storage import BlobStore, Table

MEASURE_RUN = "datasets.measure"
#: After a failed attempt, the next one is made no sooner.
_AGAIN_AFTER = timedelta(seconds=30)
#: What belongs to the charts, and is only shown where they are asked for.
_CHARTS = frozenset({"histogram"})


class Measured(msgspec.Struct, frozen=True):
    """What a guest found: a record a column, in the order of the table."""

    columns: list[dict[str, Any]]
    rows: int
    duplicates: int | None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    #: These come first.
    columns: Sequence[str] = ()
    charts: bool = False
    statistics: bool = True


def describe(call: Call, table: Table, wanted: Wanted) -> DataMetricsShape | After:
    """What is in the table's columns; or what has to end before that is known."""
    unknown = [name for name in wanted.columns if name not in {column.name for column in table.columns}]
    if unknown:
        raise InvalidParameterError(f"The table has no column {unknown[0][:200]!r}")
    kept = call.session.get(TableMetrics, (table.digest, call.organization_id))
    if kept is None or (kept.error is not None and call.clock() - kept.created_at > _AGAIN_AFTER):
        return After((_begin(call, table, kept),))
    if kept.error is not None:
        raise ConflictError(f"The table could not be measured: {kept.error}")
    if kept.measured is None:
        return After((kept.run_id,))
    return _shape(msgspec.convert(kept.measured, Measured), table, wanted)


def measure(run: RunContext) -> None:
    """Measures a table."""
    with run.read() as session:
        table = msgspec.convert(session.get_one(TableMetrics, key_of(run.payload)).table, Table)
    measured = _measure(run, table)
    with run.transaction() as session:
        kept = session.get_one(TableMetrics, key_of(run.payload))
        kept.measured = msgspec.to_builtins(measured)
        run.complete(session)


def give_up_measuring(session: Session, payload: JsonObject, reason: str) -> None:
    """Says why nothing is known; who asks after a while tries again."""
    kept = session.get(TableMetrics, key_of(payload))
    if kept is not None and kept.measured is None:
        kept.error = reason


def _shape(measured: Measured, table: Table, wanted: Wanted) -> DataMetricsShape:
    first = {name: at for at, name in enumerate(wanted.columns)}
    order = sorted(range(len(table.columns)), key=lambda at: (first.get(table.columns[at].name, len(first)), at))
    found = {column["name"]: column for column in measured.columns}
    metrics = [_metrics(found.get(table.columns[at].name, {}), wanted) for at in order]
    return DataMetricsShape(
        metrics=[each for each in metrics if each],
        schema=[
            {
                "name": table.columns[at].name,
                "dataType": data_type(table.columns[at]),
                "featureType": feature_type(table.columns[at]),
            }
            for at in order
        ],
        num_rows=measured.rows,
        num_cols=len(table.columns),
        num_duplicate_rows=measured.duplicates,
    )


def _metrics(found: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    shown = {
        name: value
        for name, value in found.items()
        if name != "name" and (wanted.charts if name in _CHARTS else wanted.statistics)
    }
    return {"name": found["name"]} | shown if shown else {}


def _begin(call: Call, table: Table, former: TableMetrics | None) -> RunId:
    run_id = questions.begin(call, MEASURE_RUN, table)
    if former is not None:
        former.error, former.run_id, former.created_at = None, run_id, call.clock()
        return run_id
    return questions.keep(
        call,
        TableMetrics(
            table_digest=table.digest,
            organization_id=call.organization_id,
            table=msgspec.to_builtins(table),
            run_id=run_id,
            created_at=call.clock(),
        ),
    )


def _measure(run: RunContext, table: Table) -> Measured:
    limits = Limits(
        cores=run.claim.cores,
        memory_gib=run.claim.memory_gib,
        timeout_s=run.settings.materialization_timeout_s,
        processes=run.settings.guest_processes,
        scratch_gib=run.settings.scratch_gib,
    )
    message = {"memory_gib": limits.memory_gib, "scratch_gib": limits.scratch_gib, "threads": limits.threads}
    base = run.parts.get(Environments).base()
    try:
        with base.hold(), _opened(run.parts.get(BlobStore), table) as descriptors:
            outcome: Outcome[Measured] = run.parts.get(Sandbox).run(
                base.interpreter, limits, "measure_table", message, fds=descriptors, on_output=run.log,
                cancelled=run.cancelled, collect=_collect, name="metrics",
            )  # fmt: skip
    except (GuestNotStarted, msgspec.ValidationError) as error:
        raise Retry(f"the table could not be measured: {error}") from error
    run.check_cancelled()
    if outcome.error is not None or outcome.collected is None:
        raise Permanent(outcome.error.sentence if outcome.error else "there was no answer")
    return outcome.collected


def _collect(_guest: Guest, result: dict[str, object]) -> Measured:
    return msgspec.convert(result, Measured)


@contextlib.contextmanager
def _opened(store: BlobStore, table: Table) -> Iterator[list[int]]:
    """Descriptors of the table's Parquet blobs, in order, closed at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(store.open(part.digest)).fileno() for part in table.parts]
