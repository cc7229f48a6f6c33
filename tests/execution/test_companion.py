"""What works beside an agent."""

import threading

from sqlalchemy.exc import OperationalError

from modelyard.execution.companion import Companion


def test_what_fails_is_tried_again_until_it_is_stopped() -> None:
    came = threading.Semaphore(0)
    times: list[int] = []

    def work() -> None:
        times.append(len(times))
        came.release()
        if len(times) == 1:
            raise OperationalError("SELECT 1", {}, Exception("away"))
        if len(times) == 2:
            raise OSError("full")

    companion = Companion("test", 0.01, work, (OSError,))
    companion.start()
    for _ in range(4):
        assert came.acquire(timeout=30)
    companion.stop()
    assert "test" not in {thread.name for thread in threading.enumerate()}
