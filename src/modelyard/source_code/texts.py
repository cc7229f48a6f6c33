"""Sources kept under the digest of their bytes: written once, shared by all that hold the same text, never removed."""

import hashlib
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from modelyard.ids import Digest
from modelyard.source_code.records import SourceText

_KEEP = {
    "postgresql": postgresql.insert(SourceText.__table__).on_conflict_do_nothing(),  # type: ignore[arg-type]
    "sqlite": sqlite.insert(SourceText.__table__).on_conflict_do_nothing(),  # type: ignore[arg-type]
}


def digest_of(text: str) -> Digest:
    """sha256 of the text's UTF-8 bytes."""
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def put_text(session: Session, text: str) -> Digest:
    """Keeps a text under its digest, which it gives; keeping it again changes nothing."""
    digest = digest_of(text)
    session.connection().execute(_KEEP[session.get_bind().dialect.name], {"digest": digest, "content": text.encode()})
    return digest


def read_texts(session: Session, digests: Iterable[Digest]) -> dict[Digest, str]:
    """The texts of those digests, in one query."""
    wanted = list(dict.fromkeys(digests))
    if not wanted:
        return {}
    query = select(SourceText.digest, SourceText.content).where(SourceText.digest.in_(wanted))
    return {digest: content.decode() for digest, content in session.execute(query)}
