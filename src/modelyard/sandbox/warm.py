"""Warm guests: booted, the base packages imported, waiting for the one run that they will serve.

Importing pandas takes longer than many a training; a guest that has it behind it starts a run in milliseconds.
A guest is taken once and replaced in the background. Environments that were not asked for lately lose theirs.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modelyard.gpus import Gpu
from modelyard.sandbox.limits import Interpreter, Limits
from modelyard.sandbox.process import Guest

#: Kinds of guest (environment, size, and whether it serves strangers) that are kept warm at the same time.
KINDS = 6
Boot = Callable[[Interpreter, Limits, tuple[str, ...], str, Mapping[str, Path]], Guest]

log = logging.getLogger("modelyard.sandbox")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What can't be changed after the boot: libraries read their thread counts at import."""

    interpreter: Interpreter
    preload: tuple[str, ...]
    threads: int
    network: bool
    gpus: tuple[Gpu, ...]
    steady_hashes: bool


class WarmGuests:
    """Waiting guests by kind. Thread-safe."""

    def __init__(self, wanted: int, boot: Boot) -> None:
        self._wanted, self._boot = wanted, boot
        self._lock = threading.Lock()
        self._waiting: OrderedDict[_Kind, list[Guest]] = OrderedDict()
        self._booting: dict[_Kind, int] = {}
        self._workers = ThreadPoolExecutor(1, thread_name_prefix="sandbox-warm")
        self._closed = False

    def take(self, interpreter: Interpreter, limits: Limits, preload: tuple[str, ...]) -> Guest | None:
        """A waiting guest, never to be given again; None if there is none. A kept kind is refilled."""
        kind = _kind(interpreter, limits, preload)
        with self._lock:
            guests = self._waiting.get(kind)
            guest = guests.pop(0) if guests else None
        if guests is not None:
            self.keep(interpreter, limits, preload)
        return guest

    def keep(self, interpreter: Interpreter, limits: Limits, preload: tuple[str, ...]) -> None:
        """From now on guests of this kind are kept waiting."""
        kind = _kind(interpreter, limits, preload)
        with self._lock:
            if self._closed or self._wanted <= 0:
                return
            guests = self._waiting.setdefault(kind, [])
            self._waiting.move_to_end(kind)
            missing = self._wanted - len(guests) - self._booting.get(kind, 0)
            self._booting[kind] = self._booting.get(kind, 0) + max(0, missing)
            dropped = [self._waiting.popitem(last=False)[1] for _ in range(len(self._waiting) - KINDS)]
            for _ in range(missing):
                self._workers.submit(self._refill, kind, limits)
        _kill(guest for group in dropped for guest in group)

    def drop(self, interpreter: Interpreter) -> None:
        """Ends the waiting guests of an environment."""
        with self._lock:
            kinds = [kind for kind in self._waiting if kind.interpreter == interpreter]
            dropped = [guest for kind in kinds for guest in self._waiting.pop(kind)]
        _kill(dropped)

    def count(self) -> int:
        """Guests that wait now."""
        with self._lock:
            return sum(len(guests) for guests in self._waiting.values())

    def close(self) -> None:
        with self._lock:
            self._closed = True
            waiting = [guest for guests in self._waiting.values() for guest in guests]
            self._waiting.clear()
        _kill(waiting)
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _refill(self, kind: _Kind, limits: Limits) -> None:
        guest = None
        try:
            guest = self._boot(kind.interpreter, limits, kind.preload, "warm", {})
        except Exception:
            if not self._closed:
                log.warning("a warm guest did not start", exc_info=True)
        with self._lock:
            self._booting[kind] -= 1
            if guest is not None and not self._closed and kind in self._waiting:
                self._waiting[kind].append(guest)
                return
        if guest is not None:
            guest.kill()


def _kind(interpreter: Interpreter, limits: Limits, preload: tuple[str, ...]) -> _Kind:
    return _Kind(interpreter, preload, limits.threads, limits.network, limits.gpus, limits.steady_hashes)


def _kill(guests: Iterable[Guest]) -> None:
    for guest in guests:
        guest.kill()
