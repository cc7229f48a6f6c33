"""`modelyard version show|diff|reproduce`, as typed, beside a house that works."""

import json
from pathlib import Path

import pytest

from modelyard.settings import Settings
from tests.cli.conftest import run_command
from tests.conftest import shared_cache
from tests.models.house import make_model, make_table, wait_for_end
from tests.yard import Yard

SOURCE = """
import json, random


def train(rows):
    with open("metrics.json", "w") as out:
        json.dump({"loss": random.random()}, out)
    return len(rows)


def predict(model, query):
    return model
"""


@pytest.mark.sandbox
def test_a_version_is_shown_compared_and_made_again(home: Path) -> None:
    with Yard(Settings.load({}, home=home, cache=shared_cache(), port=0, poll_s=0.1)) as yard:
        make_table(yard, "typed_rows", {"x": [1, 2]})
        model = make_model(yard, functionSourceCode=SOURCE, trainingInputTables=["typed_rows"])
        first = wait_for_end(yard, model["latestModelVersion"]["modelVersion"])["modelVersion"]
        yard.call("updatePythonModel", modelId=model["modelId"], functionSourceCode=SOURCE + "# more\n")
        second = yard.call("retrainModel", modelId=model["modelId"])["latestModelVersion"]["modelVersion"]
        wait_for_end(yard, second)

        shown = run_command(home, "version", "show", first)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.startswith(f"version 1 ({first}) of model Concrete Model")
        assert "cloudpickle==" in shown.stdout
        assert "table        typed_rows, version " in shown.stdout
        assert json.loads(run_command(home, "version", "show", first, "--json").stdout)["modelVersion"] == first

        differs = run_command(home, "version", "diff", second).stdout
        assert "+# more" in differs
        assert differs == run_command(home, "version", "diff", second, first).stdout
        assert json.loads(run_command(home, "version", "diff", second, "--json").stdout)["after"] == second

        again = run_command(home, "version", "reproduce", first)
        assert again.stdout == "The same artifact, files and metrics came out.\n"
        assert again.returncode == 0


@pytest.mark.sandbox
def test_a_source_is_tried_out_stage_by_stage(home: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(SOURCE)
    with Yard(Settings.load({}, home=home, cache=shared_cache(), port=0, poll_s=0.1)) as yard:
        make_table(yard, "tried_by_hand", {"x": [1, 2]})
        given = ("validate", str(tmp_path / "model.py"), "--predict", "predict", "--table", "tried_by_hand")
        tried = run_command(home, *given)
        assert (tried.returncode, tried.stdout) == (0, "it works\n"), tried.stderr
        assert "predict      complete" in tried.stderr
        (tmp_path / "model.py").write_text(SOURCE.replace("return len(rows)", "return rows['y']"))
        failed = run_command(home, *given)
        assert failed.returncode == 1
        assert failed.stdout.startswith("train: ")
        assert "return rows['y']" in failed.stdout


def test_what_is_not_there_is_one_line(home: Path) -> None:
    for command in (("show", "0"), ("diff", "0"), ("reproduce", "0")):
        answer = run_command(home, "version", *command)
        assert answer.returncode == 1
        assert answer.stderr.splitlines()[-1] == "modelyard: there is no model version 0"
