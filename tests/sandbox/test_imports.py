"""Warm guests that have imported what the code that they wait for imports: learnt from guests, and never believed."""

import dataclasses
import logging
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uv

from modelyard.sandbox import Interpreter, Limits, Sandbox
from modelyard.sandbox.guest.imports import first_imports
from modelyard.sandbox.imports import NAMES, BadNames, checked
from modelyard.sandbox.warm import KINDS_OF_IMPORTS
from modelyard.settings import Settings
from tests.sandbox.conftest import read_artifact
from tests.sandbox.warmth import wait_for_warm

LIMITS = Limits(memory_gib=2)
#: Trains nothing; tells whether its import was made before it began.
ASKING = """
from sklearn.linear_model import LinearRegression
import sys

def train():
    names = list(sys.modules)
    return names.index("sklearn.linear_model") < names.index("modelyard_guest.train")
"""
ORM = ["sqlalchemy.orm"]
LOADED = "import sys\ndef train(): return sorted(each for each in sys.modules if each in {names!r})"


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox that keeps one guest of a kind warm."""
    opened = Sandbox(Settings(home=tmp_path / "home", warm_guests=1))
    yield opened
    opened.close()


@pytest.fixture
def odd(tmp_path: Path) -> Interpreter:
    """An environment with packages that can't be imported, end the process, or talk."""
    prefix = tmp_path / "odd"
    base = str(getattr(sys, "_base_executable", sys.executable))
    subprocess.run([uv.find_uv_bin(), "venv", "--quiet", "--python", base, str(prefix)], check=True)
    (place,) = (prefix / "lib").glob("python3*/site-packages")
    (place / "broken.py").write_text("import half\nraise RuntimeError('not like this')")
    (place / "half.py").write_text("")
    (place / "ending.py").write_text("import os\nos._exit(3)")
    (place / "talking.py").write_text("import os\nprint('hello')\nprint('and', end='')\nos.system('echo also >&2')")
    (place / "plain.py").write_text("")
    return Interpreter(prefix / "bin" / "python", (prefix, Path(sys.base_prefix)))


def trained(sandbox: Sandbox, interpreter: Interpreter, source: str, *code: str, **message: object) -> object:
    """What `train` of the source gave."""
    message = {"source": source, "train_function": "train", **message}
    said: list[str] = []
    outcome = sandbox.run(
        interpreter, LIMITS, "train", message, preload=(), code=code, collect=read_artifact,
        on_output=lambda _, text: said.append(text),
    )  # fmt: skip
    assert outcome.error is None, outcome.error
    assert outcome.collected is not None
    assert not said
    return pickle.loads(outcome.collected)


# -- learnt ---------------------------------------------------------------------------------------------------------


def test_what_a_training_imports_the_next_one_of_the_same_code_has_imported(
    warm: Sandbox, interpreter: Interpreter
) -> None:
    assert trained(warm, interpreter, ASKING, "mine") is False
    assert warm._imports.of("mine", interpreter) == ("sklearn", "sklearn.linear_model")
    warm.warm(interpreter, LIMITS, preload=(), code=("mine",))
    wait_for_warm(warm)
    assert trained(warm, interpreter, ASKING, "mine") is True


def test_it_has_them_in_a_guest_that_did_not_wait_too(sandbox: Sandbox, interpreter: Interpreter) -> None:
    sandbox.learn(("fresh",), interpreter, {"imports": ["sklearn.linear_model"]})
    assert trained(sandbox, interpreter, ASKING, "unknown", "fresh") is True


def test_what_a_pickled_model_needs_is_learnt_where_it_is_loaded(warm: Sandbox, interpreter: Interpreter) -> None:
    source = "def train():\n    from fractions import Fraction\n    from joblib import Memory\n"
    source += "    return [Memory, Fraction]\n\ndef predict(model, query):\n    return 1"
    message = {"source": source, "train_function": "train", "predict_function": "predict"}
    outcome = warm.run(interpreter, LIMITS, "train", message, preload=(), code=("mine",), collect=read_artifact)
    assert outcome.collected is not None
    assert warm._imports.of("mine", interpreter) == ()  # it may have set what it likes before
    artifact = warm._settings.home / "artifact"
    artifact.write_bytes(outcome.collected)
    with socket.socket(socket.AF_UNIX) as listener, artifact.open("rb") as file:
        listener.bind(str(warm._settings.home / "socket"))
        listener.listen()
        guest = warm.start(interpreter, LIMITS, preload=(), code=("loaded", "mine"))
        reply = guest.call("replica", {**message, "artifact": True}, [listener.fileno(), file.fileno()], timeout_s=30)
        guest.kill()
    assert reply.result is not None
    warm.learn(("loaded", "mine"), interpreter, reply.result)
    assert warm._imports.of("loaded", interpreter) == ("joblib", "joblib.memory")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'Words.'\nimport sqlalchemy.orm\nfrom sqlalchemy import sql, select", [*ORM, "sqlalchemy", "sqlalchemy.sql"]),
        ("import os, json\nimport sqlalchemy", ["sqlalchemy"]),
        ("import os\nos.environ['X'] = '1'\nimport sqlalchemy", []),
        ("try:\n    import sqlalchemy\nexcept ImportError:\n    pass", []),
        ("import own\nimport sqlalchemy", []),
        ("from . import own\nimport sqlalchemy", []),
        ("import sqlalchemy, own", []),
        ("import not_there_at_all", []),
        ("def train(:", []),
    ],
)  # fmt: skip
def test_only_imports_before_anything_else_is_done_count(source: str, expected: list[str]) -> None:
    assert first_imports({"source": source, "modules": {"own": ""}}, "train") == expected


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        ("import json\nNAMES = ['a', -1]\nclass A:\n    x: int = 1\n    def f(self): do()\ndef g(): do()", True),
        ("import os\nHOME = os.environ['HOME']", False),
        ("@decorated\ndef f(): pass", False),
        ("class A:\n    do()", False),
        ("import own", False),
    ],
)
def test_modules_of_a_pickle_count_where_the_source_only_imports_and_defines(source: str, *, counts: bool) -> None:
    found = first_imports({"source": source, "modules": {"own": ""}}, "predict", ["sqlalchemy", "own", "json"])
    assert found == (["sqlalchemy"] if counts else [])


def test_of_a_tree_what_is_executed_first_counts(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import sqlalchemy.sql\nimport package.data")
    (tmp_path / "package" / "model.py").write_text("import sqlalchemy.orm")
    (tmp_path / "alone.py").write_text("import sqlalchemy.orm\nimport package\nimport sqlalchemy.sql")
    tree = {"train": "package.model", "predict": "alone", "folder": str(tmp_path)}
    assert first_imports({"tree": tree}, "train", ["sqlalchemy"]) == ["sqlalchemy.sql"]
    assert first_imports({"tree": tree}, "predict", ["sqlalchemy"]) == ["sqlalchemy.orm"]
    assert first_imports({"tree": {**tree, "train": "gone"}}, "train") == []


# -- not given to others --------------------------------------------------------------------------------------------


def test_a_guest_that_imported_something_is_given_only_to_code_that_does(
    warm: Sandbox, interpreter: Interpreter
) -> None:
    warm.learn(("mine",), interpreter, {"imports": ["joblib", "sklearn"]})
    warm.learn(("less",), interpreter, {"imports": ["joblib"]})
    warm.learn(("more",), interpreter, {"imports": ["sklearn", "joblib", "scipy"]})
    warm.warm(interpreter, LIMITS, preload=(), code=("mine",))
    source = LOADED.format(names=["joblib", "scipy", "sklearn"])
    wait_for_warm(warm)
    assert trained(warm, interpreter, source) == []
    assert trained(warm, interpreter, source, "unknown") == []
    (kind,) = [each for each in warm._warm._waiting if each.imports]
    (guest,) = warm._warm._waiting[kind]
    assert "sklearn" not in str(trained(warm, interpreter, source, "less"))
    assert warm._warm._waiting[kind] == [guest]
    assert str(trained(warm, interpreter, source, "more")).count("sklearn") == 1
    assert not guest.alive


def test_another_environment_gets_nothing(sandbox: Sandbox, interpreter: Interpreter, odd: Interpreter) -> None:
    sandbox.learn(("mine",), interpreter, {"imports": ["sklearn"]})
    assert sandbox._imports.of("mine", odd) == ()
    assert trained(sandbox, odd, LOADED.format(names=["sklearn"]), "mine") == []


def test_the_users_own_module_of_a_packages_name_is_not_that_package(
    sandbox: Sandbox, interpreter: Interpreter
) -> None:
    source = "import sklearn\ndef train(): return sklearn.MINE"
    for _ in range(2):
        assert trained(sandbox, interpreter, source, "own", modules={"sklearn": "MINE = 1"}) == 1
    assert sandbox._imports.of("own", interpreter) == ()


# -- lies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        ["os; import x"], [".."], ["../x"], ["a..b"], [".a"], ["a."], [""], ["a,b"], ["a\n"], ["--drop"], ["ä"], [1],
        [None], ["a" * 201], ["sklearn"] * (NAMES + 1), "sklearn", {"sklearn": 1}, 7,
    ],
)  # fmt: skip
def test_what_is_no_list_of_names_is_refused(told: object, interpreter: Interpreter) -> None:
    with pytest.raises(BadNames):
        checked(told, interpreter)


def test_only_modules_of_the_environment_itself_are_taken(interpreter: Interpreter) -> None:
    told = ["os", "antigravity", "nothing_of_that_name", "sklearn.linear_model", "sklearn.nothing", "modelyard"]
    assert checked(told, interpreter) == ("sklearn", "sklearn.linear_model")
    assert checked(["scipy.linalg._fblas"], interpreter) == ("scipy", "scipy.linalg", "scipy.linalg._fblas")


def test_a_guest_that_lies_is_logged_and_changes_nothing(
    sandbox: Sandbox, interpreter: Interpreter, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.learn(("liar",), interpreter, {"imports": ["joblib"]})
    source = """
import sys
def train():
    sys.modules["modelyard_guest.train"].first_imports = lambda *_: ["os; import x"]
"""
    with caplog.at_level(logging.WARNING, "modelyard.sandbox"):
        assert trained(sandbox, interpreter, source, "liar") is None
    assert "'os; import x' is no name of a module" in caplog.text
    assert sandbox._imports.of("liar", interpreter) == ("joblib",)


# -- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["broken", "ending"])
def test_a_package_that_can_not_be_imported_costs_no_run_its_guest(
    sandbox: Sandbox, odd: Interpreter, name: str
) -> None:
    sandbox.learn(("mine",), odd, {"imports": ["plain", name]})
    for _ in range(2):  # and it is not tried again
        assert trained(sandbox, odd, LOADED.format(names=["half", "plain", name]), "mine") == []
    assert len(sandbox._warm._broken) >= 1


def test_what_a_package_says_at_its_import_is_not_in_the_runs_log(sandbox: Sandbox, odd: Interpreter) -> None:
    sandbox.learn(("mine",), odd, {"imports": ["talking"]})
    assert trained(sandbox, odd, LOADED.format(names=["talking"]), "mine") == ["talking"]


# -- how many wait --------------------------------------------------------------------------------------------------


def test_codes_that_import_much_the_same_share_what_they_have_in_common(warm: Sandbox, odd: Interpreter) -> None:
    for number, names in enumerate((["plain", "half"], ["talking"], ["plain", "talking"])):
        warm.learn((str(number),), odd, {"imports": names})
        warm.warm(odd, LIMITS, preload=(), code=(str(number),))
    kept = {each.imports for each in warm._warm._waiting}
    assert len(kept) == KINDS_OF_IMPORTS
    assert kept in ({("plain",), ("talking",)}, {("plain", "half"), ("talking",)})


def test_a_kind_that_trainings_and_replicas_ask_for_again_is_kept(warm: Sandbox, odd: Interpreter) -> None:
    for count in (0, 1):
        trained(warm, odd, LOADED.format(names=[]), "mine")
        wait_for_warm(warm, count)
        assert warm._warm.count() == count
    other = dataclasses.replace(LIMITS, cores=2)
    for _ in range(2):  # something else, such as an import
        warm.start(odd, other, preload=()).kill()
    wait_for_warm(warm)
    assert warm._warm.count() == 1


def test_who_finds_none_waiting_gets_the_one_on_its_way(warm: Sandbox, odd: Interpreter) -> None:
    warm.warm(odd, LIMITS, preload=())
    (coming,) = warm._warm._coming
    guest = warm.start(odd, LIMITS, preload=())
    assert guest is coming.guest
    guest.kill()
    wait_for_warm(warm)
    assert warm._warm.count() == 1
