"""Which blobs are named anywhere in the database: every digest in every text of every table.

No room is asked what it keeps, since one that forgot to answer would lose its blobs. Whatever looks like a digest
counts, so that a text which only happens to hold one keeps a blob too long, and nothing is ever removed too early.
"""

import re
from collections.abc import Iterator

from sqlalchemy import JSON, Column, String, Table, Text, case, cast, func, or_, select
from sqlalchemy.orm import Session

from modelyard.database import Record

#: Tables whose texts are users' words and rows: large, and named blobs are no part of them.
WITHOUT_DIGESTS = frozenset({"model_texts", "online_rows", "run_logs", "source_texts"})
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ROWS_AT_ONCE = 5_000
#: Texts that were looked at lately and are not looked at again, and the longest of them.
_SEEN, _SHORT = 10_000, 256


def find_referenced(session: Session) -> set[bytes]:
    """The digests that are named, as 32 bytes each. The session must be of one moment (`at_one_moment`)."""
    named: set[bytes] = set()
    seen: set[str] = set()
    for text in _texts(session):
        if text not in seen:  # fingerprints, sources and locks come again and again
            named.update(bytes.fromhex(found) for found in _DIGEST.findall(text))
            if len(seen) >= _SEEN:
                seen.clear()
            if len(text) <= _SHORT:
                seen.add(text)
    return named


def _texts(session: Session) -> Iterator[str]:
    """Every text that is long enough to hold a digest; each table is passed through once."""
    for table in Record.metadata.sorted_tables:
        texts = [cast(column, Text) for column in _readable(table)]
        if table.name not in WITHOUT_DIGESTS and texts:
            long_enough = [func.length(text) >= 64 for text in texts]
            wanted = [case((is_long, text)) for is_long, text in zip(long_enough, texts, strict=True)]
            rows = select(*wanted).where(or_(*long_enough)).execution_options(yield_per=_ROWS_AT_ONCE)
            for row in session.execute(rows):
                yield from filter(None, row)


def _readable(table: Table) -> list[Column[object]]:
    """The columns that hold text, be it in JSON."""
    return [column for column in table.columns if isinstance(column.type, String | JSON)]
