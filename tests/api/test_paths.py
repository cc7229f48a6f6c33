"""Texts that would be paths, given to every parameter that takes a text: none of them ever reaches a file or a process.

An audit hook listens to everything that this process, in which the whole house lives, opens, makes, moves or starts;
each of the texts has a word in it that the hook looks for.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from modelyard.accounts.records import Organization
from modelyard.app import all_actions
from modelyard.ids import Digest
from modelyard.settings import Settings
from modelyard.storage import BlobStore
from tests.api.everything import Everything, make_everything, valid_values
from tests.yard import CallFailed, Yard

ACTIONS = all_actions()
NAMES = sorted(ACTIONS, key=lambda name: (name.startswith(("cancel", "delete")), name))
WORD = "canary7731"
TEXTS = [
    f"../../../../../../tmp/{WORD}",
    f"/tmp/{WORD}",
    f"%252e%252e%252f%252e%252e%252f{WORD}",
    f"..%2f..%2f{WORD}",
    f"..\\..\\{WORD}",
    f"x;../../{WORD}",
    f"file:///tmp/{WORD}",
    f"file:///../tmp/%2e%2e/{WORD}",
    f"-rf {WORD} $(touch /tmp/{WORD}) `touch {WORD}`\n--index-url={WORD}",
]
EVENTS = {
    "open", "os.chmod", "os.exec", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
    "os.scandir", "os.spawn", "os.symlink", "os.system", "os.truncate", "os.utime", "shutil.copyfile", "shutil.move",
    "shutil.rmtree", "socket.connect", "sqlite3.connect", "subprocess.Popen", "tempfile.mkstemp", "tempfile.mkdtemp",
}  # fmt: skip
heard: list[str] = []
listening = [False]


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if listening[0] and event in EVENTS and WORD in repr(arguments):
        heard.append(f"{event} {arguments}")


@contextmanager
def nothing_is_touched() -> Iterator[None]:
    heard.clear()
    listening[0] = True
    try:
        yield
    finally:
        listening[0] = False
    assert heard == []


@pytest.fixture(scope="module", autouse=True)
def listener() -> None:
    sys.addaudithook(hook)  # for as long as this process lives; it hears nothing unless `listening`


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """Objects of every kind, and a folder whose files may be read."""
    roots = (tmp_path_factory.mktemp("roots"),)
    with Yard(
        Settings.load({}, home=tmp_path_factory.mktemp("home"), port=0, file_roots=roots), with_agent=False
    ) as yard:
        with yard.database.read() as session:
            organization_id = session.scalars(select(Organization.organization_id)).one()
        yield make_everything(yard, organization_id, "mine")


def test_the_hook_hears(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), nothing_is_touched():
        (tmp_path / WORD).write_text("")


@pytest.mark.parametrize("name", [name for name in NAMES if ACTIONS[name].parameters])
def test_no_text_becomes_a_path(house: Everything, name: str) -> None:
    action, good = ACTIONS[name], valid_values(ACTIONS[name], house)
    url, headers = f"{house.yard.url}/api/v0/{name}", {"apiKey": house.yard.key}
    with nothing_is_touched(), requests.Session() as session:
        for parameter in action.parameters:
            for text in TEXTS:
                value: object = text
                if parameter.takes_json and not parameter.takes_text:
                    value = {text: text} if "dict" in str(parameter.type) else [text]
                values = good | {parameter.wire_name: value}
                if action.verb in ("GET", "DELETE"):
                    texts = {key: each if isinstance(each, str) else json.dumps(each) for key, each in values.items()}
                    answer = session.request(action.verb, url, params=texts, headers=headers, timeout=60)
                else:
                    answer = session.request(action.verb, url, json=values, headers=headers, timeout=60)
                assert answer.status_code < 500, answer.text
                assert str(house.yard.settings.home) not in answer.text


@pytest.mark.parametrize("text", TEXTS)
def test_names_of_files_in_a_form_are_not_looked_at(house: Everything, text: str) -> None:
    upload = house.yard.call("createDatasetVersionFromUpload", datasetId=house.ids["datasetId"])
    with nothing_is_touched():
        answer = requests.post(
            f"{house.yard.url}/api/uploadPart",
            data={"uploadId": upload["uploadId"], "partNumber": "1"},
            files={"partData": (text.replace("\n", " "), b"a\n1\n")},
            headers={"APIKEY": house.yard.key},
            timeout=60,
        )
    assert answer.json()["success"], answer.text


@pytest.mark.parametrize("text", [*TEXTS[:6], "..", "%2e%2e", "openapi.json/.."])
def test_names_of_actions_are_not_paths(house: Everything, text: str) -> None:
    with nothing_is_touched():
        request = requests.Request("GET", house.yard.url, headers={"apiKey": house.yard.key}).prepare()
        request.url = f"{house.yard.url}/api/v0/{text}"
        answer = requests.Session().send(request, timeout=30)
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("text", [*TEXTS, "0" * 63, "0" * 65, "A" * 64, "", "\x00" * 64])
def test_what_is_no_digest_is_no_blob(tmp_path: Path, text: str) -> None:
    store = BlobStore(tmp_path)
    for look in (store.path, store.open, store.has, store.read, store.delete):
        with pytest.raises(ValueError, match="not a digest"), nothing_is_touched():
            look(Digest(text))


def test_what_a_training_is_called_does_not_matter(shared_yard: Yard) -> None:
    from tests.models.house import make_model, make_project, wait_for_end

    with nothing_is_touched():
        model = make_model(shared_yard, projectId=make_project(shared_yard, TEXTS[0]), name=TEXTS[1])
        version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
        shared_yard.call("renameModel", "PATCH", modelId=model["modelId"], name=TEXTS[2])
    assert version["status"] == "COMPLETE", version["error"]


@pytest.mark.parametrize("text", TEXTS)
def test_requirements_never_become_arguments_or_paths(house: Everything, text: str) -> None:
    with nothing_is_touched(), pytest.raises(CallFailed, match="InvalidParameterError"):
        house.yard.call("updatePythonModel", modelId=house.ids["modelId"], packageRequirements=[text])
