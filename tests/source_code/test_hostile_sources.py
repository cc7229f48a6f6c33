"""Sources made to run, to hang or to kill: none runs, and the checker answers each and the next one.

Cases of the kind that code validators fell to, among them CVE-2025-3248 (a validator that executed decorators and
default values while it looked at them).
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.errors import ConflictError
from modelyard.settings import Settings
from modelyard.source_code.check import Checker, CheckRequest
from tests.source_code.conftest import Refusal, Report

DEEP = 100_000


@pytest.fixture(autouse=True)
def still_answers(checker: Checker) -> Iterator[None]:
    yield
    started = time.monotonic()
    checker.check(CheckRequest(source=f"x = {time.monotonic()}\n"))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "template",
    [
        "{touch}\n",
        "@{touch}\ndef train(): pass\n",
        "@(lambda f: {touch})\nclass A: pass\n",
        "def train(a={touch}): pass\n",
        "def train(*, a={touch}): pass\n",
        "def train(a: {touch}) -> {touch}: pass\n",
        "x: {touch} = 1\n",
        'x: "{touch}" = 1\n',
        "class A:\n    {touch}\n",
        "class A({touch}): pass\n",
        "class Meta(type):\n    def __prepare__(*a): {touch}; return dict()\nclass A(metaclass=Meta): pass\n",
        "class A(metaclass=lambda *a: {touch}): pass\n",
        "import __main__\nf = f'{{{touch}}}'\n",
        "exec(__import__('base64').b64decode(''))\n{touch}\n",
        "[{touch} for _ in range(1)]\n",
        "import this\nassert {touch}, {touch}\n",
        "def train():\n    {touch}\ntrain()\n",
        "with {touch}: pass\n",
        "del globals()[{touch}]\n",
        "__all__ = [{touch}]\n__all__ += [{touch}]\n",
        "match {touch}:\n    case _: pass\n",
        "'%s %(a)s' % {touch}\n'{{}}'.format({touch})\n",
        "# coding: raw_unicode_escape\n# \\u000a{touch}\n",
        "def f(a):\n    # type: ({touch}) -> {touch}\n    pass\n",
    ],
)
def test_no_part_of_a_source_is_executed(report: Report, tmp_path: Path, template: str) -> None:
    canary = tmp_path / "canary"
    source = template.format(touch=f"__import__('pathlib').Path({str(canary)!r}).touch()".replace('"', "'"))
    try:
        report(source, train="train")
    except ConflictError as error:
        assert "invalid" in error.message  # noqa: PT017  some are refused, and that is as good
    assert not canary.exists()


def test_an_import_of_a_source_is_not_followed(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "canary_module.py").write_text("import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()\n")
    refusal(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport canary_module\n")
    assert not (tmp_path / "canary_module.ran").exists()


@pytest.mark.parametrize(
    "source",
    [
        "(" * DEEP + ")" * DEEP,
        "[" * DEEP + "]" * DEEP,
        "{1:" * DEEP + "1" + "}" * DEEP,
        "x[" * DEEP + "0" + "]" * DEEP,
        "f(" * DEEP + ")" * DEEP,
        "-" * DEEP + "1",
        "not " * DEEP + "1",
        "lambda: " * DEEP + "1",
        "1" + "+1" * DEEP,
        "1" + "**1" * DEEP,
        "x" + ".x" * DEEP,
        "x" + "()" * DEEP,
        "1 if 1 else " * DEEP + "1",
        "if 1: pass\n" + "elif 1: pass\n" * DEEP + "else: pass\n",
        "".join(" " * depth + "if 1:\n" for depth in range(99)) + " " * 99 + "pass\n",
        "".join(" " * depth + "def f():\n" for depth in range(99)) + " " * 99 + "pass\n",
        "".join(" " * depth + "for i in x:\n" for depth in range(30)) + " " * 30 + "pass\n",
        "x = " + "f'{" * 200 + "1" + "}'" * 200,
        "x = " + "f'{x:" * 200 + "}'" * 200,
        "x = [" + "[x for x in " * 3000 + "y" + "]" * 3000 + "]",
        "match 1:\n    case " + "[" * 150 + "]" * 150 + ": pass\n",
        "x: '" + "(" * DEEP + "' = 1\n",
        "x: '" + "-" * DEEP + "1' = 1\n",
        "x: '" + "a." * DEEP + "a' = 1\n",
        "x = " + "9" * 1_000_000,
        "x = 0x" + "f" * 1_000_000,
        "x = 1e" + "9" * 1_000_000,
        "import " + "a." * 20_000 + "a",
        "from " + "." * DEEP + " import a",
        "def " + "f" * 1_000_000 + "(): pass\n",
        "x = '\\N{" + "A" * 100_000 + "}'",
        "def f(" + ", ".join(f"a{number}" for number in range(50_000)) + "): pass\n",
        "\\\n" * DEEP,
        "\x0c" * DEEP,
        "#" * 5_000_000,
        "\N{ZERO WIDTH JOINER}\u202e\ufeff",
    ],
    ids=lambda source: repr(source[:12]),
)
def test_a_deep_or_huge_source_gets_an_answer_in_time(checker: Checker, source: str) -> None:
    started = time.monotonic()
    try:
        checker.check(CheckRequest(source=source, functions={"train": "f"}))
    except ConflictError as error:
        assert len(error.message) < 10_000  # noqa: PT017  an answer may be either, but it must be short
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("source", ["x = 9**9**9\n", "x = 'a' * 10**9\n", "x = (1,) * 10**9\n", "x = 1 << 10**10\n"])
def test_the_compiler_does_not_work_out_huge_constants(report: Report, source: str) -> None:
    started = time.monotonic()
    report(source)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("text", ["x = '\ud800'\n", "\udcff", "# \udfff\n"])
def test_half_a_surrogate_pair_is_refused(refusal: Refusal, text: str) -> None:
    assert "half of a surrogate pair" in refusal("a = 1\n" + text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_text_in_another_encoding_is_refused_or_harmless(checker: Checker, encoding: str) -> None:
    garbled = "x = 'é'\n".encode(encoding).decode("latin-1")
    try:
        checker.check(CheckRequest(source=garbled))
    except ConflictError as error:
        assert "invalid" in error.message  # noqa: PT017


def test_a_hundred_thousand_functions_get_an_answer(checker: Checker) -> None:
    try:
        checker.check(CheckRequest(source="".join(f"def f{number}(): pass\n" for number in range(100_000))))
    except ConflictError as error:
        assert "longer than" in error.message  # noqa: PT017  on a slow machine


def test_a_source_of_ten_megabytes_gets_an_answer() -> None:
    checker = Checker(Settings(home=Path("/nonexistent"), check_timeout_s=4))
    line = "    total = total + values[3] * 17  # add it\n"
    source = "def train(values, total):\n" + line * (10 * 1024**2 // len(line) - 1)
    try:
        checker.check(CheckRequest(source=source, functions={"train": "train"}, table_count=2))
    except ConflictError as error:
        assert "too large" in error.message  # noqa: PT017
    finally:
        checker.close()


def test_a_source_over_the_limit_is_refused_unread() -> None:
    checker = Checker(Settings(home=Path("/nonexistent"), source_limit=1000))
    with pytest.raises(ConflictError, match=r"2,000 bytes, more than the limit of 1,000"):
        checker.check(CheckRequest(source="#" * 2000))
    assert checker.pids == []


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n" * 40_000,
        "def f(): pass\n" * 5_000,  # more of them, and CPython's own compiler takes quadratic time
        "try: pass\nexcept A: pass\n" * 10_000,
        "import os\n" * 20_000,
        "".join(f"import unheard_of_{number}\n" for number in range(5_000)),
        "x = y" + " = y" * 20_000,
        "'{}'.format(1)\n" * 20_000,
        "'" + "%s" * 50_000 + "' % (1,)\n",
        "'" + "{" * 100_000 + "'.format(1)\n",
        "__all__ = ['a'] + ['b']\n" * 5_000,
        "if a:\n  x = 1\nelse:\n  x = 2\n" * 10_000,
    ],
    ids=lambda source: repr(source[:12]),
)
def test_repetition_does_not_make_the_check_quadratic(checker: Checker, source: str) -> None:
    started = time.monotonic()
    try:
        checker.check(CheckRequest(source=source + "gone\n"))
    except ConflictError as error:
        assert "problem" in error.message  # noqa: PT017
    assert time.monotonic() - started < 9
