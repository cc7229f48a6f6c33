"""Bounds what a caller may send before anybody has looked at it: the head of a request, its bytes and its time.

uvicorn takes heads of any length and waits for their end for ever. A head that never ends costs memory and time (each
piece of a URL is joined to the ones before), and a caller that sends a byte now and then holds a connection.
`serving.py` gives `BoundedHeadProtocol` to uvicorn.
"""

import asyncio
from asyncio.events import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes that the request line and the headers may have together, give or take what one read brings.
MOST_BYTES = 64 * 1024
TOO_LONG = "The URL has {:,} bytes; at most {:,} are allowed. Send what is long in the body."
#: Headers that a request may have.
MOST_HEADERS = 200
#: Seconds in which the head must have arrived.
MOST_SECONDS = 30.0


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which refuses heads that are too long and closes connections whose head doesn't come."""

    #: Set by uvicorn when a request begins; a connection may be refused before.
    url = b""
    _head_bytes = 0
    _in_head = False
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_BYTES or len(self.headers) > MOST_HEADERS:
                self._refuse(f"A request's head may have {MOST_BYTES:,} bytes and {MOST_HEADERS} headers.")
            elif self._deadline is None:
                self._expect_head()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_is_there()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(MOST_SECONDS, self._refuse, "The request's head did not arrive in time.")

    def _head_is_there(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        """uvicorn's own way of refusing; a URL that came in one piece and was too long for the parser is told so."""
        size = len(self.url)
        super().send_400_response(TOO_LONG.format(size, MOST_BYTES) if size > MOST_BYTES else msg)

    def _refuse(self, reason: str) -> None:
        self._in_head = False
        self._head_is_there()
        if not self.transport.is_closing():
            self.send_400_response(reason)
