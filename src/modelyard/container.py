"""The house's long-lived parts (blob store, sandbox, checker ...), looked up by their type.

`app.py` fills one container at the start; actions reach it through `Call.parts`, runs through `RunContext.parts`.
It exists so that no part is a module global: two houses live side by side in one test process.
"""

from typing import TypeVar, cast

Part = TypeVar("Part")


class Container:
    """Parts by type, one instance each."""

    def __init__(self) -> None:
        self._parts: dict[type, object] = {}

    def add(self, part: Part) -> Part:
        """Keeps `part` under its own type and gives it back; a second one of the type is refused."""
        kind = type(part)
        if kind in self._parts:
            raise ValueError(f"a {kind.__name__} is in the container already")
        self._parts[kind] = part
        return part

    def get(self, kind: type[Part]) -> Part:
        """The part of that type; LookupError if the house was put together without one."""
        try:
            return cast(Part, self._parts[kind])
        except KeyError:
            raise LookupError(f"this process was put together without a {kind.__name__}") from None

    def close(self) -> None:
        """Closes the parts that can be closed, the last one first."""
        for part in reversed(self._parts.values()):
            close = getattr(part, "close", None)
            if close is not None:
                close()
