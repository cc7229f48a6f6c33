"""Attacks from inside a guest, each really tried: what it must not see, reach, exhaust or leave behind."""

import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.sandbox import Guest, GuestError, Interpreter, Limits, Sandbox
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.settings import Settings
from tests.sandbox.conftest import Run

#: What every attack may use.
PRELUDE = """
import ctypes, errno, os, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def tried(call):
    try:
        return "done: " + repr(call())
    except OSError as error:
        return errno.errorcode[error.errno]
def system_call(number, *arguments):
    ctypes.set_errno(0)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *given)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "done"
"""


@pytest.fixture(params=["as found here", "in a user namespace, watched"], scope="module")
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox that this machine has, and then what an ordinary user without control groups has."""
    opened = Sandbox(Settings(home=tmp_path_factory.mktemp("home"), warm_guests=0))
    if request.param != "as found here":
        opened.report()
        assert opened._bubblewrap is not None
        opened._bubblewrap = dataclasses.replace(opened._bubblewrap, privileged=False)
        opened._cgroups = None
    yield opened
    opened.close()


@pytest.fixture
def attack(train: Run) -> Any:
    """Runs the body of an attack inside and gives what it returned."""

    def run(body: str, **options: Any) -> Any:
        source = PRELUDE + "def train():\n" + textwrap.indent(textwrap.dedent(body), "    ")
        outcome = train(source, **options)
        assert outcome.error is None, outcome.error
        return pickle.loads(outcome.collected or b"")

    return run


def test_no_right_is_left(attack: Any) -> None:
    seen = attack("""
        status = dict(line.split(':', 1) for line in open('/proc/self/status'))
        return (os.getresuid(), os.getresgid(), os.getgroups(), status['CapPrm'].strip(), status['CapEff'].strip(),
                status['NoNewPrivs'].strip(), status['Seccomp'].strip())
    """)
    nobody = (65534,) * 3
    assert seen[:2] == (nobody, nobody)
    assert set(seen[2]) <= {65534}
    assert seen[3:] == ("0" * 16, "0" * 16, "1", "2")


def test_the_hosts_variables_are_not_there(attack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "do not tell")
    assert "do not tell" not in json.dumps(attack("return dict(os.environ)"))
    assert "do not tell" not in attack("return open('/proc/self/environ').read()")
    assert "do not tell" not in attack(
        "return open('/proc/1/environ').read() if os.access('/proc/1/environ', 4) else ''"
    )


def test_other_processes_are_invisible(attack: Any) -> None:
    assert max(attack("return [int(n) for n in os.listdir('/proc') if n.isdigit()]")) < 50
    assert attack(f"return tried(lambda: os.kill({os.getpid()}, 0))") == "ESRCH"
    assert attack("return tried(lambda: os.kill(1, signal.SIGKILL)) and os.path.exists('/proc/1')")


def test_only_the_control_socket_is_open(attack: Any) -> None:
    seen = attack("""
        folder = '/proc/self/fd/'
        return {n: os.readlink(folder + n) for n in os.listdir(folder) if os.path.lexists(folder + n)}
    """)
    assert sorted(seen) == ["0", "1", "2", "3"]
    assert seen["3"].startswith("socket:")


def test_the_platforms_state_is_invisible(sandbox: Sandbox, attack: Any, tmp_path: Path) -> None:
    home = sandbox._settings.home
    (home / "modelyard.db").write_text("secret")
    (home / "blobs").mkdir(exist_ok=True)
    (home / "blobs" / "other.parquet").write_text("secret")
    outside = tmp_path / "key"
    outside.write_text("secret")
    for path in (home / "modelyard.db", home / "blobs" / "other.parquet", outside, Path("/etc/shadow"), Path(__file__)):
        assert attack(f"return tried(lambda: open({str(path)!r}).read())") == "ENOENT"
    assert attack("return sorted(os.listdir('/etc/ssl')) if os.path.exists('/etc/ssl') else 'nothing'") == "nothing"


def test_scratch_of_other_guests_is_invisible(sandbox: Sandbox, interpreter: Interpreter, attack: Any) -> None:
    neighbour = sandbox.start(interpreter, Limits(), preload=())
    try:
        assert attack(f"return tried(lambda: os.listdir({str(neighbour.scratch)!r}))") == "ENOENT"
    finally:
        neighbour.kill()


def test_nothing_but_the_scratch_can_be_written(attack: Any, interpreter: Interpreter) -> None:
    for folder in (
        "/",
        "/usr",
        "/etc",
        "/dev",
        "/modelyard-guest",
        "/modelyard-guest/modelyard_guest",
        interpreter.mounts[0],
    ):
        seen = attack(f"return tried(lambda: open({str(Path(folder) / 'planted')!r}, 'w'))")
        assert seen in ("EROFS", "EACCES", "EPERM"), (folder, seen)


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of the host on which someone listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_there_is_no_network(attack: Any, listener: int) -> None:
    for address in (("127.0.0.1", listener), ("169.254.169.254", 80), ("8.8.8.8", 53)):
        assert attack(f"return tried(lambda: socket.create_connection({address}, timeout=2))") in (
            "ECONNREFUSED",
            "ENETUNREACH",
        )
    assert attack("return [name for _, name in socket.if_nameindex()]") == ["lo"]


def test_abstract_and_odd_sockets_do_not_lead_out(attack: Any, tmp_path: Path) -> None:
    name = f"\0modelyard-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert attack(f"return tried(lambda: socket.socket(socket.AF_UNIX).connect({name!r}))") == "ECONNREFUSED"
    for family in (38, 40, 17, 44):  # ALG, VSOCK, PACKET, XDP
        assert attack(f"return tried(lambda: socket.socket({family}, socket.SOCK_STREAM))") in ("EAFNOSUPPORT", "EPERM")


CALLS = {
    "ptrace": "system_call(101, 16, 1, 0, 0)",
    "mount": "system_call(165, b'none', b'/tmp', b'tmpfs', 0, None)",
    "umount": "system_call(166, b'/usr', 2)",
    "pivot_root": "system_call(155, b'/', b'/tmp')",
    "unshare a user namespace": "system_call(272, 0x10000000)",
    "clone into a user namespace": "system_call(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "setns": "system_call(308, 0, 0)",
    "bpf": "system_call(321, 0, None, 0)",
    "keyctl": "system_call(250, 0, -3, 0)",
    "userfaultfd": "system_call(323, 1)",
    "perf": "system_call(298, None, 0, -1, -1, 0)",
    "process_vm_readv": "system_call(310, 1, None, 0, None, 0, 0)",
    "handle": "system_call(304, -1, None, 0)",
    "kexec": "system_call(246, 0, 0, None, 0)",
    "module": "system_call(313, 0, b'', 0)",
    "chroot": "system_call(161, b'/tmp')",
    "clock": "system_call(227, 0, None)",
    "new mount api": "system_call(430, b'tmpfs', 0)",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize("call", CALLS)
def test_the_kernels_dangerous_doors_are_shut(attack: Any, call: str) -> None:
    assert attack(f"return {CALLS[call]}") == "EPERM"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
def test_other_ways_to_the_same_doors_are_shut(attack: Any) -> None:
    assert attack("return system_call(0x40000000 + 165, b'none', b'/tmp', b'tmpfs', 0, None)") == "ENOSYS"
    assert attack("return system_call(425, 8, None)") == "ENOSYS"  # io_uring
    assert attack("return system_call(435, None, 0)") == "ENOSYS"  # clone3


def test_no_way_back_to_root(attack: Any) -> None:
    for call in ("os.setuid(0)", "os.setresgid(0, 0, 0)", "os.setgroups([0])"):
        assert attack(f"return tried(lambda: {call})") in ("EPERM", "EINVAL")  # EINVAL: there is no such id in there
    planted = "import shutil; shutil.copy('/bin/sh', 'sh'); os.chmod('sh', 0o6755)"
    run = "subprocess.run(['./sh', '-pc', 'id -u'], capture_output=True, text=True).stdout"
    assert attack(f"{planted}; return {run}") == "65534\n"


def test_device_nodes_can_not_be_made(attack: Any) -> None:
    assert attack("return tried(lambda: os.mknod('disk', 0o60666, os.makedev(8, 0)))") == "EPERM"


def test_a_fork_bomb_is_contained(train: Run) -> None:
    source = PRELUDE + textwrap.dedent("""
        def train():
            count = 0
            try:
                while count < 20_000:
                    if os.fork() == 0:
                        time.sleep(60)
                        os._exit(0)
                    count += 1
            except OSError as error:
                return errno.errorcode[error.errno], count
            return 'no limit', count
    """)
    outcome = train(source, processes=40, timeout_s=60)
    if outcome.error is None:
        seen = pickle.loads(outcome.collected or b"")
        assert seen[0] == "EAGAIN"
        assert seen[1] <= 40
    else:
        assert outcome.error.type == "ProcessLimitExceeded"


@pytest.mark.parametrize("folder", ["/dev/shm", "/tmp"])
def test_filling_the_memory_file_systems_is_contained(train: Run, folder: str) -> None:
    error = train(
        PRELUDE
        + f"def train():\n  with open('{folder}/x', 'wb') as f:\n    for _ in range(4096): f.write(bytes(1 << 20))\n",
        memory_gib=0.25,
    ).error
    assert error is not None
    assert error.kind == "memory" or "No space left" in error.value


def test_memory_of_children_counts(train: Run) -> None:
    source = PRELUDE + (
        "def train():\n  for _ in range(3):\n    if os.fork() == 0:\n"
        "      x = bytearray(150 << 20)\n      time.sleep(20)\n"
        "  x = bytearray(150 << 20); time.sleep(5); return os.wait()\n"
    )
    begin = time.monotonic()
    outcome = train(source, memory_gib=0.4)
    # The kernel stops a child at the limit; the watchdog stops the whole guest a moment after it.
    stopped = outcome.error is not None and outcome.error.kind == "memory"
    assert stopped or outcome.usage.peak_memory_bytes <= 0.45 * 1024**3
    assert time.monotonic() - begin < 15


def test_filling_the_disk_is_stopped(train: Run) -> None:
    body = (
        "def train():\n  import os, time\n  for n in range(200):\n"
        "    open(f'{n}', 'wb').write(os.urandom(1 << 20)); time.sleep(0.02)\n  time.sleep(10)\n"
    )
    error = train(body, scratch_gib=0.02, memory_gib=0.5).error
    assert error is not None
    assert error.kind == "scratch"
    one = train("def train():\n  open('x', 'wb').truncate(1 << 30)\n", scratch_gib=0.02).error
    assert one is not None
    assert "File too large" in one.value


def test_links_and_odd_files_in_the_output_are_not_followed(train: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    source = f"""
import os, socket
def train():
    os.symlink({str(secret)!r}, 'link'); os.symlink('/etc', 'folder'); os.mkfifo('pipe')
    socket.socket(socket.AF_UNIX).bind('socket'); os.symlink('.', 'loop'); open('honest', 'w').write('x')
    os.makedirs('.modelyard', exist_ok=True)
    os.link('honest', 'twin'); open(b'\\xff\\xfe', 'w').close()
"""
    seen: dict[str, Any] = {}

    def collect(guest: Guest, result: dict[str, Any]) -> None:
        seen["files"] = [file.name for file in guest.files()]
        for name in (
            "link",
            "folder/passwd",
            "pipe",
            "socket",
            "../modelyard.db",
            "/etc/passwd",
            "loop/honest",
            "",
            "a\0b",
        ):
            with pytest.raises(ScratchRefused):
                guest.open(name)

    assert train(source, collect=collect).error is None
    assert seen["files"] == ["honest", "twin"]


def test_an_artifact_that_is_a_link_is_refused(train: Run) -> None:
    source = """
import os, json, struct
def train():
    os.makedirs('.modelyard', exist_ok=True)
    os.symlink('/etc/passwd', '.modelyard/artifact.pkl')
    b = json.dumps({'event': 'reply', 'result': {'artifact': {'path': '.modelyard/artifact.pkl', 'size': 1}}}).encode()
    os.write(3, struct.pack('!I', len(b)) + b)
    import time; time.sleep(20)
"""
    with pytest.raises(ScratchRefused):
        train(source)


def test_a_flood_of_files_and_folders_is_refused_and_removed(sandbox: Sandbox, interpreter: Interpreter) -> None:
    source = """
import os
def train():
    for n in range(30): open(f'f{n}', 'w').close()
    for n in range(3000):
        os.mkdir('d'); os.chdir('d')
    os.chmod('.', 0)
    os.chdir('/modelyard-guest/work')
"""
    guest = sandbox.start(interpreter, Limits(), preload=())
    assert guest.call("train", {"source": source, "train_function": "train"}).error is None
    guest.stop()
    with pytest.raises(ScratchRefused, match="deeper"):
        guest.files()
    guest.kill()
    assert not guest.scratch.exists()


def test_no_process_outlives_the_guest(sandbox: Sandbox, interpreter: Interpreter) -> None:
    source = """
import os, signal, sys, time
def train():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(271828)'])
        os._exit(0)
    time.sleep(0.5)
"""
    guest = sandbox.start(interpreter, Limits(), preload=())
    assert guest.call("train", {"source": source, "train_function": "train"}).error is None
    assert _processes("271828")
    guest.kill()
    assert not _processes("271828")


def test_a_killed_host_leaves_no_orphan(interpreter: Interpreter, tmp_path: Path) -> None:
    script = f"""
import sys, threading
from pathlib import Path
from modelyard.sandbox import Interpreter, Limits, Sandbox
from modelyard.settings import Settings
sandbox = Sandbox(Settings(home=Path({str(tmp_path)!r}), warm_guests=0))
interpreter = Interpreter(Path({str(interpreter.python)!r}), tuple(map(Path, {[str(m) for m in interpreter.mounts]!r})))
source = "import os, sys, time\\ndef train():\\n  c = [sys.executable, '-c', 'import time; time.sleep(314159)']\\n"
source += "  os.fork() or os.execv(sys.executable, c)\\n  print('up')\\n  time.sleep(600)"
def go():
    sandbox.run(interpreter, Limits(), 'train', {{'source': source, 'train_function': 'train'}}, preload=(),
        on_output=lambda stream, text: print(text, flush=True))
thread = threading.Thread(target=go); thread.start(); thread.join()
"""
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert host.stdout is not None
    assert host.stdout.readline() == b"up\n"
    _wait_for(lambda: bool(_processes("314159")))
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()
    _wait_for(lambda: not _processes("314159"))
    with Leftovers(tmp_path) as left:
        assert left == []


class Leftovers:
    """What a new sandbox in the same home leaves of a dead one's scratch folders."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._sandbox = Sandbox(Settings(home=home, warm_guests=0))

    def __enter__(self) -> list[Path]:
        root = self._sandbox._scratch_root()
        return [path for path in (self._home / "scratch").iterdir() if path != root._folder]

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()


def test_a_guest_that_answers_for_others_only_answers_for_itself(sandbox: Sandbox, interpreter: Interpreter) -> None:
    first = sandbox.start(interpreter, Limits(), preload=())
    second = sandbox.start(interpreter, Limits(), preload=())
    lie = (
        "import os, json, struct\ndef train():\n  b = json.dumps({'event': 'reply', 'result': {'lie': 1}}).encode()\n"
        "  os.write(3, (struct.pack('!I', len(b)) + b) * 5)\n"
    )
    try:
        assert first.call("train", {"source": lie, "train_function": "train"}).result == {"lie": 1}
        told = second.call("train", {"source": "def train(): return 1", "train_function": "train"})
        assert told.result is not None
        assert "lie" not in told.result
    finally:
        first.kill()
        second.kill()


def test_descriptors_that_a_guest_sends_are_not_taken(sandbox: Sandbox, interpreter: Interpreter) -> None:
    source = """
import array, os, socket
def train():
    control = socket.socket(fileno=os.dup(3))
    for _ in range(50):
        control.sendmsg([b''.join([])or b'\\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))])
"""
    before = len(list(Path("/proc/self/fd").iterdir()))
    guest = sandbox.start(interpreter, Limits(), preload=())
    error: GuestError | None = guest.call("train", {"source": source, "train_function": "train"}).error
    guest.kill()
    assert error is not None
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def _processes(mark: str) -> list[int]:
    """Processes of this machine with the mark in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
        except OSError:
            continue
        if any(word.endswith(f"sleep({mark})".encode()) and len(word) < 80 for word in words):
            found.append(int(folder.name))
    return found


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
