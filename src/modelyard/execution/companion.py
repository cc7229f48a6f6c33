"""What works beside an agent's loop as long as the agent lives: one thing, again and again, in its own thread."""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)


class Companion:
    """Does its work every so many seconds. What fails is logged and tried again the next time."""

    def __init__(
        self, name: str, every_s: float, work: Callable[[], object], failures: tuple[type[Exception], ...] = ()
    ) -> None:
        self._name, self._every_s, self._work = name, every_s, work
        self._failures: tuple[type[Exception], ...] = (SQLAlchemyError, *failures)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begins; the first time comes after a pause."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._stopping.set()
        self._thread.join(5)

    def _loop(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._work()
            except self._failures as error:
                log.warning("%s: it did not succeed, trying again in %g s: %s", self._name, self._every_s, error)
