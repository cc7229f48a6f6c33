"""Houses without an agent, for what models are told: fast, since nothing is trained."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from modelyard.settings import Settings
from tests.connectors.conftest import buckets as buckets
from tests.yard import Yard


@pytest.fixture(scope="module")
def desk() -> Iterator[Yard]:
    """A gateway alone, shared by a module's tests."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    with Yard(Settings.load({}, home=folder, port=0), with_agent=False) as opened:
        yield opened
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def desk_on(settings: Settings, database_url: str) -> Iterator[Yard]:
    """A gateway alone, once on each kind of database."""
    with Yard(msgspec.structs.replace(settings, database_url=database_url), with_agent=False) as opened:
        yield opened
