"""Kinds of warm guests: what two runs must have in common to take the same one, and which were kept at last.

`warm.py` keeps guests by kind and has those kinds noted here, so that after a start of the platform guests wait again
for those who were served lately: a deployment asleep wakes as quickly as before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from modelyard.gpus import Gpu
from modelyard.sandbox.imports import BadNames, checked
from modelyard.sandbox.learnt import Learnt
from modelyard.sandbox.limits import Interpreter, Limits

_KEY = "kinds"


@dataclass(frozen=True, slots=True)
class Kind:
    """What can't be changed after the boot: libraries read their thread counts at import."""

    interpreter: Interpreter
    preload: tuple[str, ...]
    threads: int
    network: bool
    gpus: tuple[Gpu, ...]
    steady_hashes: bool
    #: Modules that are imported beside the base packages, in that order.
    imports: tuple[str, ...] = ()

    @property
    def plain(self) -> "Kind":
        """The same without the imports."""
        return replace(self, imports=())

    def suits(self, wanted: "Kind") -> bool:
        """Whether such a guest does for a run that wants that kind: it has imported nothing that the run would not."""
        return self.plain == wanted.plain and set(self.imports) <= set(wanted.imports)


def kind_of(interpreter: Interpreter, limits: Limits, preload: tuple[str, ...], imports: tuple[str, ...] = ()) -> Kind:
    """The kind of guest that such a run wants."""
    return Kind(interpreter, preload, limits.threads, limits.network, limits.gpus, limits.steady_hashes, imports)


class _Noted(msgspec.Struct, frozen=True):
    """A kind as it is written down; those with network or GPUs are not."""

    python: str
    mounts: list[str]
    preload: list[str]
    threads: int
    steady_hashes: bool
    imports: list[str]
    #: What it boots with; the run that takes it sets its own.
    memory_gib: float


class KeptKinds:
    """The note of the kinds that are kept."""

    def __init__(self, learnt: Learnt) -> None:
        self._learnt = learnt

    def note(self, kinds: Iterable[tuple[Kind, Limits]]) -> None:
        """These are kept now, the one that was asked for least lately first."""
        noted = [_noted(kind, limits) for kind, limits in kinds if not kind.network and not kind.gpus]
        self._learnt.write(_KEY, noted)

    def find(self) -> list[tuple[Kind, Limits]]:
        """Those that were noted at last and whose environment is still there, in that order."""
        found = self._learnt.read(_KEY, list[_Noted]) or []
        return [kept for each in found if (kept := _kept(each)) is not None]


def _noted(kind: Kind, limits: Limits) -> _Noted:
    return _Noted(
        str(kind.interpreter.python), [str(each) for each in kind.interpreter.mounts], list(kind.preload),
        kind.threads, kind.steady_hashes, list(kind.imports), limits.memory_gib,
    )  # fmt: skip


def _kept(noted: _Noted) -> tuple[Kind, Limits] | None:
    interpreter = Interpreter(Path(noted.python), tuple(Path(each) for each in noted.mounts))
    if not interpreter.python.exists() or noted.threads < 1 or noted.memory_gib <= 0:
        return None
    try:
        imports = checked(noted.imports, interpreter)
    except BadNames:
        return None
    limits = Limits(cores=noted.threads, memory_gib=noted.memory_gib, steady_hashes=noted.steady_hashes)
    return kind_of(interpreter, limits, tuple(noted.preload), imports), limits
