"""A home, a folder of wheels, and a house's environments on top of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.environments import Environments
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings
from tests.environments.packages import make_wheel

#: What stands in for base.txt: one package that pins another.
BASE = "tinybase==1.0\nother==2.0\n# carried along\nleaf==1.0\n"

Maker = Callable[..., Environments]


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder that holds the wheels of BASE in several versions."""
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        make_wheel(folder, "tinybase", version, requires=["leaf"])
        make_wheel(folder, "leaf", version)
    make_wheel(folder, "other", "2.0", requires=["leaf<2"])
    make_wheel(folder, "other", "3.0", requires=["leaf>=2"])
    make_wheel(folder, "extra", "1.0")
    make_wheel(folder, "newleaf", "1.0", requires=["leaf>=2"])
    return folder


@pytest.fixture
def environ(tmp_path: Path, wheels: Path) -> dict[str, str]:
    """Variables of a machine whose only source of packages is that folder."""
    return {"PIP_CONFIG_FILE": "/dev/null", "HOME": str(tmp_path), "PIP_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}


@pytest.fixture
def make(tmp_path: Path, environ: dict[str, str]) -> Maker:
    """Makes the environments of a process; called twice, it stands for a restart."""

    def make_environments(**overrides: object) -> Environments:
        settings = Settings.load({}, home=tmp_path / "home", **overrides)
        return Environments(settings, Sandbox(settings), environ=environ, base=BASE)

    return make_environments


@pytest.fixture
def environments(make: Maker) -> Environments:
    return make()
