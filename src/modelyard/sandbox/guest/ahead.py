"""Rows read ahead in a thread of its own, so that reading and writing a table keep two cores busy."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

_WAIT_S = 0.2

Item = TypeVar("Item")


def ahead(items: Iterable[Item], count: int = 2) -> Iterator[Item]:
    """The items in order, up to `count` of them taken ahead. What taking one raises, this raises."""
    reader = _Reader(items, count)
    threading.Thread(target=reader.run, daemon=True).start()
    try:
        while (item := reader.queue.get()) is not _END:
            yield item  # type: ignore[misc]  # _END is the only one that is no item
        if reader.error is not None:
            raise reader.error
    finally:
        reader.is_unwanted.set()


_END = object()


class _Reader(Generic[Item]):
    def __init__(self, items: Iterable[Item], count: int) -> None:
        self._items = items
        self.queue: queue.Queue[Item | object] = queue.Queue(count)
        self.error: BaseException | None = None
        self.is_unwanted = threading.Event()

    def run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are wanted
            self.error = error
        self._put(_END)

    def _put(self, item: object) -> bool:
        while not self.is_unwanted.is_set():
            try:
                self.queue.put(item, timeout=_WAIT_S)
            except queue.Full:
                continue
            return True
        return False
