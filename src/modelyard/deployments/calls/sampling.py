"""Which calls of a deployment are written down one by one. Asked by the lane after each call."""


class Sampler:
    """Which calls of one deployment are written down. Called by the event loop alone."""

    __slots__ = ("_failures_left", "_left", "_second", "_share")

    def __init__(self) -> None:
        self._second, self._left, self._failures_left, self._share = -1, 0, 0, 0.0

    def takes(self, second: int, limit: int, share: float, *, failed: bool) -> bool:
        """Whether one more call is taken: `limit` a second of each kind, and of successes that share.

        Failures have a budget of their own, so that a busy deployment's few errors are found in its log.
        """
        if second != self._second:
            self._second, self._left, self._failures_left = second, limit, limit
        if failed:
            self._failures_left -= 1
            return self._failures_left >= 0
        if self._left <= 0:
            return False
        self._share += share
        if self._share < 1.0:
            return False
        self._share -= 1.0
        self._left -= 1
        return True
