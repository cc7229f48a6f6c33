"""Environments from a folder of wheels: made once, found again, shared, purged, and never half there."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.environments import (
    BuildFailed,
    Environment,
    EnvironmentGone,
    EnvironmentInUse,
    Environments,
    ResolutionFailed,
)
from tests.environments.conftest import BASE, Maker
from tests.environments.packages import make_wheel

pytestmark = pytest.mark.sandbox


def _versions(environment: Environment) -> dict[str, str]:
    heads = [line.split()[0] for line in environment.lock.splitlines() if "==" in line]
    return dict(head.split("==") for head in heads)


def _python(environment: Environment, code: str) -> str:
    done = subprocess.run([environment.interpreter.python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_base_environment_holds_the_base_packages_at_their_pins(environments: Environments) -> None:
    base = environments.base()
    assert _versions(base) == {"leaf": "1.0", "other": "2.0", "tinybase": "1.0"}
    assert _python(base, "import tinybase; print(tinybase.VERSION)") == "1.0"
    assert base.prefix in base.interpreter.mounts
    assert base.interpreter.python.is_relative_to(base.prefix)


def test_a_requirement_replaces_a_pin(environments: Environments) -> None:
    assert _versions(environments.ensure(["tinybase>1"]))["tinybase"] == "2.0"


def test_pins_that_stand_in_the_way_are_loosened(environments: Environments) -> None:
    assert _versions(environments.ensure(["newleaf"])) == {
        "leaf": "2.0", "newleaf": "1.0", "other": "3.0", "tinybase": "2.0",
    }  # fmt: skip


def test_the_same_requirements_in_another_spelling_are_found_in_milliseconds(environments: Environments) -> None:
    first = environments.ensure(["extra>=1", "tinybase"])
    took_s = []
    for spelling in (["TinyBase", "extra >= 1"], ["tinybase", "Extra>= 1"], ["extra >=1", "TINYBASE"]):
        started = time.perf_counter()
        assert environments.ensure(spelling) == first
        took_s.append(time.perf_counter() - started)
    assert min(took_s) < 0.1  # 0.02 on a machine that does nothing else


def test_known_requirements_need_no_index_and_a_restart_changes_nothing(make: Maker, wheels: Path) -> None:
    first = make().ensure(["extra"])
    shutil.rmtree(wheels)
    again = make().ensure(["extra"])
    assert again.id == first.id
    assert again.prefix == first.prefix


def test_a_lock_gives_the_same_environment_without_resolving(environments: Environments, wheels: Path) -> None:
    first = environments.ensure(["extra"])
    make_wheel(wheels, "extra", "2.0")
    assert environments.ensure([], lock=first.lock).id == first.id
    environments.purge(first.id)
    assert _versions(environments.ensure([], lock=first.lock))["extra"] == "1.0"


def test_after_a_purge_the_same_requirements_mean_todays_versions(environments: Environments, wheels: Path) -> None:
    first = environments.ensure(["extra"])
    make_wheel(wheels, "extra", "2.0")
    assert environments.ensure(["extra"]).id == first.id
    assert environments.purge(first.id)
    assert not environments.purge(first.id)
    assert _versions(environments.ensure(["extra"]))["extra"] == "2.0"


def test_a_package_that_is_not_the_locked_one_is_refused(environments: Environments, wheels: Path) -> None:
    lock = environments.ensure(["extra"]).lock
    changed = lock.replace("--hash=sha256:", "--hash=sha256:0000", 1)
    changed = "\n".join(line if "0000" not in line else line[:-4] for line in changed.splitlines())
    with pytest.raises(BuildFailed, match=r"could not be built|not the one that was locked"):
        environments.ensure([], lock=changed)
    assert len(environments.list()) == 1


def test_what_does_not_resolve_says_so_with_the_resolvers_reason(environments: Environments) -> None:
    with pytest.raises(ResolutionFailed, match=r"(?s)No set of package versions.*nosuch.*not found") as caught:
        environments.ensure(["nosuch>=1"])
    assert not caught.value.temporary


def test_progress_is_told_in_words(environments: Environments) -> None:
    lines: list[str] = []
    environments.ensure(["extra"], on_progress=lines.append)
    assert lines[0] == "resolving 1 requirements"
    assert lines[1] == "installing 4 packages"
    lines.clear()
    environments.ensure(["extra"], on_progress=lines.append)
    assert lines == []


def test_threads_that_ask_at_once_share_one_build(environments: Environments) -> None:
    lines: list[str] = []
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(environments.ensure, ["extra"], on_progress=lines.append) for _ in range(6)]
        found = {future.result().id for future in futures}
    assert len(found) == 1
    assert sum(line.startswith("installing") for line in lines) == 1
    assert sum(line.startswith("resolving") for line in lines) == 1


def test_processes_that_ask_at_once_share_one_build(home: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    lines = tmp_path / "lines"
    children = [_child(home, environ, lines) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert lines.read_text().count("installing") == 1


def test_a_build_killed_at_any_moment_leaves_nothing_half_made(
    home: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    for delay_s in (0.15, 0.4, 0.5, 0.6, 0.7, 0.9):
        child = _child(home, environ, tmp_path / "lines")
        time.sleep(delay_s)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    assert _child(home, environ, tmp_path / "lines").wait(60) == 0
    folder = home / "cache" / "environments"
    (built,) = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    assert (built / "about.json").exists()
    left = [entry for lane in (folder / ".work").iterdir() for entry in lane.iterdir() if entry.name != "cache"]
    assert left == []


_CHILD = f"""
import json, sys
from pathlib import Path
from modelyard.environments import Environments
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings
home, environ, lines = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
settings = Settings.load({{}}, home=Path(home))
def say(line):
    with lines.open("a") as file:
        file.write(line + "\\n")
Environments(settings, Sandbox(settings), environ=environ, base={BASE!r}).ensure(["extra"], on_progress=say)
"""


def _child(home: Path, environ: dict[str, str], lines: Path) -> "subprocess.Popen[bytes]":
    import json

    return subprocess.Popen([sys.executable, "-c", _CHILD, str(home), json.dumps(environ), str(lines)])


def test_a_held_environment_is_not_purged(environments: Environments) -> None:
    environment = environments.ensure(["extra"])
    with environment.hold(), environment.hold(), pytest.raises(EnvironmentInUse):
        environments.purge(environment.id)
    assert environments.purge(environment.id)
    with pytest.raises(EnvironmentGone), environment.hold():
        pass


def test_the_list_says_what_is_there(environments: Environments) -> None:
    environment = environments.ensure(["extra"])
    (about,) = environments.list()
    assert about.id == environment.id
    assert about.packages["extra"] == "1.0"
    assert about.size > 0


def test_an_environment_whose_python_is_gone_is_made_again(environments: Environments) -> None:
    environment = environments.ensure(["extra"])
    (environment.prefix / "bin" / "python").unlink()
    again = environments.ensure(["extra"])
    assert again.id == environment.id
    assert _python(again, "import extra; print(extra.VERSION)") == "1.0"


def test_modules_are_compiled_soon_and_shared_modules_once(environments: Environments) -> None:
    base = environments.base()
    assert environments.wait_for_bytecode(30)
    other = environments.ensure(["extra"])
    assert environments.wait_for_bytecode(30)
    one, two = (next(e.prefix.glob("lib/*/site-packages/__pycache__/tinybase.*.pyc")) for e in (base, other))
    assert one.samefile(two)
    assert list(other.prefix.glob("lib/*/site-packages/__pycache__/extra.*.pyc"))


def test_bytecode_that_a_killed_process_still_owed_is_made_by_the_next(make: Maker) -> None:
    earlier = make()
    base = earlier.base()
    assert earlier.wait_for_bytecode(30)
    for cache in base.prefix.glob("lib/*/site-packages/__pycache__"):
        shutil.rmtree(cache)
    (base.prefix.parent / "compiled").unlink()
    later = make()
    later.base()
    assert later.wait_for_bytecode(30)
    assert list(base.prefix.glob("lib/*/site-packages/__pycache__/tinybase.*.pyc"))


def test_the_files_of_an_environment_are_links_into_the_cache(environments: Environments) -> None:
    base = environments.base()
    (module,) = base.prefix.glob("lib/*/site-packages/tinybase.py")
    assert module.stat().st_nlink > 1


@pytest.fixture
def silent_index(environ: dict[str, str]) -> Iterator[None]:
    """An index that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        del environ["PIP_NO_INDEX"]
        environ["PIP_INDEX_URL"] = f"http://user:secret@127.0.0.1:{server.getsockname()[1]}/simple"
        yield


@pytest.mark.usefixtures("silent_index")
def test_a_build_ends_at_its_time_limit(make: Maker) -> None:
    with pytest.raises(BuildFailed, match=r"within 0\.5 seconds"):
        make(build_timeout_s=0.5).base()


@pytest.mark.usefixtures("silent_index")
def test_a_build_ends_when_cancelled(environments: Environments) -> None:
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(BuildFailed, match="cancelled"):
        environments.ensure(["extra"], cancelled=cancelled)


def test_with_the_sandbox_off_the_same_works_bare(make: Maker) -> None:
    environment = make(sandbox="off").ensure(["extra"])
    assert _python(environment, "import extra; print(extra.VERSION)") == "1.0"


def test_those_used_longest_ago_go_until_the_others_fit(environments: Environments) -> None:
    base, first, second = environments.base(), environments.ensure(["extra"]), environments.ensure(["newleaf"])
    for environment in (second, first):  # used in that order
        with environment.hold():
            pass
    sizes = {about.id: about.size for about in environments.list()}
    assert environments.evict(sum(sizes.values())) == 0
    assert environments.evict(sum(sizes.values()) - 1) == 1
    assert {about.id for about in environments.list()} == {base.id, first.id}
    with first.hold():
        assert environments.evict(0) == 0, "the base and what is in use stay"
    assert environments.evict(0) == 1
    again = environments.ensure((), lock=second.lock)
    assert again.id == second.id
