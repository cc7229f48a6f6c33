"""callsPerSecond: how many calls a deployment takes, counted in each gateway."""

import time


class Bucket:
    """callsPerSecond: so many calls a second, and as many at once after a quiet second."""

    __slots__ = ("_at", "_left", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._left, self._at = float(rate), time.monotonic()

    def take(self) -> bool:
        """Whether one more call is allowed now."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * self.rate, float(max(self.rate, 1)))
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
