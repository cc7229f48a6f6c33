"""A real row of a training's table, for examples: read once by a guest, when somebody first asks, and kept.

Who asks waits for it a moment, if an agent is there to fetch it; otherwise, or if that takes long, there is none.
"""

import contextlib
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import JsonObject
from modelyard.datasets import questions
from modelyard.datasets.questions import key_of
from modelyard.environments import Environments
from modelyard.execution import After, Permanent, Retry, RunContext, RunKind
from modelyard.execution.queue import has_living_agent
from modelyard.ids import RunId
from modelyard.observability.records import ExampleRow
from modelyard.sandbox import GuestNotStarted, Limits, Outcome, Sandbox
from modelyard.storage import BlobStore, Table

FIRST_ROW_RUN = "observability.first_row"
#: Seconds that a caller waits for the row, and after which one asks no more.
WAIT_S = 20.0
Row = dict[str, Any]


class FirstRow(msgspec.Struct, frozen=True):
    """What the guest answers."""

    row: Row | None


def row_of(call: Call, table: Table) -> Row | After | None:
    """The table's first row; what has to end before it is known; None where there is none to be had now."""
    kept = call.session.get(ExampleRow, (table.digest, call.organization_id))
    if kept is None:
        if not has_living_agent(call.session, call.clock()):
            return None
        return After((_begin(call, table),), WAIT_S)
    is_new = call.clock() - kept.created_at < timedelta(seconds=WAIT_S / 2)
    if kept.row is None and not kept.is_done and is_new:
        return After((kept.run_id,), WAIT_S)
    return kept.row


def find_row(run: RunContext) -> None:
    """Reads a table's first row."""
    with run.read() as session:
        table = msgspec.convert(session.get_one(ExampleRow, key_of(run.payload)).table, Table)
    found = _find(run, table)
    with run.transaction() as session:
        kept = session.get_one(ExampleRow, key_of(run.payload))
        kept.row, kept.is_done = found.row, True
        run.complete(session)


def give_up_row(session: Session, payload: JsonObject, _reason: str) -> None:
    """There is none; examples are made up."""
    kept = session.get(ExampleRow, key_of(payload))
    if kept is not None:
        kept.is_done = True


KINDS = (RunKind(FIRST_ROW_RUN, find_row, give_up_row),)


def _begin(call: Call, table: Table) -> RunId:
    return questions.keep(
        call,
        ExampleRow(
            table_digest=table.digest,
            organization_id=call.organization_id,
            table=msgspec.to_builtins(table),
            row=None,
            is_done=False,
            run_id=questions.begin(call, FIRST_ROW_RUN, table, max_attempts=2),
            created_at=call.clock(),
        ),
    )


def _find(run: RunContext, table: Table) -> FirstRow:
    limits = Limits(
        cores=run.claim.cores,
        memory_gib=run.claim.memory_gib,
        timeout_s=60.0,
        processes=run.settings.guest_processes,
        scratch_gib=run.settings.scratch_gib,
    )
    base = run.parts.get(Environments).base()
    try:
        with base.hold(), contextlib.ExitStack() as stack:
            store = run.parts.get(BlobStore)
            opened = [stack.enter_context(store.open(part.digest)).fileno() for part in table.parts]
            outcome: Outcome[FirstRow] = run.parts.get(Sandbox).run(
                base.interpreter, limits, "first_row", {}, fds=opened, on_output=run.log, cancelled=run.cancelled,
                collect=lambda _, result: msgspec.convert(result, FirstRow), name="first row",
            )  # fmt: skip
    except (GuestNotStarted, msgspec.ValidationError) as error:
        raise Retry(f"the row could not be read: {error}") from error
    run.check_cancelled()
    if outcome.error is not None or outcome.collected is None:
        raise Permanent(outcome.error.sentence if outcome.error else "there was no answer")
    return outcome.collected
