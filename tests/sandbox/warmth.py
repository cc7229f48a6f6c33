"""Waiting until the guests that are to wait do."""

import time

from modelyard.sandbox import Sandbox

#: Less than pytest's own limit, so that what was waited for is told.
_PATIENCE_S = 100


def wait_for_warm(sandbox: Sandbox, count: int = 1) -> None:
    """Returns when so many wait and none is on its way; meanwhile they are as urgent as what a run waits for.

    What nobody waits for gets next to nothing of a busy core.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while sandbox._warm.count() < count or sandbox._warm._coming:
        for coming in list(sandbox._warm._coming):
            sandbox._warm._gate.hurry(coming.ticket)
            if coming.guest is not None:
                coming.guest.weigh(waited_for=True)
        assert time.monotonic() < deadline
        time.sleep(0.02)
