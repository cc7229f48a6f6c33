"""The quick look for unbound names in bytecode agrees with pyflakes."""

import ast
import sysconfig
from pathlib import Path

import pytest

from modelyard.source_code.loads import loads_unbound
from modelyard.source_code.names import find_undefined
from modelyard.source_code.parsing import Lines
from modelyard.source_code.statements import walk

LIBRARY = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-d]*.py"))


@pytest.mark.parametrize(
    "source",
    [
        "gone",
        "def f():\n    return gone\n",
        "class A:\n    def f(self):\n        return [gone for _ in self]\n",
        "class A:\n    x = 1\n    def f(self):\n        return x\n",
        "".join(f"print(a{number})\n" for number in range(300)).replace("a0", "b0") + "a299 = 1\n",
        "from math import *\n",
    ],
)
def test_unbound_names_are_seen(source: str) -> None:
    assert loads_unbound(compile(source, "<test>", "exec"))


@pytest.mark.parametrize(
    "source",
    [
        "import os\ndef f(a):\n    return os.gone, a.gone, len(a)\n",
        "class A:\n    x = 1\n    y = x\n",
        "def f():\n    global made\n    made = 1\ndef g():\n    return made\n",
        "".join(f"a{number} = {number}\n" for number in range(600)) + "def f():\n    return a599\n",
        "print(__name__, __file__, __doc__)",
    ],
)
def test_bound_names_are_not(source: str) -> None:
    assert not loads_unbound(compile(source, "<test>", "exec"))


def test_where_it_says_no_pyflakes_finds_nothing() -> None:
    quick = 0
    for path in LIBRARY:
        source = path.read_text(errors="replace")
        tree = ast.parse(source)
        if not loads_unbound(compile(tree, "<test>", "exec")):
            quick += 1
            errors, _ = find_undefined(tree, walk(tree), Lines(source), {})
            assert errors == [], path
    assert quick > len(LIBRARY) * 0.7  # the others have star imports
