"""The sandbox as an ordinary user has it: no rights on the machine, no control group, only user namespaces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelyard

SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = 65534
SCRIPT = """
import json, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from modelyard.sandbox import Interpreter, Limits, Sandbox
from modelyard.settings import Settings
sandbox = Sandbox(Settings(home=Path({home!r}), warm_guests=0))
report = sandbox.report()
def run(source, **limits):
    message = {{'source': source, 'train_function': 'train'}}
    outcome = sandbox.run(Interpreter(Path('/usr/bin/python3'), ()), Limits(**limits), 'train', message, preload=(),
        collect=lambda guest, result: [file.name for file in guest.files()])
    return outcome.collected if outcome.error is None else outcome.error.kind
told = [report.mode, run('def train(): open("x", "w").close()'),
    run('import os\\ndef train(): assert os.getuid() == 65534 and not os.path.exists("{home}")'),
    run('def train(): x = [bytearray(10**7) for _ in range(500)]', memory_gib=0.25),
    run('import time\\ndef train(): time.sleep(60)', timeout_s=0.5)]
sandbox.close()
print(json.dumps(told))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the other tests this way already")
def test_an_ordinary_user_has_walls_and_limits_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(SYSTEM_PYTHON), "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, check=False
    )
    if done.stdout.decode().split() != [str(part) for part in sys.version_info[:2]]:
        pytest.skip("there is no Python of this version outside of the superuser's home")
    home = Path("/tmp") / f"modelyard-rootless-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    paths = [str(Path(modelyard.__file__).parents[1]), packages]
    try:
        told = subprocess.run(
            [str(SYSTEM_PYTHON), "-c", SCRIPT.format(paths=paths, home=str(home))],
            user=NOBODY, group=NOBODY, extra_groups=[], env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == ["rootless", ["x"], [], "memory", "timeout"]
