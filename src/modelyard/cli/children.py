"""How the supervisor starts a child: one line of orders goes to it, and a pipe tells it of the supervisor's death.

The child's stdin is the pipe. Its first line holds the settings (so nothing secret stands in arguments or variables);
after it nothing comes, and its end, however the supervisor died, ends the child at once. Killing a child at any moment
loses nothing, so no farewell is tried.
"""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from modelyard.settings import Settings

#: Seconds that a child which starts waits for a database that is away at that moment.
DATABASE_PATIENCE_S = 60.0


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is told at its start."""

    settings: Settings
    level: str
    #: File descriptor of the listening socket; for the gateway alone.
    listener: int | None = None


def start_child(module: str, orders: Orders) -> subprocess.Popen[bytes]:
    """Starts `python -m module` with these orders, in a session of its own, so that Ctrl-C reaches only us."""
    passed: Sequence[int] = () if orders.listener is None else (orders.listener,)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, pass_fds=passed, start_new_session=True
    )
    give_orders(child, orders)
    return child


def give_orders(child: subprocess.Popen[bytes], orders: Orders) -> None:
    """Tells a child its orders; nothing happens if it has died already, which its status tells.

    Past the buffer of the pipe's file, where they would wait, and be written in vain once more when it is closed.
    """
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        os.write(child.stdin.fileno(), msgspec.json.encode(orders, enc_hook=str) + b"\n")


def take_orders() -> Orders:
    """In the child: the orders. From now on the child ends when its parent does."""
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(1)
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
    return msgspec.json.decode(line, type=Orders, dec_hook=_decode)


def settle_memory() -> None:
    """From now on the garbage collector passes over what the start made, and looks through the rest less often.

    A full look through all modules takes some 10 ms, in the middle of whatever is being answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def take_signals() -> Callable[[], None]:
    """From now on SIGTERM and SIGINT wait for the call of what this gives, which returns when one has come.

    Called in the main thread. After the first signal the next one ends the process at once.
    """
    out, into = os.pipe()
    os.set_blocking(into, False)
    signal.set_wakeup_fd(into)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        os.read(out, 1)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    return wait


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)
