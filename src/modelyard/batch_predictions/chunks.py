"""Chunks of a batch: which rows each holds, and their predictions as they are kept until the result is whole.

A chunk is a run of rows with a number. Its predictions are copied out of the guest into a file of its own, synced and
renamed to the number, so a name stands for a whole chunk or is absent, whatever was killed when: an agent that takes a
version over goes on with the chunks that are missing. What the files hold is never read here, only what the guest told
of it. They lie in a folder whose name says what was predicted with what; what lies in another is of no use.
"""

import hashlib
import math
import os
import re
import secrets
import shutil
import struct
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from modelyard.ids import BatchPredictionVersionId
from modelyard.settings import Settings

#: Rows of a chunk for `predict_many`, and for `predict`, which takes longer and shall be seen to go on.
_MANY_ROWS, _ONE_BY_ONE_ROWS = 65_536, 4_096
#: Chunks that a small table is cut into, so that several guests share it, unless they had fewer rows than these.
_MANY_PIECES, _ONE_BY_ONE_PIECES = (8, 16_384), (16, 256)
#: What the values of a chunk may count and take; wide tables go in smaller chunks.
_CELLS, _BYTES = 4_000_000, 64 * 1024**2
_HEADER = struct.Struct("!I")
_ALIGNED = 64
_NAME = re.compile(r"[0-9]{9}")


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
    #: Where the predictions begin in the file.
    offset: int
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


class KeptChunks:
    """The chunks of one version that are kept, in a folder of their own."""

    def __init__(self, settings: Settings, version: BatchPredictionVersionId, key: dict[str, object]) -> None:
        digest = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()
        of_version = folder_of(settings, version)
        self._folder = of_version / digest[:32]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in of_version.iterdir():  # of another table: the rows have changed since
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)

    def find(self, plan: Plan) -> dict[int, Kept]:
        """Those that are there already, by number."""
        chunks, found = plan.chunks, {}
        for entry in os.scandir(self._folder):
            path = Path(entry.path)
            if not _NAME.fullmatch(entry.name):
                path.unlink(missing_ok=True)  # begun by an agent that was lost
            elif int(entry.name) < len(chunks):
                found[int(entry.name)] = _read(chunks[int(entry.name)], path)
        return found

    def keep(self, chunk: Chunk, stream: IO[bytes], size: int, told: Told) -> Kept:
        """Copies the predictions to where they survive this process; `settle` makes sure of their names."""
        head = msgspec.json.encode(told)
        offset = -(-(_HEADER.size + len(head)) // _ALIGNED) * _ALIGNED
        temporary = self._folder / f".{secrets.token_hex(8)}"
        path = self._folder / f"{chunk.number:09}"
        try:
            with temporary.open("xb") as out:
                out.write((_HEADER.pack(offset) + head).ljust(offset))
                out.flush()
                _copy(stream.fileno(), out.fileno(), size)
                os.fsync(out.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return Kept(chunk, path, offset, told)

    def settle(self) -> None:
        """Makes the names of all that was kept durable."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def folder_of(settings: Settings, version: BatchPredictionVersionId) -> Path:
    """Where the version's chunks lie while it is not ended."""
    return settings.home / "results" / version


def forget(settings: Settings, version: BatchPredictionVersionId) -> None:
    """Removes the version's chunks."""
    shutil.rmtree(folder_of(settings, version), ignore_errors=True)


def sweep(settings: Settings, needed: Container[str]) -> None:
    """Removes the chunks of versions that are not needed any more: ended by somebody else, or deleted."""
    for version in left_behind(settings):
        if version not in needed:
            forget(settings, version)


def left_behind(settings: Settings) -> Iterator[BatchPredictionVersionId]:
    """Versions of which there are chunks."""
    folder = settings.home / "results"
    if folder.is_dir():
        yield from (BatchPredictionVersionId(each.name) for each in folder.iterdir() if each.is_dir())


def _read(chunk: Chunk, path: Path) -> Kept:
    with path.open("rb") as file:
        (offset,) = _HEADER.unpack(file.read(_HEADER.size))
        told = msgspec.json.decode(file.read(offset - _HEADER.size), type=Told)
    return Kept(chunk, path, offset, told)


def _copy(source: int, target: int, size: int) -> None:
    """The kernel copies, without the bytes' coming by here."""
    done = 0
    while done < size:
        copied = os.copy_file_range(source, target, size - done, done)
        if not copied:
            raise OSError("a guest's file ended early")
        done += copied
