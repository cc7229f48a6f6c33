"""callsPerSecond: how many calls a deployment takes, or a token may ask, of all gateways together.

The gateways of one home take from the same bucket: two numbers in a file that each of them has mapped. No lock is
taken: two gateways that take in the same moment may count one call too few, which is less than a percent of a busy
limit. Homes on other machines (one PostgreSQL, several servers) each have their share: a limit is divided by the number
of homes that live, which `Presence` counts.
"""

import contextlib
import hashlib
import math
import mmap
import os
import time
from collections.abc import MutableSequence
from datetime import timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.deployments.records import GatewayHome
from modelyard.execution.liveness import machine_name

#: Seconds between two signs of life of a home, and after which one counts as gone.
SIGN_S, GONE_S = 5.0, 20.0
#: Bytes of a bucket: what is left, and when that was.
SIZE = 16
Cells = MutableSequence[float]


class Rates:
    """The buckets of one home. `homes` is how many homes share each limit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.homes = 1

    def bucket(self, what: str, rate: int) -> "Bucket":
        """The bucket of that deployment or token, shared with the home's other gateways."""
        return Bucket(rate, self, _map(self._path(what)))

    def forget(self, what: str) -> None:
        """Removes the bucket of what has gone."""
        self._path(what).unlink(missing_ok=True)

    def _path(self, what: str) -> Path:
        # By digest: a token is a secret, and no name from outside is ever part of a path.
        return self._folder / hashlib.sha256(what.encode()).hexdigest()[:32]


class Bucket:
    """So many calls a second, and as many at once after a quiet second."""

    __slots__ = ("_cells", "_rates", "rate")

    def __init__(self, rate: int, rates: Rates, cells: Cells) -> None:
        #: Of all gateways together.
        self.rate = rate
        self._rates, self._cells = rates, cells

    def take(self) -> bool:
        """Whether one more call is allowed now."""
        cells, now, share = self._cells, time.monotonic(), self.rate / self._rates.homes
        left = min(cells[0] + max(now - cells[1], 0.0) * share, max(share, 1.0))
        cells[1] = now  # also where it lies ahead: the clock began anew with the machine
        cells[0] = left - 1.0 if left >= 1.0 else left
        return left >= 1.0

    def retry_after_s(self) -> int:
        """Seconds until a call is allowed again, if nobody else asks."""
        return max(math.ceil((1.0 - self._cells[0]) * self._rates.homes / self.rate), 1)


class Presence:
    """This home among those that share a database. Its signs of life are given by a gateway's routing thread."""

    def __init__(self, rates: Rates, home: Path) -> None:
        self._rates = rates
        self._name = f"{machine_name()} {home}"
        self._signed_at = -math.inf

    def sign(self, session: Session) -> None:
        """Shows that this home lives, and counts those that do."""
        now = utc_now()
        session.merge(GatewayHome(home=self._name, seen_at=now))
        session.execute(delete(GatewayHome).where(GatewayHome.seen_at < now - timedelta(days=1)))
        lately = GatewayHome.seen_at > now - timedelta(seconds=GONE_S)
        session.flush()
        self._rates.homes = max(session.scalar(select(func.count()).select_from(GatewayHome).where(lately)) or 0, 1)
        self._signed_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next sign of life."""
        return time.monotonic() - self._signed_at > SIGN_S


def _map(path: Path) -> Cells:
    """The two numbers in that file, as every process sees them; of one's own where the disk has no room for it."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(fd, 0, SIZE)
            return cast(Cells, memoryview(mmap.mmap(fd, SIZE)).cast("d"))
        finally:
            os.close(fd)
    return [0.0, 0.0]
