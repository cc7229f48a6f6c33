"""Tells the gateways what changed: which deployments (and their replicas), which tokens.

Called by whoever changes one of them, in the same transaction. The number is raised, and what changed is written down
under it, as the transaction's last step, so that concurrent transactions queue for its row only while they commit, and
can't lock each other out. A gateway that knows the number before reads what was written down since, and nothing else.
"""

from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.orm import Session

from modelyard.database import announce
from modelyard.deployments.records import RoutingChange, RoutingRevision
from modelyard.ids import DeploymentId

#: What the gateway that makes a change itself subscribes to, so that its next call sees it.
TOPIC = "routing"
#: Numbers whose changes are kept; a gateway that is further behind reads everything.
KEPT = 1_000
#: After so many numbers older changes are removed.
PRUNE_EVERY = 100
#: Changes at once past which everything is read.
MOST = 5_000


class What(StrEnum):
    """What has changed, or come, or gone."""

    #: A deployment, a replica of it, or a version beside the one that answers.
    DEPLOYMENT = "DEPLOYMENT"
    #: A deployment token.
    TOKEN = "TOKEN"  # noqa: S105 - a word, no secret


class Changes(NamedTuple):
    """Everything that changed from one number to another."""

    deployments: frozenset[str]
    tokens: frozenset[str]


def note_change(session: Session, deployment_id: DeploymentId) -> None:
    """Has the gateways look at that deployment again once this session's transaction has been committed."""
    _note(session, What.DEPLOYMENT, deployment_id)


def note_token_change(session: Session, deployment_token: str) -> None:
    """The same of a token."""
    _note(session, What.TOKEN, deployment_token)


def read_revision(session: Session) -> int:
    """The number as it stands; 0 before the first change."""
    return session.scalar(select(RoutingRevision.revision)) or 0


def read_changes(session: Session, known: int, revision: int) -> Changes | None:
    """What changed after `known` and up to `revision`; None where that is no longer written down, never was, or is
    too much.
    """
    if not 0 <= revision - known <= KEPT:
        return None
    columns = (RoutingChange.revision, RoutingChange.what, RoutingChange.changed)
    rows = session.execute(
        select(*columns).where(RoutingChange.revision > known, RoutingChange.revision <= revision)
    ).all()
    if len(rows) > MOST or len({row.revision for row in rows}) < revision - known:
        return None
    kinds = {what: frozenset(row.changed for row in rows if row.what == what) for what in What}
    return Changes(kinds[What.DEPLOYMENT], kinds[What.TOKEN])


def _note(session: Session, what: What, changed: str) -> None:
    noted: set[tuple[What, str]] = session.info.setdefault("routing", set())
    if not noted:
        announce(session, TOPIC)
        event.listen(session, "before_commit", _raise_revision, once=True)
    noted.add((what, changed))


def _raise_revision(session: Session) -> None:
    noted: set[tuple[What, str]] = session.info.pop("routing")
    session.flush()
    raise_it = update(RoutingRevision).values(revision=RoutingRevision.revision + 1)
    revision = session.execute(raise_it.returning(RoutingRevision.revision)).scalar_one_or_none()
    if revision is None:
        revision = 1
        session.execute(insert(RoutingRevision).values(one=1, revision=revision))
    rows = [{"revision": revision, "what": what, "changed": changed} for what, changed in sorted(noted)]
    session.execute(insert(RoutingChange), rows)
    if revision % PRUNE_EVERY == 0:
        session.execute(delete(RoutingChange).where(RoutingChange.revision <= revision - KEPT))
