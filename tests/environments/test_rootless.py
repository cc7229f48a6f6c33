"""The same build by a platform that is not root: another way to build the walls, the same environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import modelyard
from tests.environments.packages import make_wheel

pytestmark = pytest.mark.sandbox

NOBODY = 65534
PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")

CODE = """
import json, sys
from pathlib import Path
from modelyard.environments import Environments
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings
home, environ = Path(sys.argv[1]), json.loads(sys.argv[2])
settings = Settings.load({}, home=home / "state")
sandbox = Sandbox(settings)
environments = Environments(settings, sandbox, environ=environ, base="leaf==1.0\\n")
environment = environments.ensure(["extra"])
environments.wait_for_bytecode(30)
compiled = sorted(path.name.partition(".")[0] for path in environment.prefix.glob("lib/*/site-packages/__pycache__/*"))
print(json.dumps([sandbox.report().mode, compiled]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests are rootless already")
@pytest.mark.skipif(not PYTHON.exists(), reason="needs a Python of this version that every user may run")
def test_an_ordinary_user_builds_environments_too(home: Path) -> None:
    wheels = home / "wheels"
    make_wheel(wheels, "leaf", "1.0")
    make_wheel(wheels, "extra", "1.0")
    for path in (home, wheels, *wheels.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    environ = {"PIP_CONFIG_FILE": "/dev/null", "HOME": str(home), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    folders = [Path(module.__file__ or "").parent.parent for module in (modelyard, msgspec)]
    done = subprocess.run(
        [str(PYTHON), "-c", CODE, str(home), json.dumps(environ)],
        env={"PYTHONPATH": ":".join(map(str, folders)), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/", user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "PermissionError" in done.stderr or "No module named" in done.stderr:
        pytest.skip("this checkout is not readable for other users")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["rootless", ["extra", "leaf"]]
