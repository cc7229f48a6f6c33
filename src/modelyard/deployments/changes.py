"""Tells the gateways that something changed: deployments, tokens or replicas.

Called by whoever changes one of them, in the same transaction. The number is raised as the transaction's last step, so
that concurrent transactions queue for its row only while they commit, and can't lock each other out.
"""

from sqlalchemy import event, insert, select, update
from sqlalchemy.orm import Session

from modelyard.database import announce
from modelyard.deployments.records import RoutingRevision

#: What the gateway that makes a change itself subscribes to, so that its next call sees it.
TOPIC = "routing"


def note_change(session: Session) -> None:
    """Has the gateways look again once this session's transaction has been committed."""
    if "routing" not in session.info:
        session.info["routing"] = True
        announce(session, TOPIC)
        event.listen(session, "before_commit", _raise_revision, once=True)


def read_revision(session: Session) -> int:
    """The number as it stands; 0 before the first change."""
    return session.scalar(select(RoutingRevision.revision)) or 0


def _raise_revision(session: Session) -> None:
    session.info.pop("routing", None)
    session.flush()
    raised = session.execute(update(RoutingRevision).values(revision=RoutingRevision.revision + 1))
    if raised.rowcount == 0:  # type: ignore[attr-defined]
        session.execute(insert(RoutingRevision).values(one=1, revision=1))
