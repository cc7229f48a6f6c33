"""Undefined names, and imports that nothing provides."""

from pathlib import Path

import pytest

import modelyard
from modelyard.source_code import distributions
from tests.source_code.conftest import Refusal, Report


def test_an_undefined_name_is_refused_with_its_place(refusal: Refusal) -> None:
    message = refusal("def train(a):\n    é = 1; return é, sum(a) + missing\n")
    assert message == (
        "The source code is invalid: 1 problem.\n"
        "line 2, column 31: The name `missing` is not defined. Define it, import it (inside the function or at the top "
        "of the source), or correct its spelling.\n"
        "        é = 1; return é, sum(a) + missing\n" + " " * 34 + "^"
    )


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("np", "import numpy as np"),
        ("pd", "import pandas as pd"),
        ("plt", "import matplotlib.pyplot as plt"),
        ("json", "import json"),
        ("catboost", "import catboost"),
        ("CatBoostRegressor", "from catboost import CatBoostRegressor"),
        ("train_test_split", "from sklearn.model_selection import train_test_split"),
    ],
)
def test_a_name_from_a_notebook_s_imports_is_told_how_to_come_along(
    refusal: Refusal, name: str, statement: str
) -> None:
    message = refusal(f"def train(a):\n    return {name}(a)\n")
    assert f"Add `{statement}` inside the function or at the top of the source." in message


def test_a_name_that_is_missing_everywhere_is_said_once(refusal: Refusal) -> None:
    message = refusal("def train(a):\n    return np.sum(a), np.mean(a), np.max(a)\n")
    assert "1 problem." in message
    assert "The name `np` is not defined (here and in 2 more places)." in message


def test_names_of_builtins_in_another_case_are_suggested(refusal: Refusal) -> None:
    assert "Did you mean `True`?" in refusal("x = true\n")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from math import *\nx = sqrt(1)\n", "`from math import *` may bring it"),
        ("__all__ = ['gone']\n", "only `__all__` names it"),
        ("x: 'Gone' = 1\n", "not evaluated"),
        ("from __future__ import annotations\ndef f(a: Gone): pass\n", "not evaluated"),
        ("exec('y = 1')\nx = y\n", "makes names at run time"),
        ("x = 1\ndef f():\n    print(x)\n    x = 2\n    return x\n", "is assigned further down"),
    ],
)
def test_a_name_that_may_be_there_is_a_warning(report: Report, source: str, said: str) -> None:
    (warning,) = report(source).warnings
    assert said in warning.message


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    unicode\nexcept NameError:\n    unicode = str\n",
        "def f():\n    global made\n    made = 1\ndef g():\n    return made\n",
        "print(__name__, __file__)\n",
        "def f():\n    return later()\ndef later():\n    return 1\n",
        "class A:\n    x = 1\n    y = x\n",
        "x = [i for i in range(3) if (j := i)]\nprint(j)\n",
    ],
)
def test_names_that_python_finds_are_found(report: Report, source: str) -> None:
    assert report(source).warnings == []


def test_a_name_that_exists_for_type_checkers_only_is_undefined(report: Report, refusal: Refusal) -> None:
    top = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas as pd\n"
    assert "line 4, column 10: The name `pd` is not defined" in refusal(top + "def f(a: pd.DataFrame): pass\n")
    assert "line 5, column 12: " in refusal(top + "def f():\n    return pd.DataFrame()\n")
    report("from __future__ import annotations\n" + top + "def f(a: pd.DataFrame): pass\n")
    report(top + "def f(a: 'pd.DataFrame'): pass\n")


def test_an_undefined_name_is_found_in_large_sources_too(report: Report, refusal: Refusal) -> None:
    filler = "".join(f"def f_{number}(a):\n    return sorted(a)[{number}]\n" for number in range(5000))
    report(filler)
    assert "line 10002, column 12: The name `gone` is not defined" in refusal(filler + "def g():\n    return gone\n")


def test_an_import_that_nothing_provides_is_refused(refusal: Refusal) -> None:
    message = refusal("def train():\n    import private_toolbox.core as core\n    return core\n")
    assert "line 2, column 5: Nothing provides `private_toolbox`" in message
    assert "for example `private-toolbox`" in message
    assert "Did you mean `scipy`" in refusal("import scippy\n")


def test_the_standard_library_the_base_packages_and_modules_are_there(report: Report) -> None:
    source = "import json, numpy.linalg, sklearn.svm\nfrom dateutil import parser\nfrom ours import *\nimport ours\n"
    found = report(source, modules=["ours", "unused"])
    assert found.module_dependencies == ["ours"]
    assert found.imports == ["dateutil", "json", "numpy", "ours", "sklearn"]
    assert found.inferred_requirements == []


@pytest.mark.parametrize(
    ("statement", "requirement"),
    [
        ("import requests_toolbelt", "requests-toolbelt"),
        ("import cv2", "opencv-python==4.*"),
        ("import yaml", "PyYAML"),
        ("import sklearn_pandas", "Sklearn.Pandas>=1"),
        ("from google.cloud import spanner", "google-cloud-spanner"),
        ("import dateutil_x", "python-dateutil-x"),
        ("import pkg_resources", "setuptools"),
    ],
)
def test_what_a_requirement_provides_is_there(report: Report, statement: str, requirement: str) -> None:
    found = report(statement + "\n", requirements=[requirement])
    assert found.warnings == []
    assert found.inferred_requirements == []


@pytest.mark.parametrize(
    ("statement", "distribution"),
    [
        ("import catboost", "catboost"),
        ("import xgboost as xgb", "xgboost"),
        ("from lightgbm import LGBMRegressor", "lightgbm"),
        ("import torch.nn as nn", "torch"),
        ("import statsmodels.api as sm", "statsmodels"),
        ("import cv2", "opencv-python-headless"),
        ("from PIL import Image", "pillow"),
        ("import yaml", "PyYAML"),
        ("import bs4", "beautifulsoup4"),
        ("from google.cloud import storage", "google-cloud-storage"),
    ],
)
def test_a_well_known_import_becomes_an_inferred_requirement(report: Report, statement: str, distribution: str) -> None:
    found = report(statement + "\n" + statement + "\n")
    assert found.inferred_requirements == [distribution]
    message = found.publishing_msg
    assert message["inferredRequirements"] == [distribution]
    assert isinstance(message["warnings"], list)
    assert message["warnings"][0]["line"] == 1
    assert f"`{distribution}` is added to the environment" in message["warnings"][0]["message"]


def test_an_import_whose_requirement_is_not_known_is_a_warning(report: Report, refusal: Refusal) -> None:
    (warning,) = report("import acme_core\n", requirements=["acme-suite"]).warnings
    assert "It is not known whether `acme-suite` provides `acme_core`" in warning.message
    assert "Nothing provides `acme_core`" in refusal("import acme_core\n", requirements=["catboost", "numpy"])


def test_a_requirement_whose_marker_leaves_it_out_provides_nothing(refusal: Refusal) -> None:
    message = refusal("import acme\n", requirements=["acme; sys_platform == 'win32'"])
    assert "The marker of the requirement `acme; sys_platform == 'win32'` leaves it out here." in message


@pytest.mark.parametrize("caught", ["ImportError", "ModuleNotFoundError", "Exception", "(OSError, ImportError)", ""])
def test_an_import_whose_failure_is_caught_is_a_warning(report: Report, caught: str) -> None:
    found = report(f"try:\n    import catboost, acme\nexcept {caught}:\n    catboost = acme = None\n")
    assert [warning.line for warning in found.warnings] == [2, 2]
    assert found.inferred_requirements == []


def test_an_import_whose_failure_is_not_caught_is_refused(refusal: Refusal) -> None:
    assert "Nothing provides `acme`" in refusal("try:\n    import acme\nexcept KeyError:\n    pass\n")
    assert "Nothing provides `acme`" in refusal(
        "try:\n    def f():\n        import acme\nexcept ImportError:\n    f = 1\n"
    )


def test_imports_that_never_run_do_not_matter(report: Report) -> None:
    source = "import typing\nif typing.TYPE_CHECKING:\n    import acme\nif __name__ == '__main__':\n    import acme\n"
    assert report(source).publishing_msg == {}


def test_an_import_under_a_condition_is_a_warning(report: Report) -> None:
    (warning,) = report("import sys\nif sys.argv:\n    import acme\n").warnings
    assert "under a condition" in warning.message


def test_relative_imports_are_refused(refusal: Refusal) -> None:
    message = refusal("from . import a\nfrom .b import c\n")
    assert message.count("Relative imports can't work") == 2


def test_the_base_packages_are_those_that_every_environment_holds() -> None:
    pins = (Path(modelyard.__file__).parent / "environments" / "base.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].strip() for line in pins if line and not line.startswith("#")}
    assert pinned == set(distributions.BASE)


def test_the_curated_table_knows_the_usual_names() -> None:
    assert len(distributions.DISTRIBUTIONS) >= 150
    assert distributions.distribution_of("PIL.Image") == "pillow"
    assert distributions.names_of("Opencv_Python") == ("cv2",)
    assert distributions.names_of("nobody-knows-this") is None
