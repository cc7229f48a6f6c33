"""Rules of the house that ruff and import-linter can't hold: sizes, names, doors, and what a guest may import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import modelyard

ROOT = Path(modelyard.__file__).parent
GUEST = ROOT / "sandbox" / "guest"
WRITTEN_BY_ALEMBIC = ROOT / "database" / "migrations" / "versions"
LONGEST_FILE = 500
LONGEST_FUNCTION = 50
#: Names that say what kind of thing a file is, and not what it is about.
KINDS = {"utils", "helpers", "common", "base", "manager", "service", "misc"}


def sources() -> Iterator[Path]:
    """Every file that people wrote."""
    return (path for path in sorted(ROOT.rglob("*.py")) if WRITTEN_BY_ALEMBIC not in path.parents)


def test_no_file_is_longer_than_the_limit() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_longer_than_the_limit() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def test_no_file_is_named_by_its_kind() -> None:
    assert [str(path) for path in sources() if {path.stem, path.parent.name} & KINDS] == []


def test_every_room_says_what_it_is() -> None:
    silent = [
        str(path) for path in sources() if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_packages_hold_words_and_re_exports_only() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    logic = [
        f"{path}:{node.lineno}"
        for path in sources()
        if path.name == "__init__.py"
        for node in ast.parse(path.read_text()).body
        if not isinstance(node, allowed)
    ]
    assert logic == []


def test_every_file_of_the_guest_is_importable_with_the_standard_library_alone() -> None:
    # Under the name that it goes by inside, where nothing else of the platform is.
    load = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("guest", {str(GUEST / "__init__.py")!r},
    submodule_search_locations=[{str(GUEST)!r}])
module = sys.modules["guest"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
    script = load + "\n".join(f"import guest.{path.stem}" for path in sorted(GUEST.glob("*.py")))
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
