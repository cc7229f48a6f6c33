"""Artifacts: plain pickles, whose large arrays are mapped by who loads them here."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from modelyard.sandbox.guest import artifacts
from tests.sandbox.conftest import Run

MANY = 30_000


def model() -> dict[str, Any]:
    """Every kind of large thing, and how it hangs together."""
    numbers, fixed = np.arange(MANY, dtype=float), np.arange(MANY)
    fixed.flags.writeable = False
    return {
        "numbers": numbers,
        "again": [numbers, numbers],
        "fixed": fixed,
        "columns": np.asfortranarray(np.arange(300.0 * 200).reshape(300, 200)),
        "parts": numbers[::2],
        "small": np.ones(3),
        "bytes": b"x" * 200_000,
        "bytearray": bytearray(b"y" * 200_000),
        "text": "ä" * 100_000,
        "frame": pd.DataFrame({"a": np.arange(MANY), "b": np.arange(MANY) / 2, "t": ["x"] * MANY}),
        "table": pa.table({"x": pa.array(range(MANY))}),
    }


def check(found: Any) -> None:
    """It is what `model` gives, in the types that the ordinary way gives."""
    wanted = model()
    assert found["again"][0] is found["numbers"]
    assert found["again"][1] is found["numbers"]
    for name in ("numbers", "fixed", "columns", "parts", "small"):
        np.testing.assert_array_equal(found[name], wanted[name])
    assert found["numbers"].flags.writeable
    assert not found["fixed"].flags.writeable
    assert found["columns"].flags.f_contiguous
    for name in ("bytes", "bytearray", "text"):
        assert type(found[name]) is type(wanted[name])
        assert found[name] == wanted[name]
    pd.testing.assert_frame_equal(found["frame"], wanted["frame"])
    assert found["table"].equals(wanted["table"])


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "artifact"
    artifacts.dump(model(), str(path), pickle.Pickler)
    return path


def load(path: Path) -> Any:
    with path.open("rb") as file:
        return artifacts.load(file)[0]


def test_an_artifact_is_a_pickle_that_anyone_reads(artifact: Path) -> None:
    check(pickle.loads(artifact.read_bytes()))


def test_large_arrays_lie_upon_the_file_at_even_places(artifact: Path) -> None:
    found = load(artifact)
    check(found)
    mapped = mappings(artifact)
    for name in ("numbers", "fixed", "columns"):
        at = found[name].ctypes.data
        assert any(start <= at < end for start, end in mapped), name
        assert at % 64 == 0
        assert found[name].flags.aligned


def test_what_is_written_into_an_array_stays_with_who_wrote_it(artifact: Path) -> None:
    before = artifact.read_bytes()
    first, second = load(artifact), load(artifact)
    first["numbers"][:] = -1.0
    assert second["numbers"][1] == 1.0
    assert artifact.read_bytes() == before


def test_the_same_object_gives_the_same_bytes(artifact: Path, tmp_path: Path) -> None:
    artifacts.dump(model(), str(tmp_path / "again"), pickle.Pickler)
    assert (tmp_path / "again").read_bytes() == artifact.read_bytes()


@pytest.mark.parametrize("size", range(64))
def test_every_distance_to_an_even_place_is_filled(tmp_path: Path, size: int) -> None:
    path = tmp_path / "artifact"
    artifacts.dump([b"x" * size, np.arange(MANY), {"after": "x" * size}], str(path), pickle.Pickler)
    for found in (load(path), pickle.loads(path.read_bytes())):
        assert (found[0], found[2]) == (b"x" * size, {"after": "x" * size})
        np.testing.assert_array_equal(found[1], np.arange(MANY))
    assert load(path)[1].ctypes.data % 64 == 0


def test_pickles_of_other_makers_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    for content in (pickle.dumps(1), pickle.dumps(model()), pickle.dumps(model(), protocol=2)):
        path.write_bytes(content)
        found = load(path)
        assert found == 1 or len(found["numbers"]) == MANY


@pytest.mark.parametrize("broken", ["count", "place", "order"])
def test_an_end_that_lies_is_not_believed(artifact: Path, broken: str) -> None:
    content = artifact.read_bytes()
    end = content[-artifacts._END.size :]
    count, magic = artifacts._END.unpack(end)
    places = content[-len(end) - count * artifacts._PLACE.size : -len(end)]
    told = {
        "count": (places, 2**40),
        "place": (places[: -artifacts._PLACE.size] + artifacts._PLACE.pack(9, 18, len(content), False), count),
        "order": (places[artifacts._PLACE.size :] + places[: artifacts._PLACE.size], count),
    }
    content = content[: -len(end) - len(places)] + told[broken][0] + artifacts._END.pack(told[broken][1], magic)
    artifact.write_bytes(content)
    check(load(artifact))


def test_a_pickle_that_is_cut_off_is_an_error(artifact: Path) -> None:
    artifact.write_bytes(artifact.read_bytes()[:100_000])
    with pytest.raises((EOFError, pickle.UnpicklingError)):
        load(artifact)


@pytest.mark.sandbox
def test_a_training_leaves_such_an_artifact(train: Run, tmp_path: Path) -> None:
    source = "import numpy\n\ndef train():\n    return {'weights': numpy.arange(100_000.0), 'f': lambda x: x}\n"
    outcome = train(source)
    assert outcome.error is None, outcome.error
    path = tmp_path / "artifact"
    path.write_bytes(outcome.collected or b"")
    with path.open("rb") as file:
        places = artifacts._read_places(file, os.fstat(file.fileno()).st_size)
    assert [place.end - place.start for place in places] == [800_000]


def mappings(path: Path) -> list[tuple[int, int]]:
    """Where the file is mapped in this process."""
    lines = [line for line in io.StringIO(Path("/proc/self/maps").read_text()) if line.rstrip().endswith(str(path))]
    ends = [line.split()[0].split("-") for line in lines]
    return [(int(start, 16), int(end, 16)) for start, end in ends]
