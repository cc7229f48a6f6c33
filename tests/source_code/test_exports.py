"""What the check of a source knows of the modules that it imports, and what it finds out about a module."""

import pytest

from modelyard.source_code.check import ModuleNames
from tests.source_code.conftest import Refusal, Report

MATHS = ModuleNames(names=["_hidden", "mean", "total"])


def names_of(report: Report, source: str, **more: object) -> ModuleNames:
    found = report(source, is_module=True, **more).contents
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = 1\ndef b(): c = 2\nclass D: e = 3\n", ["D", "a", "b"]),
        ("import os.path, json as j\nfrom math import sqrt as root\n", ["j", "os", "root"]),
        ("for i in range(3):\n    x, *y = [i]\nwith open('f') as f: pass\n", ["f", "i", "x", "y"]),
        ("def f():\n    global made\n    made = 1\n", ["f", "made"]),
        ("if (walrus := 1): pass\ntry:\n    1\nexcept ValueError as wrong:\n    pass\n", ["walrus", "wrong"]),
        ("[inner for inner in range(3)]\n", []),
    ],
)
def test_a_module_has_the_names_that_its_code_binds(report: Report, source: str, names: list[str]) -> None:
    assert names_of(report, source).names == names


@pytest.mark.parametrize(
    ("source", "exported"),
    [
        ("a = b = 1\n__all__ = ['a']\n", ["a"]),
        ("a = 1\n__all__ = ('a',)\n", ["a"]),
        ("a = 1\n__all__ = ['a']\n__all__ += ['b']\nb = 1\n", None),
        ("a = 1\n__all__ = [n for n in dir()]\n", None),
        ("a = 1\n", None),
    ],
)
def test_a_module_says_what_a_star_brings_where_it_says_it_plainly(
    report: Report, source: str, exported: list[str] | None
) -> None:
    assert names_of(report, source).exported == exported


@pytest.mark.parametrize("source", ["exec('x = 1')\n", "globals()['x'] = 1\n", "def __getattr__(name): return 1\n"])
def test_a_module_that_makes_names_as_it_runs_is_open(report: Report, source: str) -> None:
    assert names_of(report, source).is_open


def test_a_star_import_of_a_module_brings_its_names(report: Report) -> None:
    source = "from maths import *\n\ndef train(table):\n    return mean(table) + total(table)\n"
    found = report(source, 1, train="train", modules=["maths"], contents={"maths": MATHS})
    assert (found.warnings, found.module_dependencies) == ([], ["maths"])


@pytest.mark.parametrize("name", ["median", "_hidden"])
def test_a_name_that_no_star_import_brings_is_refused(refusal: Refusal, name: str) -> None:
    source = f"from maths import *\nx = {name}([1])\n"
    assert f"The name `{name}` is not defined" in refusal(source, modules=["maths"], contents={"maths": MATHS})


def test_a_star_import_of_something_unknown_leaves_doubt(report: Report) -> None:
    source = "from maths import *\nfrom numpy import *\nx = median([1])\n"
    (warning,) = report(source, modules=["maths"], contents={"maths": MATHS}).warnings
    assert "`from numpy import *` may bring it" in warning.message


def test_star_imports_are_followed_through_modules(report: Report, refusal: Refusal) -> None:
    contents = {"maths": MATHS, "more": ModuleNames(names=["mode"], stars=["maths", "more"])}
    report("from more import *\nx = mode, mean\n", modules=["maths", "more"], contents=contents)
    assert "`_hidden` is not defined" in refusal(
        "from more import *\nx = _hidden\n", modules=["maths", "more"], contents=contents
    )


def test_dunder_all_decides_what_a_star_brings(refusal: Refusal) -> None:
    contents = {"maths": ModuleNames(names=["mean", "total", "__all__"], exported=["mean"])}
    message = refusal("from maths import *\nx = mean, total\n", modules=["maths"], contents=contents)
    assert "1 problem" in message
    assert "`total`" in message


def test_a_name_that_a_module_lacks_is_refused_with_the_nearest(refusal: Refusal) -> None:
    message = refusal("from maths import maen\n", modules=["maths"], contents={"maths": MATHS})
    assert "The module `maths` defines no `maen`. Did you mean `mean`?" in message


@pytest.mark.parametrize("contents", [{}, {"maths": ModuleNames(names=[], is_open=True)}])
def test_a_module_that_is_open_or_unknown_may_have_any_name(report: Report, contents: dict[str, ModuleNames]) -> None:
    assert report("from maths import anything\n", modules=["maths"], contents=contents).warnings == []


def test_a_module_has_no_modules_in_it(refusal: Refusal) -> None:
    assert "`maths` is a module of one file" in refusal("import maths.stats\n", modules=["maths"])


def test_a_function_that_a_star_import_can_not_bring_is_missing(refusal: Refusal, report: Report) -> None:
    source = "from maths import *\n"
    known: dict[str, object] = {"modules": ["maths"], "contents": {"maths": MATHS}}
    assert "`train` is not in the source code" in refusal(source, train="train", **known)
    (warning,) = report(source, train="mean", **known).warnings
    assert "`from maths import *` may bring it" in warning.message


def test_a_module_may_import_what_its_users_require(report: Report, refusal: Refusal) -> None:
    (warning,) = report("import acme_core\n", is_module=True).warnings
    assert "Whatever imports this module must require what provides it." in warning.message
    assert "Did you mean `pandas`" in refusal("import pandsa\n", is_module=True)
    assert report("import catboost\n", is_module=True).inferred_requirements == ["catboost"]
