"""One checker for all tests of the room, short ways to ask it, and a house without an agent."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import ConflictError
from modelyard.settings import Settings
from modelyard.source_code.check import Checker, CheckReport, CheckRequest
from tests.yard import Yard

Report = Callable[..., CheckReport]
Refusal = Callable[..., str]
PREDICT = "\ndef predict(model, query):\n    return 1\n"


@pytest.fixture(scope="session")
def checker() -> Iterator[Checker]:
    part = Checker(Settings(home=Path("/nonexistent")))
    yield part
    part.close()


@pytest.fixture(scope="module")
def desk() -> Iterator[Yard]:
    """A gateway alone, shared by a module's tests: nothing here is run."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    with Yard(Settings.load({}, home=folder, port=0), with_agent=False) as opened:
        yield opened
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def report(checker: Checker) -> Report:
    """The report on a source; `train="fit"` and the like name its functions."""

    def ask(source: str, table_count: int = 0, **given: object) -> CheckReport:
        return checker.check(_request(source, table_count, given))

    return ask


@pytest.fixture
def refusal(report: Report) -> Refusal:
    """The message with which a source is refused."""

    def ask(source: str, table_count: int = 0, **given: object) -> str:
        with pytest.raises(ConflictError) as caught:
            report(source, table_count, **given)
        assert caught.value.status == 409
        return caught.value.message

    return ask


def _request(source: str, table_count: int, given: Mapping[str, object]) -> CheckRequest:
    roles = ("train", "predict", "predict_many", "initialize", "function")
    functions = {role: str(given[role]) for role in roles if role in given}
    rest: dict[str, Any] = {
        key: tuple(value) for key, value in given.items() if key not in roles and isinstance(value, list | tuple)
    }
    rest |= {key: given[key] for key in ("contents", "is_module") if key in given}
    return CheckRequest(source=source, functions=functions, table_count=table_count, **rest)
