"""Execution while an environment is built: hostile packages that try to leave the build, and what they find.

Attack classes: argument injection; execution at build time; archive slip; code that runs at a Python's start.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.environments import BuildFailed, Environments, ResolutionFailed
from tests.environments.conftest import Maker
from tests.environments.packages import make_sdist, make_wheel

pytestmark = pytest.mark.sandbox

#: A build backend that looks around and puts what it found into the wheel that it builds.
HOSTILE = """
import json, os, socket, sys, zipfile
ROOT, PORT = {root!r}, {port}
OWN = "/" + os.environ["TMPDIR"].split("/.work/sources-65534/")[1].split(".")[0]

def attempt(act):
    try:
        return repr(act())[:300]
    except BaseException as error:
        return "refused: " + type(error).__name__

def tree(folder):
    return [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]

def write(path):
    with open(path, "w") as file:
        file.write("owned")
    return "written"

def look_around():
    parent = os.getppid()
    return {{
        "database": attempt(lambda: open(ROOT + "/home/modelyard.db").read()),
        "key": attempt(lambda: open(ROOT + "/home/admin.key").read()),
        "outside": attempt(lambda: open(ROOT + "/secret.txt").read()),
        "variables": json.dumps(dict(os.environ)),
        "parents": attempt(lambda: open(f"/proc/{{parent}}/environ").read()),
        "processes": [pid for pid in os.listdir("/proc") if pid.isdigit()],
        "home": [path for path in tree(ROOT + "/home") if "/.work/" not in path],
        "work": [path for path in tree(ROOT + "/home/environments/.work") if OWN not in path],
        "write_home": attempt(lambda: write(ROOT + "/home/environments/evil")),
        "write_resolution": attempt(lambda: write(ROOT + "/home/environments/.resolutions/evil.txt")),
        "write_cache": attempt(lambda: write(ROOT + "/home/environments/.work/wheels-65534/cache/evil")),
        "write_wheels": attempt(lambda: write(ROOT + "/wheels/extra-9.0-py3-none-any.whl")),
        "write_root": attempt(lambda: write("/usr/evil")),
        "python": attempt(lambda: write(os.path.join(sys.base_prefix, "evil"))),
        "tracing": attempt(lambda: __import__("ctypes").CDLL(None).ptrace(16, parent, 0, 0)),
        "uid": os.getuid(),
        "network": attempt(lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
        "groups": os.getgroups(),
    }}

FOUND = look_around()

def build_wheel(directory, config=None, metadata=None):
    name = "hostile-1.0-py3-none-any.whl"
    about = "hostile-1.0.dist-info/"
    files = {{
        "found.json": json.dumps(FOUND),
        about + "METADATA": "Metadata-Version: 2.1\\nName: hostile\\nVersion: 1.0\\n",
        about + "WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    files[about + "RECORD"] = "".join(f"{{path}},,\\n" for path in [*files, about + "RECORD"])
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """A service of the host's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def hostile(tmp_path: Path, wheels: Path, listener: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A platform with secrets, and a source distribution that is after them."""
    (tmp_path / "home").mkdir()
    for name in ("home/modelyard.db", "home/admin.key", "secret.txt"):
        (tmp_path / name).write_text("top secret")
    monkeypatch.setenv("MODELYARD_DATABASE_URL", "postgresql://user:top-secret@host/db")
    return make_sdist(wheels, "hostile", "1.0", HOSTILE.format(root=str(tmp_path), port=listener))


def test_wheels_only_never_runs_a_source_distribution(environments: Environments, hostile: Path) -> None:
    with pytest.raises(ResolutionFailed, match="ready-built wheel"):
        environments.ensure(["hostile"])
    assert environments.list() == []


def test_a_hostile_build_finds_nothing_and_reaches_nothing(make: Maker, hostile: Path, tmp_path: Path) -> None:
    environments = make(wheels_only=False)
    other = environments.ensure(["extra"])
    environment = environments.ensure(["hostile"])
    (file,) = environment.prefix.glob("lib/*/site-packages/found.json")
    found = json.loads(file.read_text())
    refused = {"database", "key", "outside", "write_home", "write_resolution", "write_cache", "write_wheels",
               "write_root", "python", "network"}  # fmt: skip
    assert {name: found[name] for name in refused if not found[name].startswith("refused")} == {}
    assert "secret" not in json.dumps(found)
    assert found["tracing"] == "-1"
    assert found["home"] == [] == found["work"], "no other environment, no other build, no cache of others"
    assert found["uid"] == 65534
    assert found["groups"] in ([], [65534])
    assert len(found["processes"]) < 10
    assert other.prefix.is_dir()
    assert not list(tmp_path.rglob("evil*"))


def test_a_build_from_source_leaves_no_trace_in_the_shared_cache(make: Maker, hostile: Path, tmp_path: Path) -> None:
    environments = make(wheels_only=False)
    environments.ensure(["hostile"])
    names = [path.name for path in (tmp_path / "home/environments/.work").rglob("*hostile*")]
    assert [name for name in names if not name.endswith((".rkyv", ".lock", ".msgpack"))] == []
    (module,) = environments.ensure(["hostile"]).prefix.glob("lib/*/site-packages/tinybase.py")
    shared = (tmp_path / "home/environments/.work").glob("wheels-*/cache/archive-*/*/tinybase.py")
    assert not any(module.samefile(path) for path in shared)


def test_links_left_by_a_build_are_not_followed(make: Maker, wheels: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    escape = f"""
import os
def build_wheel(directory, config=None, metadata=None):
    made = os.environ["TMPDIR"]
    os.rename(made + "/prefix", made + "/was")
    os.symlink({str(victim)!r}, made + "/prefix")
    raise SystemExit(1)
"""
    make_sdist(wheels, "escape", "1.0", escape)
    with pytest.raises((BuildFailed, ResolutionFailed)):
        make(wheels_only=False).ensure(["escape"])
    assert list(victim.iterdir()) == []
    assert victim.is_dir()


def test_a_wheel_with_paths_that_climb_out_writes_nothing_outside(
    environments: Environments, wheels: Path, tmp_path: Path
) -> None:
    climb = {
        "../../../../../../evil1.py": "x = 1",
        "/evil2.py": "x = 1",
        "climb-1.0.data/data/../../../../evil3.py": "x = 1",
        "climb-1.0.data/scripts/../../../evil4": "#!python\n",
        "climb.py": "x = 1",
    }
    make_wheel(wheels, "climb", "1.0", climb)
    try:
        environment = environments.ensure(["climb"])
    except (BuildFailed, ResolutionFailed):
        return
    inside = environment.prefix.resolve()
    found = [path for path in tmp_path.rglob("evil*") if not path.resolve().is_relative_to(inside)]
    assert [path for path in found if "/cache/" not in str(path)] == []
    assert not list(Path("/").glob("evil*"))


def test_files_that_run_at_a_pythons_start_do_not_run_on_the_host(
    environments: Environments, wheels: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    code = (
        f"import os; os.environ.get('SHOULD_RUN') and open({str(mark)!r}, 'w').write('x'); open({str(mark)!r}, 'a')\n"
    )
    make_wheel(wheels, "startup", "1.0", {"startup.pth": code, "sitecustomize.py": code, "startup.py": "x = 1\n"})
    environment = environments.ensure(["startup"])
    assert environments.wait_for_bytecode(30)
    assert list(environment.prefix.glob("lib/*/site-packages/__pycache__/startup.*.pyc"))
    environments.list()
    environments.ensure([], lock=environment.lock)
    assert not mark.exists()
    subprocess.run([environment.interpreter.python, "-c", ""], check=True)
    assert mark.exists(), "the trap works where it is allowed to"


@pytest.mark.parametrize("text", ["--index-url=http://127.0.0.1:9/", "-r /etc/passwd", "extra @ file:///etc/passwd"])
def test_a_requirement_never_becomes_an_option(environments: Environments, text: str) -> None:
    with pytest.raises(ResolutionFailed):
        environments.ensure([text])


def test_credentials_of_an_index_show_nowhere(make: Maker, environ: dict[str, str], tmp_path: Path) -> None:
    del environ["PIP_NO_INDEX"]
    environ["PIP_INDEX_URL"] = "http://user:t0psecret@127.0.0.1:9/simple"
    environ["UV_HTTP_RETRIES"] = "0"
    seen: list[str] = []
    with pytest.raises(ResolutionFailed, match="did not answer") as caught:
        make().ensure(["extra"], on_progress=lambda line: seen.append(line + _arguments()))
    assert caught.value.temporary
    assert "t0psecret" not in caught.value.message + "".join(seen)
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and b"t0psecret" in path.read_bytes()]
    assert left == []


def _arguments() -> str:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                lines.append((entry / "cmdline").read_text(errors="replace"))
            except OSError:
                continue
    return "".join(lines)
