"""`modelyard demo`: agrees with itself, leaves nothing behind, and says what it lacks."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from modelyard.cli.demo import features, first_model, second_model
from modelyard.cli.demo.journey import TABLE
from modelyard.cli.demo.local import in_a_folder_of_its_own
from modelyard.cli.demo.telling import Compared
from tests.cli.conftest import COMMAND, descendants, environment, is_alive
from tests.conftest import shared_cache
from tests.waiting import wait_until


def demo_environment(home: Path) -> dict[str, str]:
    """Variables under which the demo has a temporary folder to itself, and the tests' cache."""
    cache, temporary = home / "cache", home / "tmp"
    cache.mkdir()
    temporary.mkdir()
    shared_cache().mkdir(parents=True, exist_ok=True)
    (cache / "modelyard").symlink_to(shared_cache())
    return environment(home) | {"XDG_CACHE_HOME": str(cache), "TMPDIR": str(temporary)}


def left_behind(home: Path) -> list[str]:
    """Homes of demos that are still there."""
    return [entry.name for entry in (home / "tmp").iterdir() if re.fullmatch(r"modelyard-[a-z0-9_]{8}", entry.name)]


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_demo_agrees_with_the_same_functions_and_leaves_nothing_behind(home: Path) -> None:
    ran = subprocess.run(
        [*COMMAND, "demo"], env=demo_environment(home), capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("equal") >= 8
    assert "differ" not in ran.stdout
    assert "none refused" in ran.stdout
    assert left_behind(home) == []


@pytest.mark.sandbox
def test_a_killed_demo_takes_its_server_along(home: Path) -> None:
    demo = subprocess.Popen(
        [*COMMAND, "demo"], env=demo_environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with demo:
        wait_until(lambda: len(descendants(demo.pid)) >= 3)
        everything = {demo.pid, *descendants(demo.pid)}
        demo.kill()
        demo.wait()
    wait_until(lambda: not any(map(is_alive, everything)), 40)


@pytest.mark.sandbox
def test_ctrl_c_ends_the_demo_and_its_server(home: Path) -> None:
    demo = subprocess.Popen(
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        ["env", "--default-signal=INT", *COMMAND, "demo"],
        env=demo_environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with demo:
        wait_until(lambda: len(descendants(demo.pid)) >= 3)
        time.sleep(0.5)
        everything = descendants(demo.pid)
        demo.send_signal(signal.SIGINT)
        output = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130
    assert "Traceback" not in output
    wait_until(lambda: not any(map(is_alive, everything)))
    assert left_behind(home) == []


def test_without_the_client_the_demo_says_what_to_install() -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *more: None if name == 'abacusai' else find(name, *more); "
        "sys.argv = ['modelyard', 'demo']; from modelyard.cli import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "lacks abacusai; install it: pip install abacusai==1.4.119" in ran.stderr


def test_the_second_model_is_better_and_both_predict_alike_one_by_one_and_in_bulk() -> None:
    concrete = pd.read_csv(TABLE)
    mixes = features.mixes(concrete)
    for model in (first_model, second_model):
        trained = in_a_folder_of_its_own(lambda model=model: model.train(mixes))  # type: ignore[misc]
        many = model.predict_many(trained, concrete)
        queries = [{str(name): float(value) for name, value in row.items()} for _, row in concrete.iterrows()]
        for query, result in zip(queries, many, strict=True):
            assert Compared("", model.predict(trained, query)["strength"], result["strength"]).agrees


def test_what_differs_by_more_than_rounding_does_not_agree() -> None:
    assert Compared("", 53.46346328689043, 53.46346328689044).agrees
    assert not Compared("", 53.463463, 53.463464).agrees
    assert not Compared("", 53.463463, float("nan")).agrees
