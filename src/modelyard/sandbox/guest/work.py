"""The guest's main loop: says that it is ready, takes a task, answers, and ends with the host.

A task is a function of a `Work`; `tasks` knows them by name. Whatever it raises, up to SystemExit, becomes an answer.
"""

import contextlib
import gc
import importlib
import os
import resource
import sys
import time
import types
from collections.abc import Callable
from typing import TypeAlias

from . import failures, imports, tasks
from .channel import Channel, HostGone
from .streams import flush_output

#: Ended with this status when the connection to the host does not work any more.
_STATUS_DISCONNECTED = 70

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


class Work:
    """One request: its message, its open files, and the ways to answer."""

    def __init__(self, channel: Channel, message: dict[str, object], fds: list[int]) -> None:
        self.message, self.fds = message, fds
        self._channel = channel
        self.answered = False

    def started(self) -> None:
        """Tells the host that the user's function begins now."""
        self._channel.send({"event": "started", "at": time.clock_gettime(time.CLOCK_MONOTONIC)})

    def tell_steps(self, first: int, steps: list[dict[str, object]]) -> None:
        """Tells the host of steps of a training, from the `first` on; what it had been told from there on is void."""
        self._channel.send({"event": "steps", "first": first, "steps": steps})

    def answer(self, result: dict[str, object]) -> None:
        """Answers now; the task may go on afterwards, as a replica does that serves."""
        flush_output()
        self.answered = True
        self._channel.send({"event": "reply", "result": result})

    def text(self, name: str) -> str:
        """A field of the message that must be text."""
        value = self.message[name]
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text")
        return value


def serve(connection: int, preload: list[str], expected: list[str]) -> None:
    """Imports the base packages and what is expected to be wanted, then answers tasks until the host goes."""
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = ["modelyard"]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # text streams at start
    gc.disable()  # what is imported stays: to look through it while it comes costs a tenth of the import
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    imports.note_base()
    imports.prepare(expected)
    gc.collect()
    gc.freeze()
    gc.enable()
    channel = Channel(connection)
    try:
        channel.send({"event": "ready"})
        tasks.load_early()  # while the host is busy with the task, or has none yet
        while True:
            _answer_next(channel)
    except HostGone:
        os._exit(0)
    except OSError:
        os._exit(_STATUS_DISCONNECTED)


def _answer_next(channel: Channel) -> None:
    task, message, fds, limits = channel.receive()
    limit_resources(limits)
    work, process_id = Work(channel, message, fds), os.getpid()
    try:
        function: Callable[[Work], dict[str, object] | None] = tasks.find(task)
        result = function(work)
        frame: dict[str, object] = {"event": "reply", "result": result if result is not None else {}}
    except HostGone:
        raise
    except BaseException as error:  # noqa: BLE001 - the guest's one door: a failure of user code is an answer
        frame = {"event": "reply", "error": failures.describe(error)}
    flush_output()
    if os.getpid() != process_id:
        os._exit(0)  # forked by the user's code, which has come back in it, too: the answer is the first one's
    if not work.answered:
        channel.send(frame)
    elif "error" in frame:
        os._exit(_STATUS_DISCONNECTED)


def limit_resources(limits: dict[str, int]) -> None:
    """Lowers the limits of this process, soft and hard, before a line of the user's runs."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (wanted, wanted))
