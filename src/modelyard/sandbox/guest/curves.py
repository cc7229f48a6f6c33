"""The metrics that a training writes down: metrics.json (name -> number) and metrics.jsonl (one object a step).

`train` and `trial` read them at the end. While `train` goes on, a thread follows metrics.jsonl and sends the host what
is new: at each look, what a reading at that moment would give, but for a last line that is not ended yet. So a file
that was replaced, cut, or is none any more begins anew, and what could not be read at the end is not shown before.
"""

import contextlib
import json
import math
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

_FINAL, _STEPS = "metrics.json", "metrics.jsonl"
#: Seconds between two looks; a look that takes long makes the next one wait so many times longer.
_PAUSE_S = 0.5
_PATIENCE = 20
#: Bytes that one look reads, unless a single line is longer: parsing them holds up the training for milliseconds.
_AT_ONCE = 128 * 1024
#: Bytes before the place up to which a file was read, by which one that was written anew is known.
_REMEMBERED = 256

#: Takes the place of the first of the steps, and the steps.
Send = Callable[[int, list[dict[str, object]]], None]


class Bounds(NamedTuple):
    """What a file of metrics may hold."""

    size: int = 8 * 1024**2
    steps: int = 200_000


def read_metrics(bounds: Bounds) -> dict[str, object]:
    """What the user wrote; a file that holds no metrics is said on stderr and passed over."""
    final = _read(_FINAL, bounds, lambda data: _numbers(json.loads(data.decode())))
    steps = _read(_STEPS, bounds, lambda data: _steps(data, bounds.steps))
    return {"final": final or {}, "steps": steps or []}


@contextlib.contextmanager
def followed(send: Send, bounds: Bounds) -> Iterator[None]:
    """Follows the steps on a thread of its own while the body runs, and has a last look when that ends, however."""
    follower = Follower(send, bounds)
    ended = threading.Event()
    thread = threading.Thread(target=follower.follow, args=(ended,), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Follower:
    """How far the file has been read."""

    def __init__(self, send: Send, bounds: Bounds) -> None:
        self._send, self._bounds = send, bounds
        # The folder itself, as user code may go elsewhere.
        self._folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._identity: tuple[int, int] | None = None
        self._offset, self._before, self._is_bad = 0, b"", False
        #: Steps that the host has.
        self._sent = 0

    def follow(self, ended: threading.Event) -> None:
        """Looks until the training has ended. Whatever breaks here is left to the reading at the end."""
        pause_s = 0.0
        with contextlib.suppress(Exception):
            while not ended.wait(pause_s):
                begun = time.monotonic()
                self.look()
                pause_s = max(_PAUSE_S, _PATIENCE * (time.monotonic() - begun))
            self.look(self._bounds.size)

    def look(self, at_once: int = _AT_ONCE) -> None:
        """Sends what is new, as far as it can be read at once."""
        try:
            with _opened(_STEPS, self._bounds.size, self._folder) as file:
                first, steps = self._new(file, at_once) if file is not None else self._nothing()
        except (OSError, ValueError):
            first, steps = self._nothing()
        if steps or (first == 0 and self._sent):
            self._send(first, steps)
            self._sent = first + len(steps)

    def _new(self, file: IO[bytes], at_once: int) -> tuple[int, list[dict[str, object]]]:
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        first = self._sent
        if identity != self._identity or not self._is_continued(file):
            self._identity, self._offset, self._before, self._is_bad, first = identity, 0, b"", False, 0
        file.seek(self._offset)
        data = file.read(at_once)
        if b"\n" not in data:
            data += file.read(self._bounds.size - self._offset)
        data = data[: data.rfind(b"\n") + 1]
        self._offset, self._before = self._offset + len(data), (self._before + data)[-_REMEMBERED:]
        if self._is_bad:
            return 0, []
        try:
            return first, _steps(data, self._bounds.steps - first)
        except (ValueError, RecursionError):
            self._is_bad = True
            return 0, []

    def _is_continued(self, file: IO[bytes]) -> bool:
        """Whether what was read still stands there."""
        file.seek(self._offset - len(self._before))
        return file.read(len(self._before)) == self._before

    def _nothing(self) -> tuple[int, list[dict[str, object]]]:
        self._identity = None
        return 0, []


def _read(name: str, bounds: Bounds, parse: Callable[[bytes], Any]) -> Any:
    try:
        with _opened(name, bounds.size) as file:
            return None if file is None else parse(file.read(bounds.size))
    except (OSError, ValueError, RecursionError) as error:
        print(f"{name} was not read as metrics: {error}", file=sys.stderr)
        return None


@contextlib.contextmanager
def _opened(name: str, limit: int, folder: int | None = None) -> Iterator[IO[bytes] | None]:
    """The file of that name; None if there is none, or something that is no file. A pipe is not waited for."""

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NONBLOCK, dir_fd=folder)

    try:
        file = open(name, "rb", opener=opener)  # noqa: SIM115 - closed below
    except (FileNotFoundError, IsADirectoryError):
        yield None
        return
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            yield None
        elif status.st_size > limit:
            raise ValueError(f"it is larger than {limit} bytes")
        else:
            yield file


def _numbers(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("it must hold one object of names and numbers")  # noqa: TRY004 - of a file, not of an argument
    for name, number in value.items():
        if not _is_number(number):
            raise ValueError(f"{name!r} is not a finite number")
    return value


def _steps(data: bytes, most: int) -> list[dict[str, object]]:
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) > most:
        raise ValueError("it has too many lines")
    return [_step(json.loads(line.decode())) for line in lines]


def _step(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("each line must hold one object")  # noqa: TRY004 - likewise
    return {name: entry for name, entry in value.items() if isinstance(entry, str | bool) or _is_number(entry)}


def _is_number(value: object) -> bool:
    """Whether it is a finite number that JSON readers elsewhere can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63
