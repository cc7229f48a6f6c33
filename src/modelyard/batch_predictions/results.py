"""A result on its way into the blob store, block by block. What the guest says of it is checked, never decoded.

A JSON result is its lines, one after the other. A CSV result has the names of its columns above its lines; where rows
far down bring columns that those before them did not have, the lines above get empty cells at the end. So its lines
wait in a file without a name until all are there.
"""

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from modelyard.storage import Blob, BlobStore
from modelyard.storage.blobs import CHUNK


class ResultTooLarge(Exception):
    """The result has more bytes than it may have; the message is for the user."""


class ResultWriter(Protocol):
    """Collects one result. Leaving its `with` block before `finish` discards it."""

    def __enter__(self) -> "ResultWriter": ...

    def __exit__(self, *_: object) -> None: ...

    def add(self, stream: IO[bytes], size: int, columns: list[str] | None, widths: Sequence[tuple[int, int]]) -> None:
        """Adds a block: `size` bytes of `stream`; for CSV under those names, with so many cells from those bytes on."""

    def finish(self) -> Blob:
        """Puts the result into the store."""


class JsonResult:
    """Lines that are the result as they come."""

    def __init__(self, store: BlobStore, limit: int) -> None:
        self._lines, self._limit = store.writer(), limit

    def __enter__(self) -> "JsonResult":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.__exit__()

    def add(self, stream: IO[bytes], size: int, columns: list[str] | None, widths: Sequence[tuple[int, int]]) -> None:
        del columns, widths
        _check_size(self._lines.size + size, self._limit)
        for chunk in _chunks(stream, size):
            self._lines.write(chunk)

    def finish(self) -> Blob:
        return self._lines.finish()


class CsvResult:
    """Lines that wait for their header."""

    def __init__(self, store: BlobStore, limit: int, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._store, self._limit = store, limit
        self._lines: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        self._size = 0
        self._columns: list[str] = []
        #: From which byte on lines have how many cells.
        self._widths: list[tuple[int, int]] = []

    def __enter__(self) -> "CsvResult":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def add(self, stream: IO[bytes], size: int, columns: list[str] | None, widths: Sequence[tuple[int, int]]) -> None:
        _check_size(self._size + size, self._limit)
        self._columns = columns or self._columns
        for offset, width in widths:
            if not self._widths or self._widths[-1][1] != width:
                self._widths.append((self._size + offset, width))
        for chunk in _chunks(stream, size):
            self._lines.write(chunk)
            self._size += len(chunk)

    def finish(self) -> Blob:
        self._lines.seek(0)
        return self._store.put_chunks(self._whole())

    def _whole(self) -> Iterator[bytes]:
        yield _header(self._columns)
        if len(self._widths) < 2:
            yield from _chunks(self._lines, self._size)
            return
        position, later, missing = 0, self._widths[:], 0
        for record in _records(self._lines):
            while later and position >= later[0][0]:
                missing = len(self._columns) - later.pop(0)[1]
            position += len(record)
            yield record.removesuffix(b"\n") + b"," * missing + b"\n"


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ResultTooLarge(
            f"The result has more than {limit:,} bytes. Name fewer columns in resultInputColumns, or return less."
        )


def _chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """So many bytes of the stream, or as many as it has."""
    while size > 0 and (chunk := stream.read(min(size, CHUNK))):
        yield chunk
        size -= len(chunk)


def _header(names: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue().encode(errors="backslashreplace")


def _records(source: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a CSV file: lines, joined where a line break stands between quotes."""
    record: list[bytes] = []
    quotes = 0
    for line in source:
        record.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            yield b"".join(record)
            record, quotes = [], 0
    if record:
        yield b"".join(record)
