"""The real base packages, from the index that this machine is configured for, and guests that import them."""

import subprocess
from pathlib import Path

import pytest

from modelyard.environments import Environment, Environments
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings

pytestmark = [pytest.mark.sandbox, pytest.mark.network]

_IMPORTS = (
    "import pandas, numpy, scipy, sklearn, pyarrow, polars, cloudpickle, joblib, msgspec, duckdb, fastavro, dateutil, "
    "pytz, requests; "
)


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    settings = Settings.load({}, home=Path(tmp_path_factory.mktemp("home")))
    return Environments(settings, Sandbox(settings))


def _python(environment: Environment, code: str) -> str:
    command = [str(environment.interpreter.python), "-B", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_base_packages_resolve_and_import(environments: Environments) -> None:
    base = environments.base()
    assert _python(base, _IMPORTS + "print(pandas.__version__)").startswith("3.")


def test_pandas_2_leaves_the_rest_alone(environments: Environments) -> None:
    environment = environments.ensure(["pandas<3"])
    assert _python(environment, _IMPORTS + "print(pandas.__version__)").startswith("2.")
    others = {line for line in environments.base().lock.splitlines() if "==" in line and not line.startswith("pandas")}
    assert others <= set(environment.lock.splitlines())


def test_pandas_1_comes_with_a_numpy_that_it_can_use(environments: Environments) -> None:
    environment = environments.ensure(["pandas<2"])
    assert _python(environment, "import pandas; print(pandas.DataFrame({'a': [1]}).a.sum())") == "1"
