"""`modelyard connectors`, as an operator types it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from modelyard.connectors.secrets import KEY_FILE
from tests.connectors.conftest import SECRETS, Buckets


def run(home: Path, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "modelyard", "connectors", *words],
        input=stdin, env=os.environ | {"MODELYARD_HOME": str(home)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_operator_adds_tries_lists_and_removes_a_bucket(home: Path, buckets: Buckets) -> None:
    buckets.put("operators", a_DOT_csv=b"a\n1\n")
    # The operator says where it leads, so loopback is allowed for this very host and port.
    where = ("--set", f"endpoint={buckets.endpoint}")
    added = run(home, "add", "file", "s3://operators", *where, "--secrets-stdin", stdin=json.dumps(SECRETS))
    assert (added.returncode, added.stderr) == (0, "")
    assert run(home, "verify", "s3://operators").stdout == "it works\n"
    listed = run(home, "list").stdout
    assert added.stdout.strip() in listed
    assert "verified" in listed
    files: list[Any] = [path for path in home.rglob("*") if path.is_file()]
    assert [path.name for path in files if SECRETS["secret_access_key"].encode() in path.read_bytes()] == []
    assert (home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert run(home, "remove", "s3://operators").returncode == 0
    assert "operators" not in run(home, "list").stdout


def test_secrets_come_from_the_environment_and_mistakes_are_said(home: Path) -> None:
    auth = ("--set", "host=db.example.com", "--set", "database=shop", "--set", "user=reader")
    missing = run(home, "add", "database", "POSTGRESQL", "shop", *auth, "--secret-env", "password=NO_SUCH_VARIABLE")
    assert missing.returncode == 1
    assert "NO_SUCH_VARIABLE" in missing.stderr
    given = run(home, "add", "database", "POSTGRESQL", "shop", *auth, "--secret-env", "password=SHOP", SHOP="p4ssword")
    assert given.returncode == 0, given.stderr
    unknown = run(home, "add", "database", "POSTGRESQL", "shop", *auth, "--set", "password=oops")
    assert "secrets go into secrets" in unknown.stderr
    assert "no connector nothing" in run(home, "verify", "nothing").stderr
    assert "JSON object" in run(home, "add", "git", "https://git.example.com/a.git", "a", "--secrets-stdin").stderr
    assert run(home, "add", "git", "git@git.example.com:a/b.git", "a", "--set", "branch=dev").returncode == 0
