"""git itself against a repository on loopback, over its own web protocol, with a token that only the server is told."""

import base64
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.connectors.repositories import Repository
from modelyard.errors import FailedDependencyError, InvalidParameterError
from modelyard.settings import Settings

TOKEN = "token-of-a-test"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A repository with the branches `main` and `work`, for who has the token."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q", "-b", "main", "."], ["commit", "-q", "--allow-empty", "-m", "x"], ["branch", "work"],
                  ["update-server-info"]):  # fmt: skip
        subprocess.run([*git, *words], check=True)
    wanted = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(tmp_path / ".git"))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_branches_are_listed_with_the_token_and_not_without(url: str, opened: Settings) -> None:
    assert Repository("code", {"url": url}, {"token": TOKEN}, opened, False).branches() == ["main", "work"]
    with pytest.raises(FailedDependencyError) as refused:
        Repository("code", {"url": url}, {"token": "not-the-token"}, opened, False).branches()
    assert "not-the-token" not in refused.value.message


def test_a_repository_on_a_closed_network_is_not_reached(url: str, settings: Settings) -> None:
    for where in (url, url.replace("http:", "https:"), "git@127.0.0.1:x/y.git"):
        with pytest.raises(InvalidParameterError):
            Repository("code", {"url": where}, {}, settings, False).branches()
    assert Repository("code", {"url": url}, {"token": TOKEN}, settings, True).branches() == ["main", "work"]
