"""Chunks as they are kept: which of them are there for the next attempt, whatever an agent was killed in."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from modelyard.batch_predictions.chunks import Kept, KeptChunks, Plan, Told, folder_of
from modelyard.ids import BatchPredictionVersionId
from modelyard.settings import Settings

VERSION = BatchPredictionVersionId("v")
PLAN = Plan(1000, 100)
TOLD = Told(100, 0, None, [], "")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def opened(settings: Settings, attempt: int, key: str = "same") -> KeptChunks:
    return KeptChunks(settings, VERSION, {"key": key}, attempt)


@pytest.fixture
def stream() -> Iterator[IO[bytes]]:
    """A guest's file."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(range(256)) * 4)
        file.flush()
        yield file


def keep(kept: KeptChunks, stream: IO[bytes], *numbers: int) -> None:
    for number in numbers:
        kept.keep(PLAN.chunks[number], stream, (number, 10 + number), TOLD)


def content(kept: Kept) -> bytes:
    with kept.path.open("rb") as file:
        file.seek(kept.offset)
        return file.read(kept.size)


def as_it_was(found: dict[int, Kept]) -> bool:
    """Whether each has the bytes that it was kept with."""
    return all(content(each) == bytes(range(number, 10 + 2 * number)) for number, each in found.items())


def test_what_was_made_durable_is_found_and_nothing_else(settings: Settings, stream: IO[bytes]) -> None:
    kept = opened(settings, 1)
    keep(kept, stream, 3, 1)
    assert kept.settle()
    assert not kept.settle()  # there is nothing new
    keep(kept, stream, 2)
    kept.close()
    found = opened(settings, 2).find(PLAN)
    assert set(found) == {1, 3}
    assert as_it_was(found)
    assert found[3].chunk == PLAN.chunks[3]


def test_wherever_a_journal_breaks_off_the_chunks_of_its_whole_lines_are_found(
    settings: Settings, stream: IO[bytes]
) -> None:
    kept = opened(settings, 1)
    keep(kept, stream, 0, 1, 2)
    kept.settle()
    kept.close()
    [journal] = settings.home.glob("results/v/*/*.journal")
    whole = journal.read_bytes()
    for size in range(len(whole) + 1):
        journal.write_bytes(whole[:size])
        assert set(opened(settings, 2).find(PLAN)) == set(range(whole[:size].count(b"\n"))), size


def test_each_attempt_adds_to_what_those_before_it_kept(settings: Settings, stream: IO[bytes]) -> None:
    for attempt in range(3):
        kept = opened(settings, attempt)
        assert set(kept.find(PLAN)) == set(range(attempt))
        keep(kept, stream, attempt)
        kept.settle()
        kept.close()
    found = opened(settings, 3).find(PLAN)
    assert set(found) == {0, 1, 2}
    assert as_it_was(found)
    assert len({each.path for each in found.values()}) == 3


def test_what_follows_from_something_else_is_of_no_use_and_goes(settings: Settings, stream: IO[bytes]) -> None:
    kept = opened(settings, 1)
    keep(kept, stream, 0)
    kept.settle()
    kept.close()
    assert opened(settings, 2, "other").find(PLAN) == {}
    assert opened(settings, 3).find(PLAN) == {}
    assert [each.is_file() for each in folder_of(settings, VERSION).rglob("*.data")] == []


def test_many_bytes_are_as_they_were_after_the_disk_was_told_to_begin(settings: Settings) -> None:
    kept = opened(settings, 1)
    with tempfile.TemporaryFile() as file:
        values = os.urandom(3 * 1024**2 + 7)
        file.write(values)
        file.flush()
        for number in range(4):
            kept.keep(PLAN.chunks[number], file, (0, len(values)), TOLD)
        assert kept.settle()
    kept.close()
    found = opened(settings, 2).find(PLAN)
    assert [content(found[number]) == values for number in range(4)] == [True] * 4


def test_a_guest_that_cuts_its_file_short_has_nothing_kept(settings: Settings) -> None:
    kept = opened(settings, 1)
    with tempfile.TemporaryFile() as file:
        file.write(b"short")
        file.flush()
        with pytest.raises(OSError, match="ended early"):
            kept.keep(PLAN.chunks[0], file, (0, 100), TOLD)
    assert not kept.settle()
    kept.close()
    assert opened(settings, 2).find(PLAN) == {}
