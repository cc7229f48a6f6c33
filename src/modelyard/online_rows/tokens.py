"""Streaming tokens: who holds one may write rows of its organisation, and do nothing else."""

import secrets
import threading
import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.database import Database
from modelyard.errors import DataNotFoundError
from modelyard.ids import OrganizationId
from modelyard.online_rows.records import StreamingToken

#: Seconds that a token is trusted without looking again: so long a revoked one may still work.
TRUST_S = 1.0
#: Tokens that are remembered at most.
MOST_TOKENS = 10_000


def create_token(session: Session, clock: Clock, organization_id: OrganizationId) -> StreamingToken:
    """A new token of the organisation: 32 hexadecimal digits from the system's random source."""
    token = StreamingToken(streaming_token=secrets.token_hex(16), organization_id=organization_id, created_at=clock())
    session.add(token)
    return token


def list_tokens(session: Session, organization_id: OrganizationId) -> list[StreamingToken]:
    """The organisation's tokens, oldest first."""
    mine = select(StreamingToken).where(StreamingToken.organization_id == organization_id)
    return list(session.scalars(mine.order_by(StreamingToken.created_at, StreamingToken.streaming_token)))


def delete_token(session: Session, organization_id: OrganizationId, streaming_token: str) -> None:
    """Revokes the token; within a second no gateway takes it any more. The message never repeats a token."""
    token = session.get(StreamingToken, streaming_token)
    if token is None or token.organization_id != organization_id:
        raise DataNotFoundError("The streaming token was not found")
    session.delete(token)


class StreamingTokens:
    """Whom tokens stand for, remembered for a second; a part of the house. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checked: dict[str, tuple[float, OrganizationId | None]] = {}
        self._lock = threading.Lock()

    def organization_of(self, streaming_token: str) -> OrganizationId | None:
        """The organisation that the token opens; None for an unknown or revoked token."""
        checked = self._checked.get(streaming_token)
        if checked is not None and checked[0] > time.monotonic():
            return checked[1]
        until = time.monotonic() + TRUST_S
        with self._database.read() as session:
            token = session.get(StreamingToken, streaming_token)
        organization_id = None if token is None else token.organization_id
        with self._lock:
            if len(self._checked) > MOST_TOKENS:
                self._checked.clear()
            self._checked[streaming_token] = (until, organization_id)
        return organization_id
