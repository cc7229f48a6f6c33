"""The seed of a training: the one that its config names, or one that is chosen, once, when it is asked for."""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Key of the training config, in capitals or not, at its top or among its KWARGS.
KEY = "SEED"
#: numpy's generator takes seeds below this.
END = 2**32


class Seed(NamedTuple):
    """A seed, and whether it was given."""

    value: int
    is_given: bool


def seed_of(config: Mapping[str, Any] | None) -> Seed:
    """The seed that the config names, if it is a whole number from 0 to 4294967295; else a fresh one.

    Any other value under that key is the user's own affair: -1 and None often mean "whichever".
    """
    own = config or {}
    inner = own.get("KWARGS")
    for place in (own, inner if isinstance(inner, Mapping) else {}):
        for name, value in place.items():
            if name.upper() == KEY and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < END:
                return Seed(value, is_given=True)
    return Seed(secrets.randbelow(END), is_given=False)
