"""A gateway that ends takes leave of its callers: kept connections are told by `Connection: close`, then closed.

uvicorn closes idle connections at once, and a caller that sends in that very moment loses its call. Here an
idle connection waits a moment for one more call, whose answer says that it is the last. `serving.py` gives
`DrainingProtocol` to uvicorn.
"""

from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: Seconds for which an idle connection waits for the call whose answer can say goodbye.
LEAVE_S = 1.0


class DrainingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose connections end with an answer wherever one is asked for in time."""

    is_draining = False

    def shutdown(self) -> None:
        """Called by the server once it takes no new connections."""
        self.is_draining = True
        if self._is_idle():
            self.loop.call_later(LEAVE_S, self._leave)
        else:
            self.cycle.keep_alive = False

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.is_draining:
            self.cycle.keep_alive = False

    def _leave(self) -> None:
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        return cycle is None or cycle.response_complete
