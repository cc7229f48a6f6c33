"""`modelyard keys`, with and without a server that runs."""

from pathlib import Path

import pytest
import requests

from tests.cli.conftest import Served, run_command
from tests.waiting import wait_until


def ask(served: Served, key: str, action: str = "listProjects") -> int:
    return requests.get(f"{served.url}/api/v0/{action}", headers={"apiKey": key}, timeout=20).status_code


def test_a_key_is_made_and_printed_alone_listed_without_itself_and_revoked(home: Path) -> None:
    made = run_command(home, "keys", "create", "--tag", "notebook")
    key = made.stdout.strip()
    assert made.returncode == 0
    assert key.startswith("s2_")
    assert len(made.stdout.splitlines()) == 1
    listed = run_command(home, "keys", "list").stdout
    assert key not in listed
    assert key[-4:] in listed
    assert "notebook" in listed
    key_id = next(line.split()[0] for line in listed.splitlines() if "notebook" in line)
    assert run_command(home, "keys", "revoke", key_id).returncode == 0
    assert "notebook" not in run_command(home, "keys", "list").stdout
    again = run_command(home, "keys", "revoke", key_id)
    assert again.returncode == 1
    assert again.stderr.startswith("modelyard: no key in force has the id")


def test_a_user_who_does_not_exist_needs_a_role(home: Path) -> None:
    refused = run_command(home, "keys", "create", "--user", "ana@example.com")
    assert refused.returncode == 1
    assert "name a --role" in refused.stderr
    made = run_command(home, "keys", "create", "--user", "ana@example.com", "--role", "viewer")
    assert made.returncode == 0, made.stderr
    assert "ana@example.com" in run_command(home, "keys", "list").stdout


@pytest.mark.sandbox
def test_a_running_server_takes_new_keys_and_refuses_revoked_ones(served: Served) -> None:
    key = run_command(served.home, "keys", "create").stdout.strip()
    assert ask(served, key) == 200
    assert run_command(served.home, "keys", "revoke", key[-4:]).returncode == 0
    wait_until(lambda: ask(served, key) == 403, 5)
