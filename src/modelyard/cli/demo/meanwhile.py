"""Keeps predicting while something else goes on, to see that no call is refused."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

PAUSE_S = 0.02


class Meanwhile:
    """Opened by `with`: calls again and again inside it; a call that fails is raised at its end."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call, self._ended = call, threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="meanwhile", daemon=True)
        self._error: Exception | None = None
        #: Calls that were answered.
        self.answered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _go_on(self) -> None:
        while not self._ended.is_set():
            try:
                self._call()
            except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
                self._error = error
                return
            self.answered += 1
            time.sleep(PAUSE_S)
