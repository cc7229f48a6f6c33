"""Which files a path stands for: itself, all below a folder (`folder/`), or those that fit (`folder/*.csv`).

`*` and `?` stand for anything but a slash, `[abc]` for one of these, a part `**` for any folders or none. Hidden files
and what tools leave beside data (`_SUCCESS`, `.crc`) are passed over. Matching takes time in proportion to the lengths
of path and pattern, whatever a caller writes, as all places where one may be in the pattern are followed at once.
"""

import re
from dataclasses import dataclass

_WILD = re.compile(r"[*?\[]")
_CHOICE = re.compile(r"\[([^]/\[]+)\]")
_MANY = "*"
_ANY_FOLDERS = "**"
#: One character's place in a pattern: the characters that fit; None: any.
_Step = frozenset[str] | None | str


@dataclass(frozen=True, slots=True)
class Pattern:
    """The files that a path means."""

    #: What the path of each of them begins with; the path itself where it is one file.
    prefix: str
    #: The parts that the whole path has to fit; None: the path is one file.
    rule: tuple[str, ...] | None

    def fits(self, path: str) -> bool:
        """Whether the path is one of them."""
        if self.rule is None:
            return path == self.prefix
        hidden = any(part.startswith((".", "_")) for part in path[len(self.prefix) :].split("/"))
        return path.startswith(self.prefix) and path[-1:] != "/" and not hidden and _fit(self.rule, path.split("/"))


def read_pattern(path: str) -> Pattern:
    """What the path means."""
    wild = _WILD.search(path)
    if wild is not None:
        return Pattern(path[: wild.start()], tuple(path.split("/")))
    if path and not path.endswith("/"):
        return Pattern(path, None)
    return Pattern(path, (*path.split("/")[:-1], _ANY_FOLDERS, "*"))


def _fit(rule: tuple[str, ...], parts: list[str]) -> bool:
    at = _skipped({0}, rule)
    for part in parts:
        after = {place for place in at if rule[place : place + 1] == (_ANY_FOLDERS,)}
        after |= {place + 1 for place in at - after if place < len(rule) and _part_fits(rule[place], part)}
        at = _skipped(after, rule)
    return len(rule) in at


def _skipped(places: set[int], rule: tuple[str, ...]) -> set[int]:
    """The places, and those behind any `**`, which may stand for nothing."""
    found = set(places)
    for place in range(len(rule)):
        if place in found and rule[place] == _ANY_FOLDERS:
            found.add(place + 1)
    return found


def _part_fits(pattern: str, text: str) -> bool:
    if not _WILD.search(pattern):
        return pattern == text
    steps = _steps(pattern)
    places = {0}
    for char in (*text, ""):
        for place, step in enumerate(steps):
            if place in places and step == _MANY:
                places.add(place + 1)
        if not char:
            break
        stay = {place for place in places if place < len(steps) and steps[place] == _MANY}
        places = stay | {place + 1 for place in places - stay if place < len(steps) and _step_fits(steps[place], char)}
    return len(steps) in places


def _step_fits(step: _Step, char: str) -> bool:
    return step is None or char in step


def _steps(pattern: str) -> list[_Step]:
    found: list[_Step] = []
    rest = pattern
    while rest:
        choice = _CHOICE.match(rest)
        if choice:
            found.append(frozenset(choice[1]))
        else:
            found.append({"*": _MANY, "?": None}.get(rest[0], frozenset(rest[0])))
        rest = rest[choice.end() if choice else 1 :]
    return found
