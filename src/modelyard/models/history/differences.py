"""What differs between two revisions, or two versions: as data for a program, and as one text that a person reads.

Pure: it is handed values and texts. `history.py` and `comparing.py` read them from the database.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

#: Lines between the first and the last difference, on each side, up to which the smallest difference is looked for.
#: Past it they are shown as replaced as a whole, since looking takes a time that grows with their product.
MOST_LINES = 4_000
#: Lines around a difference that are shown with it.
CONTEXT = 3


class Difference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that is not the same on both sides."""

    #: What it is; a key of a config as `trainingConfig.LR`.
    name: str
    before: Any
    after: Any
    #: Of lists: what only the newer, or only the older side has. Both empty where the order alone differs.
    added: list[Any] | None = None
    removed: list[Any] | None = None
    #: Of numbers: by how much the newer side is larger.
    by: float | None = None

    @property
    def line(self) -> str:
        """As a person reads it."""
        if self.added or self.removed:
            signed = [
                *(f"-{_shown(each)}" for each in self.removed or []),
                *(f"+{_shown(each)}" for each in self.added or []),
            ]
            return f"{self.name}: {'  '.join(signed)}"
        by = "" if self.by is None else f" ({self.by:+g})"
        return f"{self.name}: {_shown(self.before)} -> {_shown(self.after)}{by}"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What differs among those values, by name, mappings key by key."""
    return list(_differences(before, after, ""))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str) -> Iterator[Difference]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new and type(old) is type(new):
            continue
        if isinstance(old, Mapping | None) and isinstance(new, Mapping | None):
            yield from _differences(old or {}, new or {}, f"{prefix}{name}.")
        elif isinstance(old, list) and isinstance(new, list):
            yield Difference(
                name=prefix + name, before=old, after=new, added=_without(new, old), removed=_without(old, new)
            )
        else:
            by = float(new) - float(old) if _is_number(old) and _is_number(new) else None
            yield Difference(name=prefix + name, before=old, after=new, by=by)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _without(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    return [each for each in one if each not in other]


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def diff_texts(before: str, after: str, before_name: str, after_name: str) -> str:
    """The unified diff of two texts; empty where they are the same."""
    if before == after:
        return ""
    old, new = _lines(before), _lines(after)
    hunks = list(_hunks(old, new))
    return "".join([f"--- {before_name}\n", f"+++ {after_name}\n", *hunks])


def count_lines(diff: str) -> tuple[int, int]:
    """How many lines a unified diff adds, and how many it takes away."""
    lines = diff.splitlines()[2:]
    return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)


def _lines(text: str) -> list[str]:
    """Split at line feeds alone, as editors and git do; a last line without one says so when it is shown."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _hunks(old: list[str], new: list[str]) -> Iterator[str]:
    for group in _groups(old, new):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n"
        for tag, low, high, new_low, new_high in group:
            if tag == "equal":
                yield from (_ended(" ", line) for line in old[low:high])
            else:
                yield from (_ended("-", line) for line in old[low:high])
                yield from (_ended("+", line) for line in new[new_low:new_high])


def _ended(sign: str, line: str) -> str:
    return sign + (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")


def _range(low: int, high: int) -> str:
    """`first line,count`, as unified diffs count: from 1, the count left out where it is 1."""
    length = high - low
    if length == 1:
        return str(low + 1)
    return f"{low + 1 if length else low},{length}"


def _groups(old: list[str], new: list[str]) -> Iterator[list[tuple[str, int, int, int, int]]]:
    """The differences in groups with their context, as `SequenceMatcher.get_grouped_opcodes` gives them."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    middle, new_middle = old[head : len(old) - tail], new[head : len(new) - tail]
    if max(len(middle), len(new_middle)) <= MOST_LINES:
        # The lines around are looked at as well, so that they can be shown.
        low, high = max(0, head - CONTEXT), min(len(old), len(old) - tail + CONTEXT)
        new_low, new_high = low, min(len(new), len(new) - tail + CONTEXT)
        matcher = difflib.SequenceMatcher(None, old[low:high], new[new_low:new_high])
        for group in matcher.get_grouped_opcodes(CONTEXT):
            yield [(tag, a + low, b + low, c + new_low, d + new_low) for tag, a, b, c, d in group]
        return
    before, after = min(head, CONTEXT), min(tail, CONTEXT)
    end, new_end = head + len(middle), head + len(new_middle)
    yield [
        ("equal", head - before, head, head - before, head),
        ("replace", head, end, head, new_end),
        ("equal", end, end + after, new_end, new_end + after),
    ]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
