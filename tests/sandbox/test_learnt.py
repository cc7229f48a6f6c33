"""What was learnt from guests outlives the platform's process, is bounded, and is believed no more than it was."""

import os
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.sandbox import Interpreter, Limits, Sandbox
from modelyard.sandbox.imports import Imports
from modelyard.sandbox.kinds import KeptKinds, kind_of
from modelyard.sandbox.learnt import Learnt
from modelyard.settings import Settings
from tests.sandbox.test_imports import ASKING, LIMITS, trained
from tests.sandbox.warmth import wait_for_warm


@pytest.fixture
def learnt(tmp_path: Path) -> Learnt:
    return Learnt(tmp_path / "learnt", 32)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", warm_guests=1)


@pytest.fixture
def plain(tmp_path: Path) -> Interpreter:
    """An environment of two modules, which no test starts."""
    place = tmp_path / "prefix" / "lib" / "python3.11" / "site-packages"
    place.mkdir(parents=True)
    python = tmp_path / "prefix" / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    for name in ("first", "second"):
        (place / f"{name}.py").touch()
    return Interpreter(python, (tmp_path / "prefix",))


def only_file(learnt: Learnt) -> Path:
    (path,) = learnt._folder.iterdir()
    return path


# -- there again ----------------------------------------------------------------------------------------------------


def test_after_a_start_a_guest_waits_again_that_has_imported_what_the_code_imports(
    settings: Settings, interpreter: Interpreter
) -> None:
    with closing(Sandbox(settings)) as before:
        assert trained(before, interpreter, ASKING, "mine") is False
        before.warm(interpreter, LIMITS, preload=(), code=("mine",))
        wait_for_warm(before)
    with closing(Sandbox(settings)) as after:
        assert after._imports.of("mine", interpreter) == ("sklearn", "sklearn.linear_model")
        after.resume()
        wait_for_warm(after)
        ((guest,),) = after._warm._waiting.values()
        assert trained(after, interpreter, ASKING, "mine") is True
        assert not guest.alive
        wait_for_warm(after)


def test_an_environment_that_is_gone_or_was_given_up_has_no_guest_after_a_start(
    settings: Settings, interpreter: Interpreter, plain: Interpreter
) -> None:
    with closing(Sandbox(settings)) as before:
        before.warm(interpreter, LIMITS, preload=())
        before.cool(interpreter)
        kept = before._warm._kept
        assert kept.find() == []
        kept.note([(kind_of(plain, LIMITS, ()), LIMITS)])
        assert [kind.interpreter for kind, _ in kept.find()] == [plain]
        plain.python.unlink()
    with closing(Sandbox(settings)) as after:
        after.resume()
        assert not after._warm._waiting


def test_kinds_are_the_same_when_they_are_found_again(learnt: Learnt, plain: Interpreter) -> None:
    served = Limits(cores=2.5, memory_gib=3, steady_hashes=False, library_threads=1)
    connected = Limits(network=True)
    kinds = [
        (kind_of(plain, LIMITS, ("numpy",), ("second", "first")), LIMITS),
        (kind_of(plain, connected, ()), connected),
        (kind_of(plain, served, ()), served),
    ]
    KeptKinds(learnt).note(kinds)
    found = KeptKinds(learnt).find()
    assert [kind for kind, _ in found] == [kinds[0][0], kinds[2][0]]  # none with a way to the network
    assert [limits.memory_gib for _, limits in found] == [LIMITS.memory_gib, 3]
    assert all(kind_of(plain, limits, kind.preload, kind.imports) == kind for kind, limits in found)


def test_what_changes_is_written_and_what_does_not_is_not(learnt: Learnt, plain: Interpreter) -> None:
    imports = Imports(learnt)
    imports.learn("mine", plain, ["first"])
    path = only_file(learnt)
    path.unlink()
    imports.learn("mine", plain, ["first"])
    assert not path.exists()
    imports.learn("mine", plain, ["second"])
    assert Imports(learnt).of("mine", plain) == ("second",)
    assert Imports(learnt).of("other", plain) == ()


# -- not believed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\x00" * 100, b"{", b"null", b"7", b'{"first": 1}', b'["os; import x"]', b'["../first"]', b"[1]",
        b'["' + b"a" * 201 + b'"]', b"[" + b'"first",' * 64 + b'"first"]', b"[" * 60_000, b'["first"' + b" " * 70_000,
        b'["os", "not_there"]',
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_true_is_as_good_as_none(learnt: Learnt, plain: Interpreter, text: bytes) -> None:
    Imports(learnt).learn("mine", plain, ["first"])
    only_file(learnt).write_bytes(text)
    assert Imports(learnt).of("mine", plain) == ()
    assert KeptKinds(learnt).find() == []


def test_kinds_that_can_not_be_true_are_left_out(learnt: Learnt, plain: Interpreter) -> None:
    kept = KeptKinds(learnt)
    kept.note([(kind_of(plain, LIMITS, (), ("first",)), LIMITS)])
    (path,) = learnt._folder.iterdir()
    good = path.read_text()
    for old, new in (('"threads":1', '"threads":0'), ('"first"', '"--drop"'), ('"threads":1', '"threads":"1"')):
        path.write_text(good.replace(old, new))
        assert good != path.read_text()
        assert kept.find() == []
    path.write_text(good.replace('"first"', '"first","not_there"'))
    assert [kind.imports for kind, _ in kept.find()] == [("first",)]


# -- bounded --------------------------------------------------------------------------------------------------------


def test_there_are_no_more_files_than_that_and_the_oldest_go(learnt: Learnt) -> None:
    for number in range(200):
        learnt.write(str(number), number)
        os.utime(learnt._path(str(number)), ns=(number, number))
        learnt.read("0", int)  # which makes it the newest
    assert len(list(learnt._folder.iterdir())) <= 34
    assert [number for number in range(200) if learnt.read(str(number), int) == number][:1] == [0]
    assert all(learnt.read(str(number), int) == number for number in range(180, 200))
    assert learnt.read("100", int) is None
    assert len(list(Learnt(learnt._folder, 32)._folder.iterdir())) <= 34


def test_what_is_too_long_is_not_written(learnt: Learnt) -> None:
    learnt.write("long", "a" * 70_000)
    assert not learnt._folder.exists()


def test_where_nothing_can_be_written_it_is_remembered_all_the_same(tmp_path: Path, plain: Interpreter) -> None:
    (tmp_path / "file").touch()
    imports = Imports(Learnt(tmp_path / "file" / "learnt", 32))
    imports.learn("mine", plain, ["first"])
    assert imports.of("mine", plain) == ("first",)


def test_a_reader_never_sees_half_a_file(learnt: Learnt) -> None:
    learnt.write("one", ["a"] * 1000)
    ended = threading.Event()

    def write() -> None:
        for length in range(300):
            learnt.write("one", ["a"] * (1000 + length % 2))
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    deadline = time.monotonic() + 60
    while not ended.is_set():
        found = learnt.read("one", list[str])
        assert found is not None
        assert len(found) in (1000, 1001)
        assert time.monotonic() < deadline
    writer.join()
    assert len(list(learnt._folder.iterdir())) == 1
