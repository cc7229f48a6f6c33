"""The history of a model: listed, described, compared, and any revision brought back, on both kinds of database."""

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard.models.history.differences import MOST_LINES, diff_texts
from tests.models.house import SOURCE, make_model, make_table
from tests.yard import CallFailed, Yard

OTHER = SOURCE.replace('"training"', '"training otherwise"')


def listed(yard: Yard, model: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yard.call("listModelRevisions", "GET", modelId=model["modelId"], **more)
    return found


def update(yard: Yard, model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = yard.call("updatePythonModel", modelId=model["modelId"], **changes)
    return answer


def restore(yard: Yard, model: dict[str, Any], revision: dict[str, Any]) -> dict[str, Any]:
    given = {"modelId": model["modelId"], "modelRevision": revision["modelRevision"]}
    answer: dict[str, Any] = yard.call("rollbackModel", **given)
    return answer


def test_revisions_are_listed_newest_first_with_what_each_changed_and_by_whom(desk_on: Yard) -> None:
    make_table(desk_on, "history_rows", {"x": [1]})
    model = make_model(desk_on)
    update(desk_on, model, memory=4, functionSourceCode=OTHER)
    update(desk_on, model, trainingInputTables=["history_rows"], packageRequirements=["numpy"])
    update(desk_on, model)
    found = listed(desk_on, model)
    assert [each["number"] for each in found] == [4, 3, 2, 1]
    assert [each["summary"] for each in found] == ["nothing", "tables, packages", "source, memory", "the first"]
    assert found[2]["changed"] == ["functionSourceCode", "memory"]
    assert [each["isHead"] for each in found] == [True, False, False, False]
    assert {each["createdBy"]["email"] for each in found} == {"admin@localhost"}
    assert all(each["sourceCode"] is None and each["createdAt"] for each in found)
    pages = [
        listed(desk_on, model, limit=3),
        listed(desk_on, model, limit=3, startAfterRevision=found[2]["modelRevision"]),
    ]
    assert [*pages[0], *pages[1]] == found


def test_a_revision_is_described_with_its_source(desk: Yard) -> None:
    model = make_model(desk, trainingConfig={"LR": 1})
    update(desk, model, functionSourceCode=OTHER)
    newest, first = (
        desk.call("describeModelRevision", "GET", modelRevision=each["modelRevision"]) for each in listed(desk, model)
    )
    assert (newest["sourceCode"], first["sourceCode"]) == (OTHER, SOURCE)
    assert first["trainingConfig"] == {"LR": 1}
    assert newest["summary"] == "source"


def test_the_official_client_calls_actions_that_it_does_not_know(desk: Yard) -> None:
    model, client = make_model(desk), desk.client()
    client.update_python_model(model["modelId"], memory=3)
    newest, first = client._call_api("listModelRevisions", "GET", query_params={"modelId": model["modelId"]})
    diff = client._call_api("diffModelRevisions", "GET", query_params={"modelRevision": newest["modelRevision"]})
    assert [each["name"] for each in diff["differences"]] == ["memory"]
    body = {"modelId": model["modelId"], "modelRevision": first["modelRevision"]}
    assert client._call_api("rollbackModel", "POST", body=body)["memory"] is None
    version = client._call_api(
        "describeModelVersion", "GET", query_params={"modelVersion": model["latestModelVersion"]["modelVersion"]}
    )
    assert version["madeFrom"]["revision"]["number"] == 1


def test_two_revisions_are_compared_line_by_line_and_name_by_name(desk_on: Yard) -> None:
    make_table(desk_on, "compared_rows", {"x": [1]})
    model = make_model(desk_on, packageRequirements=["numpy", "six"], trainingConfig={"LR": 0.1, "DEPTH": 3})
    update(
        desk_on, model, functionSourceCode=OTHER, packageRequirements=["numpy", "pandas"], memory=2, cpuSize="large",
        trainingConfig={"LR": 0.2, "DEPTH": 3}, trainingInputTables=["compared_rows"], predictFunctionName="",
    )  # fmt: skip
    newest, first = listed(desk_on, model)
    found = desk_on.call("diffModelRevisions", "GET", modelRevision=newest["modelRevision"])
    by_name = {each["name"]: each for each in found["differences"]}
    assert by_name["packageRequirements"]["added"] == ["pandas"]
    assert by_name["packageRequirements"]["removed"] == ["six"]
    assert (by_name["trainingConfig.LR"]["before"], by_name["trainingConfig.LR"]["after"]) == (0.1, 0.2)
    assert by_name["trainingInputTables"]["added"] == ["compared_rows"]
    assert (by_name["memory"]["before"], by_name["memory"]["after"]) == (None, 2)
    assert by_name["predictFunctionName"]["before"] == "predict"
    assert "trainingConfig.DEPTH" not in by_name
    assert (found["linesAdded"], found["linesRemoved"]) == (1, 1)
    assert '-    print("training")\n+    print("training otherwise")' in found["sourceDiff"]
    assert "packageRequirements: -six  +pandas" in found["text"]
    assert found["sourceDiff"].rstrip() in found["text"]
    back = {"modelRevision": first["modelRevision"], "baseModelRevision": newest["modelRevision"]}
    assert desk_on.call("diffModelRevisions", "GET", **back)["differences"][0]["name"] in by_name
    with pytest.raises(CallFailed, match="is its model's first"):
        desk_on.call("diffModelRevisions", "GET", modelRevision=first["modelRevision"])


def test_any_revision_comes_back_as_a_new_one_that_says_which(desk_on: Yard) -> None:
    make_table(desk_on, "restored_rows", {"x": [1]})
    model = make_model(desk_on, trainingInputTables=["restored_rows"], memory=2, trainingConfig={"LR": 1})
    update(desk_on, model, functionSourceCode=OTHER, trainingInputTables=[], memory=8, trainingConfig={})
    first = listed(desk_on, model)[-1]
    answer = restore(desk_on, model, first)
    assert answer["sourceCode"] == SOURCE
    assert (answer["memory"], answer["trainingInputTables"]) == (2, ["restored_rows"])
    assert answer["modelConfig"]["LR"] == 1
    newest = listed(desk_on, model)[0]
    assert (newest["number"], newest["restoredNumber"], newest["summary"]) == (3, 1, "back to revision 1")
    assert newest["modelRevision"] != first["modelRevision"]
    given = {"modelRevision": newest["modelRevision"], "baseModelRevision": first["modelRevision"]}
    assert "They say the same." in desk_on.call("diffModelRevisions", "GET", **given)["text"]
    with pytest.raises(CallFailed, match=r"ConflictError.*is its newest one already"):
        restore(desk_on, model, newest)
    with pytest.raises(CallFailed, match=r"ConflictError.*model Concrete Model"):
        desk_on.call("deleteFeatureGroup", "DELETE", featureGroupId=answer["trainingFeatureGroupIds"][0])


def test_a_revision_whose_table_is_gone_does_not_come_back(desk: Yard) -> None:
    group = make_table(desk, "gone_rows", {"x": [1]})
    model = make_model(desk, trainingInputTables=["gone_rows"])
    update(desk, model, trainingInputTables=[])
    first = listed(desk, model)[-1]
    desk.call("deleteModelVersion", "DELETE", modelVersion=model["latestModelVersion"]["modelVersion"])
    desk.call("deleteFeatureGroup", "DELETE", featureGroupId=group)
    with pytest.raises(
        CallFailed, match=rf"ConflictError.*gone_rows \(feature group {group}\), which has been deleted"
    ):
        restore(desk, model, first)
    assert len(listed(desk, model)) == 2


def test_a_revision_of_another_model_does_not_come_back(desk: Yard) -> None:
    one, other = make_model(desk), make_model(desk)
    with pytest.raises(CallFailed, match=r"DataNotFoundError.*not found in model"):
        restore(desk, one, listed(desk, other)[0])


def test_updates_and_rollbacks_at_once_all_become_revisions(desk_on: Yard) -> None:
    model = make_model(desk_on)
    update(desk_on, model, memory=9)
    first = listed(desk_on, model)[-1]

    def change(number: int) -> None:
        if number % 4:
            update(desk_on, model, memory=number)
        else:
            restore(desk_on, model, first)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(change, range(1, 25)))
    found = listed(desk_on, model)
    assert [each["number"] for each in found] == list(range(26, 0, -1))
    assert sum(each["restoredNumber"] == 1 for each in found) == 6


@pytest.mark.parametrize("seed", range(30))
def test_a_diff_is_one_that_patch_takes(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    before = "".join(f"line {chance.randrange(30)}\n" for _ in range(chance.randrange(60)))
    lines = before.splitlines(keepends=True)
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(lines) + 1)
        lines[at : at + chance.randrange(3)] = [f"new {chance.randrange(9)}\n"] * chance.randrange(3)
    after = "".join(lines).rstrip("\n") if seed % 3 == 0 else "".join(lines)
    (tmp_path / "file").write_text(before)
    diff = diff_texts(before, after, "file", "file")
    if diff:
        subprocess.run(["git", "apply", "--unidiff-zero", "-"], cwd=tmp_path, input=diff, text=True, check=True)
    assert (tmp_path / "file").read_text() == after


def test_sources_that_differ_all_over_are_compared_as_a_whole(tmp_path: Path) -> None:
    before = "".join(f"x = {number}\n" for number in range(MOST_LINES * 3))
    after = f"first\n{before}".replace("= 1", "= -1")
    (tmp_path / "file").write_text(before)
    subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path, input=diff_texts(before, after, "file", "file"), text=True, check=True
    )
    assert (tmp_path / "file").read_text() == after
