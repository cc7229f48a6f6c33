"""Sends the head of an answer together with its body's first bytes: one write, one packet, one wake-up of the caller.

uvicorn writes the head as soon as it has it, and the event loop hands each write to the kernel at once; for a
prediction of a few bytes that second trip through TCP costs as much as all that the gateway itself does.
`serving.py` gives `OneWriteProtocol` to uvicorn.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: Bodies up to this size are copied behind their head; larger ones are handed over beside it.
JOINED = 64 * 1024


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose answers write to a `HeldHead` each. A uvicorn that begins otherwise writes twice."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["method"] != "HEAD":  # whose answer is a head, and no second write
            cycle.transport = HeldHead(cycle.transport)  # type: ignore[assignment]  # has what an answer asks of it
        super()._start_asgi_task(cycle, app)


class HeldHead:
    """The transport as one answer sees it: its first write, the head, waits for the second one, or for the end."""

    __slots__ = ("_head", "_passes", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._head, self._passes = transport, b"", False

    def write(self, data: bytes) -> None:
        """Every head is followed by a body, be it empty, but for those of HEAD."""
        if self._passes or data == CONTINUE:
            self._transport.write(data)
        elif not self._head:
            self._head = data
        else:
            self._passes = True
            if len(data) <= JOINED:
                self._transport.write(self._head + data)
            else:
                self._transport.writelines((self._head, data))

    def close(self) -> None:
        """Ends the connection once everything has been sent, a head without a body among it."""
        if self._head and not self._passes:
            self._passes = True
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
