"""What code imports before it does anything else, as guests that ran it have told: what a warm guest may have ready.

The names come out of guests and are not believed. They are remembered for that very code of that very model, must be
names of modules, few, and lie among the files of the environment; and a guest that has imported something is given to
nobody whose own code was not seen to import it too (`warm.py`). So a lie reaches its own model alone
(docs/decisions/0015).
"""

import logging
import re
import threading
from collections import OrderedDict
from pathlib import Path

from modelyard.sandbox.learnt import Learnt
from modelyard.sandbox.limits import Interpreter

#: Names that one code may have ready, and the longest of them.
NAMES, NAME_LENGTH = 64, 200
#: Codes that are remembered; the one that was asked for least lately is forgotten.
CODES = 4_096

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)

log = logging.getLogger("modelyard.sandbox")


class BadNames(ValueError):
    """A list that no guest of ours would send; says what is wrong with it."""


class Imports:
    """Names of modules by the code that imports them, and the environment, in the code's order. Thread-safe.

    They are written down as well (`learnt.py`), and what is read there is checked again.
    """

    def __init__(self, learnt: Learnt) -> None:
        self._learnt = learnt
        self._lock = threading.Lock()
        self._names: OrderedDict[tuple[str, Interpreter], tuple[str, ...]] = OrderedDict()

    def of(self, code: str, interpreter: Interpreter) -> tuple[str, ...]:
        """What that code imports first there; nothing if it is not known."""
        with self._lock:
            if (code, interpreter) in self._names:
                self._names.move_to_end((code, interpreter))
                return self._names[code, interpreter]
        written = self._learnt.read(_key(code, interpreter), list[str])
        names = None if written is None else _believed(written, interpreter)
        if names is None:
            return ()
        self._remember(code, interpreter, names)
        return names

    def learn(self, code: str, interpreter: Interpreter, told: object) -> None:
        """Takes note of what a guest told of its code. A list that can't be true is logged and changes nothing."""
        names = None if told is None else _believed(told, interpreter)
        if names is None:
            return
        with self._lock:
            is_news = self._names.get((code, interpreter)) != names
        self._remember(code, interpreter, names)
        if is_news:
            self._learnt.write(_key(code, interpreter), names)

    def _remember(self, code: str, interpreter: Interpreter, names: tuple[str, ...]) -> None:
        with self._lock:
            self._names[code, interpreter] = names
            self._names.move_to_end((code, interpreter))
            while len(self._names) > CODES:
                self._names.popitem(last=False)


def _key(code: str, interpreter: Interpreter) -> str:
    return f"imports {interpreter.python} {code}"


def _believed(told: object, interpreter: Interpreter) -> tuple[str, ...] | None:
    """The names, if they can be true; else a word in the log and None."""
    try:
        return checked(told, interpreter)
    except BadNames as error:
        log.warning("a guest told of its imports what can't be: %s", error)
        return None


def checked(told: object, interpreter: Interpreter) -> tuple[str, ...]:
    """Those of the names that lie in the environment, each behind the packages that it is in; BadNames."""
    if not isinstance(told, list) or len(told) > NAMES:
        raise BadNames(f"it must be a list of {NAMES} names at most")
    for name in told:
        if not isinstance(name, str) or len(name) > NAME_LENGTH or _NAME.fullmatch(name) is None:
            raise BadNames(f"{str(name)[:80]!r} is no name of a module")
    places = site_packages(interpreter)
    found: dict[str, None] = {}
    for name in told:
        if any(_is_module(place, name) for place in places):
            parts = name.split(".")
            found.update(dict.fromkeys(".".join(parts[: count + 1]) for count in range(len(parts))))
    return tuple(found)[:NAMES]


def site_packages(interpreter: Interpreter) -> list[Path]:
    """Where the environment has its packages; those of the Python that it was made from are not among them."""
    return sorted((interpreter.python.parent.parent / "lib").glob("python3*/site-packages"))


def _is_module(place: Path, name: str) -> bool:
    path = place.joinpath(*name.split("."))
    if (path / "__init__.py").is_file() or path.with_name(f"{path.name}.py").is_file():
        return True
    return any(each.is_file() for each in path.parent.glob(f"{path.name}.*.so"))
