"""What a killed process left half-written is gone once another begins, and what a living one writes stays."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from modelyard.storage import BlobStore
from modelyard.storage.own_folder import OwnFolder

WRITER = """
import sys
from pathlib import Path
from modelyard.storage import BlobStore

def chunks():
    yield b"half"
    print("begun", flush=True)
    sys.stdin.read()

BlobStore(Path(sys.argv[1])).put_chunks(chunks())
"""


def writing(root: Path) -> "subprocess.Popen[str]":
    """A process in the middle of a blob."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def files(root: Path) -> list[Path]:
    """All but the file by whose lock the store keeps removing apart from storing."""
    return [path for path in root.rglob("*") if path.is_file() and path.name != "guard"]


def test_a_blob_that_a_killed_process_began_is_gone(tmp_path: Path) -> None:
    with writing(tmp_path) as killed, writing(tmp_path) as living:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(files(tmp_path)) == 2
        store = BlobStore(tmp_path)
        assert len(files(tmp_path)) == 1
        living.communicate("", timeout=30)
        assert living.returncode == 0
    (blob,) = files(tmp_path)
    assert store.read(blob.name) == b"half"  # type: ignore[arg-type]  # a digest


def test_files_from_before_folders_were_kept_are_removed(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"x")
    OwnFolder(tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("times", [1_000_000, 3_000_000])
def test_an_adopted_file_is_looked_at_once_and_named_by_what_it_holds(tmp_path: Path, times: int) -> None:
    store, given, seen = BlobStore(tmp_path / "blobs"), tmp_path / "given", list[bytes]()
    given.write_bytes(b"rows" * times)
    blob = store.adopt(lambda target: given.rename(target).open("rb"), seen.append)
    assert (b"".join(seen), blob.size) == (b"rows" * times, 4 * times)
    assert store.put_bytes(b"rows" * times) == blob
    assert not given.exists()


@pytest.mark.parametrize("times", [1_000_000, 3_000_000])
def test_an_adopted_file_that_can_not_be_synced_is_not_kept(
    tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, given = BlobStore(tmp_path / "blobs"), tmp_path / "given"
    given.write_bytes(b"rows" * times)

    def full(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        store.adopt(lambda target: given.rename(target).open("rb"))
    assert files(tmp_path / "blobs") == []


def test_a_file_that_could_not_be_brought_leaves_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)

    def bring(target: Path) -> object:
        target.write_bytes(b"half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        store.adopt(bring)  # type: ignore[arg-type]  # it never returns
    assert files(tmp_path) == []
