"""Warm guests: booted, packages imported, waiting for the one run that they will serve.

Importing pandas takes longer than many a training; a guest that has it behind it starts a run in milliseconds. Beside
the base packages it has what the code that it waits for imports first (`imports.py`), where that is known. A guest is
taken once and replaced in the background, at a low weight. Who finds none waiting gets the one that is on its way, and
a replacement of that follows; so many boot at the same time as there are cores, those that are waited for first
(`gate.py`). Environments that were not asked for lately lose theirs.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from modelyard.sandbox.failures import GuestNotStarted, SandboxUnavailable
from modelyard.sandbox.gate import Gate, Ticket
from modelyard.sandbox.kinds import KeptKinds, Kind
from modelyard.sandbox.limits import Interpreter, Limits
from modelyard.sandbox.process import Guest

#: Kinds of guest (environment, size, whether it serves strangers, imports) that are kept warm at the same time.
KINDS = 6
#: Kinds that differ in their imports only; a further one makes one of them what both have in common.
KINDS_OF_IMPORTS = 2
#: Kinds remembered that were asked for once and are not kept, and imports that did not work.
_REMEMBERED = 256
BOOT_TIMEOUT_S, IMPORT_TIMEOUT_S = 120.0, 30.0
#: Times these that a boot may take which nobody waits for: on busy cores it gets little of them.
_PATIENCE = 10
#: Guests that may be on their way, the gate's queue included.
_BOOTS = 64

log = logging.getLogger("modelyard.sandbox")


#: Starts a guest, which has not said yet that it is ready.
Launch = Callable[[Kind, Limits, str], Guest]


@dataclass(slots=True, eq=False)
class _Coming:
    """A guest on its way."""

    kind: Kind
    ticket: Ticket = field(default_factory=lambda: Ticket(urgent=False))
    is_promised: bool = False
    guest: Guest | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class WarmGuests:
    """Waiting guests by kind. Thread-safe."""

    def __init__(self, wanted: int, launch: Launch, kept: KeptKinds) -> None:
        self._wanted, self._launch, self._kept = wanted, launch, kept
        self._lock = threading.RLock()
        self._gate = Gate()
        self._waiting: OrderedDict[Kind, list[Guest]] = OrderedDict()
        #: What guests of these kinds boot with.
        self._limits: dict[Kind, Limits] = {}
        self._coming: list[_Coming] = []
        #: Kinds that were asked for and are not kept; asked for again, they are.
        self._asked: OrderedDict[Kind, None] = OrderedDict()
        #: Kinds whose imports end the guest, or take for ever.
        self._broken: OrderedDict[Kind, None] = OrderedDict()
        # A thread that is there already begins without being waited for; those behind the gate take one each.
        self._workers = ThreadPoolExecutor(_BOOTS, thread_name_prefix="sandbox-warm")
        self._closed = False

    def get(self, kind: Kind, limits: Limits, name: str, *, recurs: bool = False) -> Guest:
        """A guest that is ready, never to be given again: one that waits, or is on its way, or a new one.

        A kind that `recurs` is kept from the second time on that it is asked for.
        Raises what launching does, and GuestNotStarted if its Python does not come up.
        """
        if recurs:
            self._keep_recurring(kind, limits)
        while (found := self._take(kind, limits)) is not None:
            if found.alive:
                return found
            found.kill()
        coming = self._claim(kind, limits)
        if coming is not None:
            coming.ended.wait()
            if coming.guest is not None and coming.guest.alive:
                return coming.guest
        with self._gate.passed(Ticket(urgent=True)):
            return self._bring_up(kind, limits, name)

    def keep(self, kind: Kind, limits: Limits) -> None:
        """From now on guests of this kind, or of one that does for it, are kept waiting."""
        with self._lock:
            if self._closed or self._wanted <= 0:
                return
            before = set(self._waiting)
            kept, dropped = self._settle(kind)
            self._waiting.setdefault(kept, [])
            self._waiting.move_to_end(kept)
            dropped += [self._waiting.popitem(last=False)[1] for _ in range(len(self._waiting) - KINDS)]
            self._limits[kept] = limits
            if set(self._waiting) != before:
                self._note()
            self._refill(kept, limits)
        _kill(guest for group in dropped for guest in group)

    def resume(self) -> None:
        """Keeps the kinds that were kept when the platform ended, as far as their environments are there."""
        for kind, limits in self._kept.find()[-KINDS:]:
            self.keep(kind, limits)

    def drop(self, interpreter: Interpreter) -> None:
        """Ends the waiting guests of an environment."""
        with self._lock:
            kinds = [kind for kind in self._waiting if kind.interpreter == interpreter]
            dropped = [guest for kind in kinds for guest in self._waiting.pop(kind)]
            if kinds:
                self._note()
        _kill(dropped)

    def count(self) -> int:
        """Guests that wait now."""
        with self._lock:
            return sum(len(guests) for guests in self._waiting.values())

    def close(self) -> None:
        with self._lock:
            self._closed = True
            waiting = [guest for guests in self._waiting.values() for guest in guests]
            waiting += [coming.guest for coming in self._coming if coming.guest is not None]
            self._waiting.clear()
        _kill(waiting)
        self._workers.shutdown(wait=True)

    # -- who gets which -----------------------------------------------------------------------------------------

    def _take(self, kind: Kind, limits: Limits) -> Guest | None:
        """The waiting guest that has imported most of what is wanted; it is replaced."""
        with self._lock:
            suiting = [each for each, guests in self._waiting.items() if guests and each.suits(kind)]
            if not suiting:
                return None
            best = max(suiting, key=lambda each: len(each.imports))
            guest = self._waiting[best].pop(0)
            self._keep_again(kind, limits)
            self._refill(best, limits)
        return guest

    def _claim(self, kind: Kind, limits: Limits) -> _Coming | None:
        """The guest on its way, promised to nobody yet, that imports most of what is wanted; another follows it."""
        with self._lock:
            suiting = [each for each in self._coming if not each.is_promised and each.kind.suits(kind)]
            self._keep_again(kind, limits)
            if not suiting:
                return None
            best = max(suiting, key=lambda each: len(each.kind.imports))
            best.is_promised = True
            self._gate.hurry(best.ticket)
            if best.guest is not None:
                best.guest.weigh(waited_for=True)
            self._refill(best.kind, limits)
        return best

    def _keep_again(self, kind: Kind, limits: Limits) -> None:
        """A kind that is asked for is kept if one was that differs in its imports alone."""
        if any(each.plain == kind.plain for each in self._waiting):
            self.keep(kind, limits)

    def _keep_recurring(self, kind: Kind, limits: Limits) -> None:
        with self._lock:
            if kind.plain in self._asked:
                self.keep(kind, limits)
            _remember(self._asked, kind.plain)

    def _settle(self, kind: Kind) -> tuple[Kind, list[list[Guest]]]:
        """The kind to keep for such runs, and the guests of one that it takes the place of."""
        alike = [each for each in self._waiting if each.plain == kind.plain and each.imports]
        if kind in self._waiting or not kind.imports or len(alike) < KINDS_OF_IMPORTS:
            return kind, []
        shared = {each: tuple(name for name in each.imports if name in kind.imports) for each in alike}
        nearest = max(alike, key=lambda each: len(shared[each]))
        narrowed = replace(nearest, imports=shared[nearest])
        return narrowed, [] if narrowed == nearest else [self._waiting.pop(nearest)]

    def _note(self) -> None:
        """Writes down which kinds are kept."""
        self._limits = {kind: self._limits[kind] for kind in self._waiting}
        self._kept.note(self._limits.items())

    # -- how they come to be ------------------------------------------------------------------------------------

    def _refill(self, kind: Kind, limits: Limits) -> None:
        """Has as many guests of a kind that is kept wait, or be on their way, as there are to be."""
        if kind not in self._waiting:
            return
        on_their_way = sum(each.kind == kind and not each.is_promised for each in self._coming)
        for _ in range(self._wanted - len(self._waiting[kind]) - on_their_way):
            coming = _Coming(kind)
            self._coming.append(coming)
            self._workers.submit(self._bring, coming, limits)

    def _bring(self, coming: _Coming, limits: Limits) -> None:
        try:
            with self._gate.passed(coming.ticket):
                if not self._closed:
                    self._bring_up(coming.kind, limits, "warm", coming)
        except Exception:
            coming.guest = None
            if not self._closed:
                log.warning("a warm guest did not start", exc_info=True)
        with self._lock:
            self._coming.remove(coming)
            guest = coming.guest
            is_wanted = not self._closed and (coming.is_promised or coming.kind in self._waiting)
            if guest is not None and is_wanted and not coming.is_promised:
                self._waiting[coming.kind].append(guest)
        if guest is not None and not is_wanted:
            guest.kill()
        coming.ended.set()

    def _bring_up(self, kind: Kind, limits: Limits, name: str, coming: _Coming | None = None) -> Guest:
        """A guest that is ready; without the imports where these don't work."""
        if kind.imports and kind not in self._broken:
            try:
                return self._boot(kind, limits, name, coming, IMPORT_TIMEOUT_S)
            except GuestNotStarted as error:
                _remember(self._broken, kind)
                log.info("modules could not be imported beforehand: %s", str(error)[-500:])
        return self._boot(kind.plain, limits, name, coming, BOOT_TIMEOUT_S)

    def _boot(self, kind: Kind, limits: Limits, name: str, coming: _Coming | None, timeout_s: float) -> Guest:
        guest = self._launch(kind, limits, name)
        timeout_s *= _PATIENCE if coming is not None else 1
        with self._lock:
            guest.weigh(waited_for=coming is None or coming.is_promised)
            if coming is not None:
                coming.guest = guest
            closed = self._closed
        if closed:
            guest.kill()
            raise SandboxUnavailable("the sandbox is being closed")
        guest.await_ready(timeout_s)
        return guest


def _remember(kinds: OrderedDict[Kind, None], kind: Kind) -> None:
    kinds[kind] = None
    kinds.move_to_end(kind)
    if len(kinds) > _REMEMBERED:
        kinds.popitem(last=False)


def _kill(guests: Iterable[Guest]) -> None:
    for guest in guests:
        guest.kill()
