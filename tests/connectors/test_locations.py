"""Locations: what lies below an opened folder can be read, and nothing else, however it is written."""

from pathlib import Path

import pytest

from modelyard.connectors.locations import open_location
from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings


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
    with open_location(roots, f"file://{tmp_path}/open/{name}") as file:
        assert file.read() == b"a\n1\n"


@pytest.mark.parametrize(
    "location",
    [
        "file://{0}/secret.csv", "file://{0}/open/../secret.csv", "file://{0}/open/%2e%2e/secret.csv",
        "file://{0}/open/%252e%252e/secret.csv", "file://{0}/open/link.csv", "file://{0}/open/up/secret.csv",
        "file://{0}/open", "file://{0}/open/sub", "file://{0}/open/missing.csv", "file://evil{0}/open/a b.csv",
        "file://{0}/open/a b.csv?x", "file://{0}/open\\a b.csv", "file://{0}/open/a b.csv\0", "file:a b.csv",
        "file://{0}/open/a%00b.csv", "{0}/open/a b.csv", "s3://bucket/key", "http://169.254.169.254/", "file://[", "",
        "file:///dev/zero", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_nothing_else_is_read(roots: Settings, tmp_path: Path, location: str) -> None:
    with pytest.raises(InvalidParameterError):
        open_location(roots, location.format(tmp_path))


def test_without_an_opened_folder_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(InvalidParameterError, match="file_roots"):
        open_location(Settings(home=tmp_path), f"file://{tmp_path}/a.csv")
