"""Environments one can see, purge and build again; and what goes when there is too much of it."""

import os
from pathlib import Path

import pytest

from modelyard.upkeep.caches import evict_files
from tests.api.everything import make_strangers
from tests.models.house import make_model, wait_for_end, wait_for_words
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

SLOW = """
def train():
    import time
    print("begun", flush=True)
    time.sleep(600)


def predict(model, query):
    return 1
"""


def test_an_environment_shows_its_packages_and_who_uses_it(shared_yard: Yard) -> None:
    model = make_model(shared_yard, name="Seen", trainingInputTables=[])
    version = wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    used = [
        described
        for each in shared_yard.call("listEnvironments", "GET")
        if each["modelVersions"]
        and (described := shared_yard.call("describeEnvironment", "GET", environmentId=each["environmentId"]))
    ]
    users = [user for each in used for user in each["usedBy"]]
    assert (version["modelVersion"], "Seen") in [(user["modelVersion"], user["modelName"]) for user in users]
    shown = used[0]["environment"]
    assert "pandas" in shown["packages"]
    assert shown["size"] > 10_000_000
    assert shown["lastUsedAt"]
    assert "--hash=sha256:" in used[0]["lock"]
    with pytest.raises(CallFailed, match="DataNotFoundError"):
        shared_yard.call("describeEnvironment", "GET", environmentId="f" * 64)


def test_another_organisation_sees_nothing_of_it(shared_yard: Yard) -> None:
    model = make_model(shared_yard, trainingInputTables=[])
    wait_for_end(shared_yard, model["latestModelVersion"]["modelVersion"])
    [mine, *_] = shared_yard.call("listEnvironments", "GET")
    strangers, _ = make_strangers(shared_yard, "others")
    assert strangers.call("listEnvironments", "GET") == []
    for action, verb in (
        ("describeEnvironment", "GET"),
        ("purgeEnvironment", "DELETE"),
        ("rebuildEnvironment", "POST"),
    ):
        with pytest.raises(CallFailed, match="DataNotFoundError"):
            strangers.call(action, verb, environmentId=mine["environmentId"])


def test_one_in_use_is_neither_purged_nor_built_anew(shared_yard: Yard) -> None:
    model = make_model(shared_yard, functionSourceCode=SLOW, trainingInputTables=[])
    version = model["latestModelVersion"]["modelVersion"]
    wait_for_words(shared_yard, version, "begun")
    base = max(shared_yard.call("listEnvironments", "GET"), key=lambda each: each["modelVersions"])
    for action, verb in (("purgeEnvironment", "DELETE"), ("rebuildEnvironment", "POST")):
        with pytest.raises(CallFailed, match="ConflictError: The environment is in use"):
            shared_yard.call(action, verb, environmentId=base["environmentId"])
    shared_yard.call("cancelTraining", modelVersion=version)
    wait_for_end(shared_yard, version)


def test_the_oldest_files_go_until_the_others_fit(tmp_path: Path) -> None:
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / name).write_bytes(b"x" * 8192)
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    assert evict_files(tmp_path, 2 * 8192) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "newest"]
    assert evict_files(tmp_path, 0) == 2
    assert evict_files(tmp_path / "nowhere", 0) == 0
