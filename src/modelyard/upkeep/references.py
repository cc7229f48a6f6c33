"""Which blobs are named anywhere in the database: every digest in every text of every table.

No room is asked what it keeps, since one that forgot to answer would lose its blobs. Whatever looks like a digest
counts, so that a text which only happens to hold one keeps a blob too long, and nothing is ever removed too early.
"""

import re
from collections.abc import Iterator

from sqlalchemy import JSON, Column, String, Table, Text, cast, func, select
from sqlalchemy.orm import Session

from modelyard.database import Record

#: Tables whose texts are users' words and rows: large, and named blobs are no part of them.
WITHOUT_DIGESTS = frozenset({"model_texts", "online_rows", "run_logs", "source_texts"})
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ROWS_AT_ONCE = 5_000


def find_referenced(session: Session) -> set[bytes]:
    """The digests that are named, as 32 bytes each. The session must be of one moment (`at_one_moment`)."""
    named: set[bytes] = set()
    for text in _texts(session):
        named.update(bytes.fromhex(found) for found in _DIGEST.findall(text))
    return named


def _texts(session: Session) -> Iterator[str]:
    for table in Record.metadata.sorted_tables:
        if table.name not in WITHOUT_DIGESTS:
            for column in _readable(table):
                text = cast(column, Text)
                long_enough = select(text).where(func.length(text) >= 64)
                yield from session.scalars(long_enough.execution_options(yield_per=_ROWS_AT_ONCE))


def _readable(table: Table) -> list[Column[object]]:
    """The columns that hold text, be it in JSON."""
    return [column for column in table.columns if isinstance(column.type, String | JSON)]
