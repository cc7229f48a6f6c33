"""What guests leave behind: listed, packed and removed without following anything that they planted."""

import io
import os
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from modelyard.sandbox import bubblewrap, scratch
from modelyard.sandbox.processes import descendants
from modelyard.sandbox.scratch import ScratchFile, ScratchRefused, ScratchRoot
from tests.waiting import wait_until


def test_packing_gives_the_same_bytes_for_the_same_files(tmp_path: Path) -> None:
    packed = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "b.txt").write_text("b")
        (folder / "a.sh").write_text("a")
        (folder / "a.sh").chmod(0o755)
        (folder / scratch.PRIVATE).mkdir()
        (folder / scratch.PRIVATE / "artifact.pkl").write_text("ours")
        (folder / "link").symlink_to("/etc/passwd")
        target = io.BytesIO()
        listed = scratch.pack(folder, target)
        assert listed == [ScratchFile("a.sh", 1, True), ScratchFile("deep/b.txt", 1, False)]
        packed.append(target.getvalue())
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
        assert [(entry.name, entry.mode, entry.uid) for entry in archive] == [
            ("a.sh", 0o755, 0),
            ("deep/b.txt", 0o644, 0),
        ]


def test_count_and_bytes_are_limited(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_bytes(bytes(10))
    with pytest.raises(ScratchRefused, match="more than 4 files"):
        scratch.files(tmp_path, count=4)
    with pytest.raises(ScratchRefused, match="more than 49 bytes"):
        scratch.files(tmp_path, total=49)
    assert len(scratch.files(tmp_path, count=5, total=50)) == 5


def test_removing_follows_no_link_and_minds_no_depth(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    top = os.open(folder, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=top)
        down = os.open("d", os.O_RDONLY, dir_fd=top)
        os.symlink(outside, "link", dir_fd=down)
        os.close(top)
        top = down
    os.close(top)
    (folder / "shut").mkdir()
    (folder / "shut" / "file").write_text("x")
    (folder / "shut").chmod(0)
    scratch.remove(folder)
    assert not folder.exists()
    assert (outside / "kept").read_text() == "kept"


def test_folders_of_dead_processes_are_swept_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    first = scratch.ScratchRoot(tmp_path)
    kept = first.make(None)
    dead = tmp_path / "dead"
    (dead / "guest").mkdir(parents=True)
    second = scratch.ScratchRoot(tmp_path)
    assert kept.exists()
    assert not dead.exists()
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_taken_by_moving_it(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_bytes(b"rows")
    (folder / "deep" / "file").chmod(0o666)
    inode = (folder / "deep" / "file").stat().st_ino
    with scratch.take_file(folder, "deep/file", tmp_path / "taken", may_move=True) as taken:
        assert taken.read() == b"rows"
    found = (tmp_path / "taken").stat()
    assert (found.st_ino, found.st_mode & 0o777, found.st_uid) == (inode, 0o600, os.geteuid())
    assert not (folder / "deep" / "file").exists()


@pytest.mark.parametrize("has_second_name", [False, True])
def test_a_file_that_another_may_still_write_is_copied(tmp_path: Path, *, has_second_name: bool) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "file").write_bytes(b"rows")
    if has_second_name:
        (folder / "other").hardlink_to(folder / "file")
    with (folder / "file").open("r+b") as held:
        scratch.take_file(folder, "file", tmp_path / "taken", may_move=has_second_name).close()
        held.write(b"evil")
    assert (tmp_path / "taken").read_bytes() == b"rows"


@pytest.mark.parametrize("name", ["link", "folder/inside", "pipe", "../secret", "/etc/passwd", "", "a//b", "gone"])
def test_only_regular_files_below_the_folder_are_taken(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "inside").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ScratchRefused):
        scratch.take_file(folder, name, tmp_path / "taken", may_move=True)
    assert not (tmp_path / "taken").exists()
    assert (tmp_path / "secret").exists()


def test_a_guest_that_outlived_the_start_of_its_dead_owner_is_ended_with_its_folder(tmp_path: Path) -> None:
    """As one is left whose owner is killed in the moment in which bubblewrap has made its first process."""
    found, _ = bubblewrap.find()
    if found is None:
        pytest.skip("there is no bubblewrap that works here")
    root = tmp_path / "scratch"
    dead = root / "0123456789abcdef" / "guest"
    dead.mkdir(parents=True)
    walls = ["--unshare-pid", "--ro-bind", "/", "/", "--bind", str(dead), str(dead)]
    with subprocess.Popen([str(found.binary), *walls, "sleep", "600"]) as left:
        wait_until(lambda: len(descendants(left.pid)) == 3)
        below = descendants(left.pid)
        owner = ScratchRoot(root)
        assert left.wait(20) == -signal.SIGKILL
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    assert not dead.parent.exists()
    owner.close()
