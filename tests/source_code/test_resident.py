"""The resident checker processes: started once, limited, replaced when they die, gone when their parent is."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.errors import ConflictError, InternalServerError
from modelyard.settings import Settings
from modelyard.source_code import resident
from modelyard.source_code.check import Checker, CheckRequest

#: Takes far longer than a second to parse, in C code that heeds nothing.
SLOW = "x = [" + "1 + 1, " * 800_000 + "]\n"


@pytest.fixture
def own() -> Iterator[Checker]:
    """A checker whose processes a test may kill."""
    checker = Checker(Settings(home=Path("/nonexistent"), check_timeout_s=1.0))
    yield checker
    checker.close()


def ok(checker: Checker, number: int = 0) -> None:
    checker.check(CheckRequest(source=f"x = {number}\n"))


def test_no_process_is_started_before_the_first_request(own: Checker) -> None:
    assert own.pids == []
    ok(own)
    assert len(own.pids) == 1


def test_one_process_serves_requests_in_turn(own: Checker) -> None:
    for number in range(10):
        ok(own, number)
    assert len(own.pids) == 1


def test_the_process_sees_no_environment_and_no_descriptors(own: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOUSE", "1")
    with Path(os.devnull).open() as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        ok(own)
    process = Path(f"/proc/{own.pids[0]}")
    assert b"SECRET" not in (process / "environ").read_bytes()
    targets = {str(each.readlink()).partition(":")[0] for each in (process / "fd").iterdir()}
    assert targets <= {"socket", "/dev/null"}
    limits = (process / "limits").read_text()
    for name in ("Max address space", "Max cpu time"):
        assert "unlimited" not in next(line for line in limits.splitlines() if line.startswith(name)).split()[3]


def test_a_process_that_was_killed_while_idle_is_replaced(own: Checker) -> None:
    ok(own)
    (before,) = own.pids
    os.kill(before, signal.SIGKILL)
    ok(own, 1)
    assert own.pids != [before]


def test_a_process_that_is_killed_at_work_costs_its_request_nothing(own: Checker) -> None:
    ok(own)
    (first,) = own.pids
    killer = threading.Timer(0.05, os.kill, (first, signal.SIGKILL))
    killer.start()
    source = "".join(f"def f{number}(a):\n    return a + {number}\n" for number in range(3000))
    own.check(CheckRequest(source=source))
    killer.join()


def test_a_source_that_takes_too_long_is_refused_and_its_process_replaced(own: Checker) -> None:
    ok(own)
    before = own.pids
    started = time.monotonic()
    with pytest.raises(ConflictError, match="Checking it took longer than 1 seconds"):
        own.check(CheckRequest(source=SLOW))
    assert time.monotonic() - started < 20
    ok(own, 1)
    assert own.pids != before


def test_a_source_that_kills_its_process_is_refused(own: Checker) -> None:
    """No source is known to crash this Python, so the processes are killed for it, one after the other."""
    ok(own)
    stop = threading.Event()

    def kill_all() -> None:
        while not stop.wait(0.01):
            for pid in own.pids:
                os.kill(pid, signal.SIGSEGV)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises((ConflictError, InternalServerError), match=r"too deeply or too large|does not start"):
            own.check(CheckRequest(source=SLOW))
    finally:
        stop.set()
        killer.join()
    ok(own, 1)


def test_neighbours_of_a_killer_get_their_own_answers() -> None:
    checker = Checker(Settings(home=Path("/nonexistent"), check_timeout_s=2.0))
    killers = ["-" * 100_000 + "1", SLOW, "a" + ".a" * 100_000]

    def ask(number: int) -> str:
        if number % 20 == 0:
            try:
                checker.check(CheckRequest(source=killers[number // 20 % 3]))
            except ConflictError as error:
                return error.message
        try:
            checker.check(CheckRequest(source=f"x_{number} = 1\ngone_{number}\n"))
        except ConflictError as error:
            return error.message
        return ""

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(120)))
    assert len(checker.pids) <= resident.MOST
    checker.close()
    for number, answer in enumerate(answers):
        assert f"`gone_{number}`" in answer if number % 20 else "too deeply or too large" in answer


def test_a_closed_checker_leaves_no_process_and_refuses(own: Checker) -> None:
    ok(own)
    (pid,) = own.pids
    own.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(InternalServerError):
        ok(own, 1)


def test_the_process_dies_with_the_one_that_started_it() -> None:
    program = """
        import os, signal
        from pathlib import Path
        from modelyard.settings import Settings
        from modelyard.source_code.check import Checker, CheckRequest
        checker = Checker(Settings(home=Path("/nonexistent")))
        checker.check(CheckRequest(source="x = 1"))
        print(checker.pids[0], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    pid = int(subprocess.run(run, stdout=subprocess.PIPE, check=False).stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the checker process outlives its parent"
        time.sleep(0.02)


def test_the_same_request_is_answered_from_memory(own: Checker) -> None:
    request = CheckRequest(source="def train(a):\n    return a\n", functions={"train": "train"}, table_count=1)
    first = own.check(request)
    own.close()
    assert own.check(request) == first


def test_two_thousand_lines_and_small_sources_are_quick(own: Checker) -> None:
    """Wide bounds, since the machine is shared: the figures themselves belong to the benchmarks."""
    ok(own)
    function = "def f{n}(a, b=1):\n    c = a + b\n    if c > {n}:\n        c = [c, a, b]\n    return c\n"
    took_s = []
    for first in (0, 400, 800):
        source = "".join(function.format(n=number) for number in range(first, first + 400))
        start = time.perf_counter()
        own.check(CheckRequest(source=source))
        took_s.append(time.perf_counter() - start)
    assert min(took_s) < 0.8
    took_s.clear()
    for number in range(100):
        start = time.perf_counter()
        ok(own, number)
        took_s.append(time.perf_counter() - start)
    assert sorted(took_s)[50] < 0.02


def test_a_process_stays_however_much_memory_its_parent_has(own: Checker) -> None:
    ballast = b"x" * 600 * 1024**2
    ok(own)
    (first,) = own.pids
    ok(own, 1)
    assert own.pids == [first]
    assert len(ballast) > 0
