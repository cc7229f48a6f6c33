"""Models of a git repository, over git's own protocol on loopback: fetched by an agent, pinned to the commit."""

import base64
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.settings import Settings
from tests.models.house import make_model, make_project, wait_for_end
from tests.models.trees import FILES, NAMES, wait_for_code
from tests.yard import CallFailed, Yard

TOKEN = "token-of-a-repository"
BACKEND = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())


class Repository:
    """A repository that can be committed to, and where it is fetched from."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def commit(self, files: dict[str, str | bytes], branch: str = "main") -> str:
        """Commits the files below `services/model`; gives the commit's id."""
        self.git("checkout", "-q", "-B", branch)
        for name, content in files.items():
            path = self.folder / "services" / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *words: str) -> str:
        named = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        command = ["git", "-C", str(self.folder), *named, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A repository behind `git http-backend`, for who has the token."""
    folder = tmp_path / "code"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    wanted = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(tmp_path), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "t",
                "CONTENT_TYPE": self.headers.get("Content-Type") or "", "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
                "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            }  # fmt: skip
            command = [str(BACKEND / "git-http-backend")]
            said = subprocess.run(command, input=body, env=environment, capture_output=True, check=True).stdout
            head, _, content = said.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Repository(folder, f"http://127.0.0.1:{server.server_port}/code/.git")
    server.shutdown()
    server.server_close()


@pytest.fixture
def opened_yard(settings: Settings) -> Iterator[Yard]:
    """A house whose connectors may reach loopback."""
    with Yard(msgspec.structs.replace(settings, allowed_networks=("127.0.0.0/8",))) as opened:
        yield opened


def connect_repository(yard: Yard, url: str) -> str:
    """The id of a connector to it."""
    made = yard.call("createApplicationConnector", name="code", auth={"url": url}, secrets={"token": TOKEN})
    return str(made["applicationConnectorId"])


def _info(described: dict[str, Any]) -> dict[str, Any]:
    source = described["codeSource"]
    assert source["status"] == "COMPLETE", source["error"]
    found: dict[str, Any] = json.loads(source["applicationConnectorInfo"])
    return found


def test_a_commit_is_fetched_pinned_and_trained_again_as_it_was(opened_yard: Yard, repository: Repository) -> None:
    yard, first = opened_yard, repository.commit(FILES)
    connector_id, model = connect_repository(yard, repository.url), make_model(yard)
    given = NAMES | {"modelId": model["modelId"], "pythonRoot": "services/model"}
    answer = yard.call("updatePythonModelGit", applicationConnectorId=connector_id, branchName="main", **given)
    assert answer["codeSource"]["status"] == "PENDING"
    described = wait_for_code(yard, model["modelId"])
    assert _info(described) == {
        "url": repository.url, "branchName": "main", "commit": first, "pythonRoot": "services/model",
    }  # fmt: skip
    assert described["codeSource"]["sourceType"] == "APPLICATION_CONNECTOR"
    assert described["codeSource"]["applicationConnectorId"] == connector_id
    second = repository.commit({"helper.py": "OFFSET = 100\n"})
    begun = yard.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
    version = wait_for_end(yard, begun)
    assert version["status"] == "COMPLETE", version["error"]
    assert _info(version)["commit"] == first
    yard.call("updatePythonModelGit", modelId=model["modelId"], pythonRoot="services/model")
    assert _info(wait_for_code(yard, model["modelId"]))["commit"] == second
    with yard.database.read() as session:
        assert TOKEN not in str(session.connection().exec_driver_sql("SELECT * FROM model_revisions").all())


def test_a_model_is_created_of_a_branch_with_a_root_of_its_own(opened_yard: Yard, repository: Repository) -> None:
    commit = repository.commit(FILES, "work/one")
    model = opened_yard.call(
        "createModelFromGit", projectId=make_project(opened_yard), branchName="work/one", pythonRoot="services/model/",
        applicationConnectorId=connect_repository(opened_yard, repository.url), **NAMES,
    )  # fmt: skip
    described = wait_for_code(opened_yard, model["modelId"])
    assert _info(described)["commit"] == commit
    assert wait_for_end(opened_yard, described["latestModelVersion"]["modelVersion"])["status"] == "COMPLETE"


def test_what_cannot_be_fetched_says_why(opened_yard: Yard, repository: Repository) -> None:
    repository.commit(FILES)
    connector_id, model = connect_repository(opened_yard, repository.url), make_model(opened_yard)
    (repository.folder / "services" / "model" / "link.py").symlink_to("/etc/passwd")
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "link")
    for given, said in (
        ({"branchName": "absent"}, "couldn't find remote ref"),
        ({"pythonRoot": "absent"}, "absent"),
        ({"pythonRoot": "services"}, "link or a device"),
    ):
        sent = NAMES | given | {"modelId": model["modelId"], "applicationConnectorId": connector_id}
        opened_yard.call("updatePythonModelGit", **sent)
        source = wait_for_code(opened_yard, model["modelId"])["codeSource"]
        assert source["status"] == "FAILED"
        assert said in source["error"], source["error"]
        assert TOKEN not in source["error"]


ROOTS = ["../x", "a/../../b", "/etc", "-x", "a\\b", "a:b", "a;b", "a\x00b", "file:///x", "a//b", "..", "%252e%252e;/x"]


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_is_a_folder_of_the_repository(shared_yard: Yard, root: str) -> None:
    model = make_model(shared_yard)
    connector_id = connect_repository(shared_yard, "https://localhost/code.git")
    with pytest.raises(CallFailed, match="InvalidParameterError"):
        shared_yard.call(
            "updatePythonModelGit", modelId=model["modelId"], applicationConnectorId=connector_id, pythonRoot=root
        )


@pytest.mark.parametrize("branch", ["--upload-pack=x", "a..b", "a b", "a:b", "", "a\nb"])
def test_a_branch_is_no_option(shared_yard: Yard, branch: str) -> None:
    model = make_model(shared_yard)
    connector_id = connect_repository(shared_yard, "https://localhost/code.git")
    with pytest.raises(CallFailed, match="InvalidParameterError"):
        shared_yard.call(
            "updatePythonModelGit", modelId=model["modelId"], applicationConnectorId=connector_id, branchName=branch
        )


def test_the_source_of_a_model_has_no_repository_to_be_fetched_again(shared_yard: Yard) -> None:
    model = make_model(shared_yard)
    with pytest.raises(CallFailed, match="comes from no repository"):
        shared_yard.call("updatePythonModelGit", modelId=model["modelId"])


def test_a_commit_over_the_limit_is_not_kept(settings: Settings, repository: Repository) -> None:
    repository.commit(FILES | {"large.bin": os.urandom(300_000)})
    small = msgspec.structs.replace(settings, allowed_networks=("127.0.0.0/8",), code_archive_limit=100_000)
    with Yard(small) as yard:
        given = NAMES | {"modelId": make_model(yard)["modelId"]}
        yard.call("updatePythonModelGit", applicationConnectorId=connect_repository(yard, repository.url), **given)
        source = wait_for_code(yard, given["modelId"])["codeSource"]
        assert source["status"] == "FAILED"
        assert "The repository code refused" in source["error"], source["error"]


def test_a_repository_on_a_closed_network_is_not_fetched(shared_yard: Yard, repository: Repository) -> None:
    repository.commit(FILES)
    given = NAMES | {"modelId": make_model(shared_yard)["modelId"]}
    where = repository.url.replace("http:", "https:")
    shared_yard.call("updatePythonModelGit", applicationConnectorId=connect_repository(shared_yard, where), **given)
    source = wait_for_code(shared_yard, given["modelId"])["codeSource"]
    assert source["status"] == "FAILED"
    assert "allowed_networks" in source["error"], source["error"]
