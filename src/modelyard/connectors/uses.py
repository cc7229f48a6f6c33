"""What stands on a connector. The rooms above write it down here, since a lower room never asks an upper one."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.connectors.records import ConnectorUse
from modelyard.errors import ConflictError


def note_use(session: Session, connector_id: str, kind: str, user_id: str, name: str) -> None:
    """Writes down that something ("dataset", its id, its name) is read or written through the connector."""
    session.merge(ConnectorUse(kind=kind, user_id=user_id, connector_id=connector_id, name=name))


def forget_uses(session: Session, kind: str, user_id: str) -> None:
    """Strikes out what something used, because it was deleted or now uses another."""
    session.execute(delete(ConnectorUse).where(ConnectorUse.kind == kind, ConnectorUse.user_id == user_id))


def check_unused(session: Session, connector_id: str, what: str) -> None:
    """Raises ConflictError, naming them, while something stands on the connector."""
    query = select(ConnectorUse).where(ConnectorUse.connector_id == connector_id).order_by(ConnectorUse.name)
    users = [f"{use.kind} {use.name} ({use.user_id})" for use in session.scalars(query.limit(21))]
    if users:
        more = " and more" if len(users) > 20 else ""
        raise ConflictError(f"{what} is used by {', '.join(users[:20])}{more}; delete these first")
