"""API keys that were checked within the last second, so that a busy caller costs one look at the database a second.

The door and the fast lane have one each. A key that is wrong is remembered as well: trying it again and again is cheap.
"""

import time
from typing import NamedTuple

from modelyard.accounts.keys import Holder, digest_of, find_holder
from modelyard.database import Database

#: Seconds that a checked key is trusted without looking again: so long a revoked key may still work.
TRUST_S = 1.0
#: Keys that are remembered at most.
MOST_KEYS = 10_000


class Checked(NamedTuple):
    """What a look at the database has found."""

    until: float
    #: None: nobody has that key.
    holder: Holder | None


class Keyring:
    """Whom keys stand for. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checked: dict[str, Checked] = {}

    def trusted(self, key: str) -> Checked | None:
        """What was found a moment ago; None if the key has to be looked up (`find`). Never waits."""
        checked = self._checked.get(digest_of(key))
        return None if checked is None or checked.until < time.monotonic() else checked

    def find(self, key: str) -> Holder | None:
        """Whom the key stands for, by a look at the database; None for nobody."""
        until = time.monotonic() + TRUST_S
        with self._database.read() as session:
            holder = find_holder(session, key)
        if len(self._checked) > MOST_KEYS:
            self._checked.clear()
        self._checked[digest_of(key)] = Checked(until, holder)
        return holder
