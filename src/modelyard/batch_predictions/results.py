"""A result on its way into the blob store, block by block. What the guest says of it is checked, never decoded.

A JSON result is its lines, one after the other. A CSV result has the names of its columns above its lines; where rows
far down bring columns that those before them did not have, the lines above get empty cells at the end.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import IO

from modelyard.storage import Blob, BlobStore
from modelyard.storage.blobs import CHUNK, BlobWriter


class ResultTooLarge(Exception):
    """The result has more bytes than it may have; the message is for the user."""


class ResultWriter:
    """Collects one result. Leaving its `with` block before `finish` discards it."""

    def __init__(self, store: BlobStore, *, limit: int) -> None:
        self._store, self._limit = store, limit
        self._lines: BlobWriter = store.writer()
        #: Names of the columns when each of the blocks was written that brought some, and where in the lines it began.
        self._headers: list[tuple[int, list[str]]] = []

    def __enter__(self) -> "ResultWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.__exit__()

    def add(self, stream: IO[bytes], size: int, columns: list[str] | None) -> None:
        """Adds the lines of a block: `size` bytes of `stream`, under those names."""
        if columns is not None and (not self._headers or self._headers[-1][1] != columns):
            if not self._headers:
                self._lines.write(_line(columns))
            self._headers.append((self._lines.size, columns))
        if self._lines.size + size > self._limit:
            raise ResultTooLarge(
                f"The result has more than {self._limit:,} bytes. "
                "Name fewer columns in resultInputColumns, or return less."
            )
        while size > 0 and (chunk := stream.read(min(size, CHUNK))):
            self._lines.write(chunk)
            size -= len(chunk)

    def finish(self) -> Blob:
        """Puts the result into the store."""
        blob = self._lines.finish()
        if len(self._headers) < 2:
            return blob
        whole = self._store.put_chunks(self._evened(blob))
        if whole.digest != blob.digest:
            self._store.delete(blob.digest)
        return whole

    def _evened(self, blob: Blob) -> Iterator[bytes]:
        """The lines under all names, those that lack the later ones with empty cells in their place."""
        names = self._headers[-1][1]
        starts = [start for start, _ in self._headers[1:]]
        missing = [len(names) - len(columns) for _, columns in self._headers]
        yield _line(names)
        with self._store.open(blob.digest) as source:
            source.seek(self._headers[0][0])
            position, block = self._headers[0][0], 0
            for record in _records(source):
                while block < len(starts) and position >= starts[block]:
                    block += 1
                position += len(record)
                yield record[:-1] + b"," * missing[block] + b"\n"


def _line(names: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue().encode(errors="backslashreplace")


def _records(source: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a CSV file: lines, joined where a line break stands between quotes."""
    record, quotes = b"", 0
    for line in source:
        record += line
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            yield record
            record, quotes = b"", 0
    if record:
        yield record
