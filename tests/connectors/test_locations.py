"""Locations: what lies below an opened folder can be read, and nothing else, however it is written."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from modelyard.connectors.folders import Folder
from modelyard.connectors.locations import Found
from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings


def read(settings: Settings, location: str) -> dict[str, bytes]:
    """The files at a location, by name."""
    with Found(location, settings).open() as place:
        return {file.name.rpartition("/")[2]: b"".join(place.read(file)) for file in place.files()}


@pytest.fixture
def roots(tmp_path: Path) -> Settings:
    (tmp_path / "open" / "sub").mkdir(parents=True)
    (tmp_path / "open" / "a b.csv").write_text("a\n1\n")
    (tmp_path / "secret.csv").write_text("secret")
    (tmp_path / "open" / "link.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "open" / "inner.csv").symlink_to(tmp_path / "open" / "a b.csv")
    (tmp_path / "open" / "up").symlink_to(tmp_path)
    return Settings(home=tmp_path / "home", file_roots=(tmp_path / "open",))


@pytest.mark.parametrize("name", ["a b.csv", "a%20b.csv", "inner.csv", "sub/../a b.csv"])
def test_a_file_below_an_opened_folder_is_read(roots: Settings, tmp_path: Path, name: str) -> None:
    assert list(read(roots, f"file://{tmp_path}/open/{name}").values()) == [b"a\n1\n"]


@pytest.mark.parametrize(
    "location",
    [
        "file://{0}/secret.csv", "file://{0}/open/../secret.csv", "file://{0}/open/%2e%2e/secret.csv",
        "file://{0}/open/%252e%252e/secret.csv", "file://{0}/open/link.csv", "file://{0}/open/up/secret.csv",
        "file://{0}/open", "file://{0}/open/sub", "file://{0}/open/missing.csv", "file://evil{0}/open/a b.csv",
        "file://{0}/open/a b.csv?x", "file://{0}/open\\a b.csv", "file://{0}/open/a b.csv\0", "file:a b.csv",
        "file://{0}/open/a%00b.csv", "{0}/open/a b.csv", "s3://bucket/key", "http://169.254.169.254/", "file://[", "",
        "file://{0}/open/up/*.csv", "file://{0}/*.csv", "file://{0}/open/*.parquet", "file://{0}/open/../",
        "file://{0}/open/sub/", "file://{0}/open/*/../../secret.csv", "file://{0}/open/[.][.]/secret.csv",
        "file:///dev/zero", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_nothing_else_is_read(roots: Settings, tmp_path: Path, location: str) -> None:
    with pytest.raises(InvalidParameterError):
        read(roots, location.format(tmp_path))


def test_without_an_opened_folder_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(InvalidParameterError, match="file_roots"):
        read(Settings(home=tmp_path), f"file://{tmp_path}/a.csv")


def test_a_folder_stands_for_the_files_below_it(roots: Settings, tmp_path: Path) -> None:
    for name in ("sub/1.csv", "sub/2.csv", "sub/deep/3.csv", "sub/.hidden.csv", "sub/_SUCCESS"):
        path = tmp_path / "open" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "open" / "sub" / "out.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "open" / "sub" / "far").symlink_to(tmp_path)
    start = f"file://{tmp_path}/open/"
    assert sorted(read(roots, f"{start}sub/")) == ["1.csv", "2.csv", "3.csv"]
    assert sorted(read(roots, f"{start}sub/*.csv")) == ["1.csv", "2.csv"]
    assert sorted(read(roots, f"{start}**/*.csv")) == ["1.csv", "2.csv", "3.csv", "a%20b.csv"]
    assert sorted(read(roots, f"{start}sub/[13].csv")) == ["1.csv"]


def test_what_killed_writers_of_a_file_left_is_removed_and_what_living_ones_write_stays(
    roots: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "drafts"
    folder.mkdir()
    (folder / ".out.csv.0123456789ab").write_text("left by one who was killed")
    others = [".out.csv.note", ".other.csv.0123456789ab", "out.csv.0123456789ab"]
    for name in others:
        (folder / name).write_text("not ours")
    alive = folder / ".out.csv.ba9876543210"
    with alive.open("w") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        Folder(f"file://{folder}/", (tmp_path,)).write("out.csv", [b"1\n"])
        assert alive.exists()
    assert sorted(path.name for path in folder.iterdir()) == sorted([*others, alive.name, "out.csv"])
    assert (folder / "out.csv").read_bytes() == b"1\n"


def test_a_file_is_written_below_a_folder_opened_for_that_and_nowhere_else(roots: Settings, tmp_path: Path) -> None:
    target = f"file://{tmp_path}/open/new/"
    with pytest.raises(InvalidParameterError, match="file_write_roots"), Found(target, roots).open(to_write=True):
        pass
    writable = msgspec.structs.replace(roots, file_write_roots=(tmp_path / "open",))
    with Found(target, writable).open(to_write=True) as place:
        assert place.write("out.csv", [b"a,", b"b"]) == f"file://{tmp_path}/open/new/out.csv"
        for name in ("../out.csv", "", "..", "a/b"):
            with pytest.raises(InvalidParameterError):
                place.write(name, [b""])
    assert (tmp_path / "open/new/out.csv").read_bytes() == b"a,b"
    with pytest.raises(InvalidParameterError), Found(f"file://{tmp_path}/open/up/x.csv", writable).open(to_write=True):
        pass


def test_what_fails_half_way_leaves_no_file(roots: Settings, tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    writable = msgspec.structs.replace(roots, file_write_roots=(tmp_path / "open",))
    with Found(f"file://{tmp_path}/open/half.csv", writable).open(to_write=True) as place, pytest.raises(RuntimeError):
        place.write("half.csv", chunks())
    assert not [path for path in (tmp_path / "open").iterdir() if "half" in path.name]
