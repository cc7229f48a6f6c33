"""Secrets at rest: only the home's key opens them, and only where they belong."""

import stat
import threading
from pathlib import Path

import pytest

from modelyard.connectors.secrets import KEY_FILE, Vault
from modelyard.errors import InternalServerError

VALUES = {"password": "p4ss-wörd", "token": "t"}


def test_what_was_closed_is_opened_by_another_process_with_the_same_home(tmp_path: Path) -> None:
    closed = Vault(tmp_path).close(VALUES, "connector")
    assert closed is not None
    assert b"p4ss" not in closed
    assert Vault(tmp_path).open(closed, "connector") == VALUES
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_the_same_secret_never_looks_the_same(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    assert vault.close(VALUES, "connector") != vault.close(VALUES, "connector")


def test_a_secret_moved_to_another_connector_or_changed_opens_nothing(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    closed = vault.close(VALUES, "mine")
    assert closed is not None
    for moved, owner in ((closed, "other"), (closed[:-1] + bytes([closed[-1] ^ 1]), "mine")):
        with pytest.raises(InternalServerError, match=KEY_FILE):
            vault.open(moved, owner)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(InternalServerError):
        vault.open(closed, "mine")


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert Vault(tmp_path).close({}, "x") is None
    assert Vault(tmp_path).open(None, "x") == {}


def test_two_who_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    closed: list[bytes | None] = []
    threads = [threading.Thread(target=lambda: closed.append(Vault(tmp_path).close(VALUES, "c"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [Vault(tmp_path).open(one, "c") for one in closed] == [VALUES] * 8
