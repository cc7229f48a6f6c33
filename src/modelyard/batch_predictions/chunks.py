"""Chunks of a batch: which rows each holds, and their predictions as they are kept until the result is whole.

A chunk is a run of rows with a number. Its predictions are copied out of the guest to the end of a file, and once they
are on the disk, a line of a journal says so: a chunk that has a line is whole, whatever was killed when, and an agent
that takes a version over goes on with the chunks that have none. What predictions look like is no business of ours. The
files lie in a folder whose name says what was predicted with what; what lies in another is of no use.
"""

import contextlib
import hashlib
import math
import os
import shutil
import time
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import msgspec

from modelyard.ids import BatchPredictionVersionId
from modelyard.settings import Settings

#: Rows of a chunk for `predict_many`, and for `predict`, which takes longer and shall be seen to go on.
_MANY_ROWS, _ONE_BY_ONE_ROWS = 65_536, 4_096
#: Chunks that a small table is cut into, so that several guests share it, unless they had fewer rows than these.
_MANY_PIECES, _ONE_BY_ONE_PIECES = (8, 16_384), (16, 256)
#: What the values of a chunk may count and take; wide tables go in smaller chunks.
_CELLS, _BYTES = 4_000_000, 64 * 1024**2
#: Seconds after which what was kept is made durable; each time costs two waits for the disk.
_SETTLE_S = 0.25
#: Bytes after which the disk begins to write, so that little is left to wait for.
_BEGIN_BYTES = 4 * 1024**2
#: Predictions begin at multiples of this, as whoever maps them likes it.
_ALIGNED = 64


class Failure(msgspec.Struct, frozen=True):
    """A row that failed, counted from 0, with what was raised."""

    row: int
    type: str
    value: str
    traceback: str


class Told(msgspec.Struct, frozen=True):
    """What a guest tells of a chunk that it predicted."""

    rows: int
    failed: int
    first_failure: Failure | None
    #: Paths of the fields of predictions that are objects.
    fields: list[list[str]]
    #: Arrow's word for the type of the predictions; empty where they have none in common.
    schema: str


class Chunk(NamedTuple):
    """Some rows of the table."""

    number: int
    start: int
    rows: int


class Kept(NamedTuple):
    """A chunk whose predictions are kept."""

    chunk: Chunk
    path: Path
    #: Where the predictions lie in the file.
    offset: int
    size: int
    told: Told


class Plan(NamedTuple):
    """How a table is cut into chunks; the same table is always cut alike."""

    rows: int
    step: int

    @classmethod
    def of(cls, rows: int, columns: int, size: int, *, many: bool) -> "Plan":
        """For so many rows and columns, of `size` bytes in memory, and a function that gets many rows or one."""
        pieces, least = _MANY_PIECES if many else _ONE_BY_ONE_PIECES
        step = min(max(math.ceil(rows / pieces), least), _MANY_ROWS if many else _ONE_BY_ONE_ROWS)
        by_bytes = _BYTES * rows // max(size, 1) if rows else step
        return cls(rows, max(1, min(step, _CELLS // max(columns, 1), by_bytes)))

    @property
    def chunks(self) -> list[Chunk]:
        """All of them, in order; none of a table without rows."""
        return [
            Chunk(number, start, min(self.step, self.rows - start))
            for number, start in enumerate(range(0, self.rows, self.step))
        ]


class _Line(msgspec.Struct, frozen=True):
    """A line of a journal: a chunk that is safe."""

    number: int
    offset: int
    size: int
    told: Told


class KeptChunks:
    """The chunks of one version that are kept. Each attempt at it writes files of its own and reads the others'."""

    def __init__(
        self, settings: Settings, version: BatchPredictionVersionId, key: dict[str, object], attempt: int
    ) -> None:
        digest = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()
        of_version = folder_of(settings, version)
        self._folder = of_version / digest[:32]
        for folder in (of_version.parent, of_version, self._folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        for other in of_version.iterdir():  # of another table: the rows have changed since
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        self._path, self._journal_path = self._folder / f"{attempt}.data", self._folder / f"{attempt}.journal"
        self._data: BinaryIO | None = None
        self._journal: BinaryIO | None = None
        self._size = self._begun = 0
        self._lines: list[bytes] = []
        self._since = time.monotonic()

    def find(self, plan: Plan) -> dict[int, Kept]:
        """Those that are there already, by number."""
        chunks, found = plan.chunks, {}
        for journal in sorted(self._folder.glob("*.journal")):
            path = journal.with_suffix(".data")
            for said in _lines(journal):
                found[said.number] = Kept(chunks[said.number], path, said.offset, said.size, said.told)
        return found

    def keep(self, chunk: Chunk, stream: IO[bytes], place: tuple[int, int], told: Told) -> Kept:
        """Copies the predictions, so many bytes from one on, to our file; they are safe after the next `settle`."""
        _, size = place
        data, kept = self._opened(), Kept(chunk, self._path, self._size, size, told)
        _copy(stream.fileno(), data.fileno(), place, self._size)
        self._size += -(-size // _ALIGNED) * _ALIGNED
        if self._size - self._begun >= _BEGIN_BYTES:
            # Linux has the disk write such pages, waits for nothing, and keeps those that are not written yet.
            os.posix_fadvise(data.fileno(), self._begun, self._size - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self._size
        self._lines.append(msgspec.json.encode(_Line(chunk.number, kept.offset, size, told)) + b"\n")
        return kept

    @property
    def is_due(self) -> bool:
        """Whether it is time to `settle`."""
        return bool(self._lines) and time.monotonic() - self._since >= _SETTLE_S

    def settle(self) -> bool:
        """Makes durable what was kept: first the predictions, then the lines that say so. False: there was nothing."""
        self._since = time.monotonic()
        if self._data is None or self._journal is None or not self._lines:
            return False
        os.fdatasync(self._data.fileno())
        self._journal.write(b"".join(self._lines))
        self._journal.flush()
        os.fdatasync(self._journal.fileno())
        self._lines.clear()
        return True

    def close(self) -> None:
        """Closes the files; what was not settled is lost."""
        for file in (self._data, self._journal):
            if file is not None:
                file.close()

    def _opened(self) -> BinaryIO:
        if self._data is None:
            self._data, self._journal = self._path.open("xb"), self._journal_path.open("xb")
            for folder in (self._folder, self._folder.parent, self._folder.parent.parent):
                _sync_folder(folder)
        return self._data


def folder_of(settings: Settings, version: BatchPredictionVersionId) -> Path:
    """Where the version's chunks lie while it is not ended."""
    return settings.home / "results" / version


def sweep(settings: Settings, there: Iterable[BatchPredictionVersionId], needed: Container[str]) -> None:
    """Removes the chunks of those versions that are there and not needed any more."""
    for version in there:
        if version not in needed:
            shutil.rmtree(folder_of(settings, version), ignore_errors=True)


def left_behind(settings: Settings) -> Iterator[BatchPredictionVersionId]:
    """Versions of which there are chunks."""
    folder = settings.home / "results"
    if folder.is_dir():
        yield from (BatchPredictionVersionId(each.name) for each in folder.iterdir() if each.is_dir())


def _lines(journal: Path) -> Iterator[_Line]:
    """The lines of a journal, up to one whose writer was killed."""
    with contextlib.suppress(msgspec.DecodeError):
        for line in journal.read_bytes().split(b"\n")[:-1]:
            yield msgspec.json.decode(line, type=_Line)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: int, target: int, place: tuple[int, int], to: int) -> None:
    """The kernel copies, without the bytes' coming by here."""
    offset, size = place
    done = 0
    while done < size:
        copied = os.copy_file_range(source, target, size - done, offset + done, to + done)
        if not copied:
            raise OSError("a guest's file ended early")
        done += copied
