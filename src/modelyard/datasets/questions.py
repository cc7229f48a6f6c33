"""Questions about a table that a guest answers once: asked when somebody first wants to know, kept with the table.

`metrics.py` asks what is in the columns; other rooms have questions of their own. Versions with the same rows share the
answer, within one organisation. Each question has a table of records, by `key_of`, and a kind of run.
"""

from typing import Protocol

from sqlalchemy.exc import IntegrityError

from modelyard.actions import Call
from modelyard.database import JsonObject
from modelyard.execution import Demand, enqueue
from modelyard.ids import Digest, OrganizationId, RunId
from modelyard.storage import Table

_DEMAND = Demand(cores=1, memory_gib=2)
#: Somebody waits for the answer.
_PRIORITY = 5


class Question(Protocol):
    """What the records of all questions have in common."""

    table_digest: Digest
    organization_id: OrganizationId
    run_id: RunId


def begin(call: Call, kind: str, table: Table, max_attempts: int | None = None) -> RunId:
    """Enqueues the run that finds the answer."""
    payload = {"table": table.digest, "organization": call.organization_id}
    return enqueue(
        call.session, kind, payload, target=table.digest, organization_id=call.organization_id, demand=_DEMAND,
        priority=_PRIORITY, max_attempts=max_attempts,
    )  # fmt: skip


def keep(call: Call, question: Question) -> RunId:
    """Keeps a new question and gives its run: that of another call where one asked at the same moment."""
    kind, key, run_id = type(question), (question.table_digest, question.organization_id), question.run_id
    call.session.add(question)
    try:
        call.session.flush()
    except IntegrityError:
        call.session.rollback()
        return call.session.get_one(kind, key).run_id
    return run_id


def key_of(payload: JsonObject) -> tuple[Digest, OrganizationId]:
    """The key of the record that a run answers."""
    return Digest(payload["table"]), OrganizationId(payload["organization"])
