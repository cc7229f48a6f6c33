"""The ordinary prediction without ASGI: from the parser to the replica's connection, and the answer in one write.

A scope, a task, an event and two `send`s cost more than everything else that the gateway does for a prediction. So
`POST /api/v0/predict?deploymentToken=...&deploymentId=...` with a short body of known length, of a deployment that
answers, is taken here as soon as its head is there. Whatever is less ordinary goes on to the lane as an ASGI
application, which gives the same answers: both call `Lane.admit`, `Lane.conclude` and `Lane.note`.
`serving.py` gives `ExpressProtocol` to uvicorn. Why: docs/decisions/0011.
"""

import asyncio
import logging
import time
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from modelyard.api.envelope import failure_bytes
from modelyard.api.exchange import Exchange
from modelyard.api.lane import Lane, frame_result
from modelyard.deployments.calls.frames import Answer, Kind
from modelyard.deployments.calls.line import Line
from modelyard.errors import ApiError, InternalServerError, TooManyRequestsError

log = logging.getLogger(__name__)

PREFIXES = {b"/api/v0/predict": Kind.PREDICT, b"/api/v0/predictMultiple": Kind.PREDICT_MULTIPLE}
#: Largest body that is taken here; larger ones come in pieces, for which the ordinary way holds its caller back.
MOST_BYTES = 64 * 1024
#: Headers that ask for more than is done here.
UNUSUAL = frozenset({b"expect", b"transfer-encoding", b"upgrade", b"content-encoding", b"traceparent"})
#: Results up to this size are joined with their envelope, larger ones sent after it.
JOINED = 64 * 1024


class ExpressProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which hands ordinary predictions to the lane itself."""

    _express: "ExpressCall | None" = None

    def on_headers_complete(self) -> None:
        call = self._express = self._take()
        if call is None:
            super().on_headers_complete()
        else:
            self.cycle = call  # type: ignore[assignment]  # has what the protocol asks of a cycle

    def on_body(self, body: bytes) -> None:
        if self._express is None:
            super().on_body(body)
        else:
            self._express.body += body

    def on_message_complete(self) -> None:
        call, self._express = self._express, None
        if call is None:
            super().on_message_complete()
        else:
            call.send()

    def _take(self) -> "ExpressCall | None":
        """The call, if it is an ordinary one whose caller may ask; None sends it the other way."""
        path, _, query = self.url.partition(b"?")
        kind = PREFIXES.get(path)
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        lane = self.app
        if (
            kind is None
            or not isinstance(lane, Lane)
            or lane.tracing is not None
            or not (cycle is None or cycle.response_complete)
            or self.flow.write_paused
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
            or not self._has_ordinary_head()
        ):
            return None
        line = lane.find_by_token(query)
        return None if line is None else ExpressCall(self, lane, line, kind, query)

    def _has_ordinary_head(self) -> bool:
        length = -1
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value) if value.isdigit() else -1
            elif name in UNUSUAL:
                return False
        return 0 < length <= MOST_BYTES


class ExpressCall:
    """One such prediction; the protocol sees it as the cycle of a request and its response."""

    __slots__ = (
        "_answering", "_began", "_exchange", "_lane", "_line", "_protocol", "_query", "body", "disconnected",
        "keep_alive", "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: ExpressProtocol, lane: Lane, line: Line, kind: Kind, query: bytes) -> None:
        self._protocol, self._lane, self._line, self._query = protocol, lane, line, query
        self._began = time.perf_counter()
        self._exchange: Exchange = lane.open(kind, query)
        self._answering: asyncio.Future[Answer] | None = None
        self.body = b""
        self.keep_alive: bool = protocol.parser.should_keep_alive()
        self.disconnected = self.response_complete = False

    @property
    def message_event(self) -> "ExpressCall":
        """What the protocol wakes when the connection is lost."""
        return self

    def set(self) -> None:
        """The caller has left."""
        if self.disconnected and not self.response_complete:
            self.response_complete = True
            if self._answering is not None:
                self._answering.cancel()
            self._lane.note(self._exchange, self._line.route.deployment_id, 499, self._began)

    def send(self) -> None:
        """The body is there: sends the call on its way."""
        body = self.body
        try:
            if body[:1] != b"{":
                body = self._lane.read_form(self._query, cast(dict[str, Any], self._protocol.scope), body)
            answering = self._lane.admit(self._exchange, self._line, body)
        except ApiError as error:
            self._fail(error)
        except Exception:  # the API's door: the caller gets a clean answer, the log the details
            log.exception("request %s: a prediction failed", self._exchange.request_id)
            self._fail(InternalServerError())
        else:
            self._answering = answering
            answering.add_done_callback(self._answered)

    def _answered(self, answering: "asyncio.Future[Answer]") -> None:
        if self.response_complete:  # the caller has left
            return
        try:
            self._lane.conclude(self._exchange, answering.result())
        except ApiError as error:
            self._fail(error)
        except (Exception, asyncio.CancelledError):
            log.exception("request %s: a prediction failed", self._exchange.request_id)
            self._fail(InternalServerError())
        else:
            self._write(200, frame_result(self._exchange), b"")

    def _fail(self, error: ApiError) -> None:
        self._exchange.error = error
        more = b"retry-after: %d\r\n" % error.retry_after_s if isinstance(error, TooManyRequestsError) else b""
        self._write(error.status, (failure_bytes(error, self._exchange.request_id),), more)

    def _write(self, status: int, parts: tuple[bytes | bytearray, ...], more: bytes) -> None:
        protocol, exchange = self._protocol, self._exchange
        defaults = b"".join(b"%b: %b\r\n" % each for each in protocol.server_state.default_headers)
        head = b"%bcontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b%b%b\r\n" % (
            STATUS_LINE[status],
            sum(map(len, parts)),
            exchange.request_id.encode(),
            defaults,
            more,
            b"" if self.keep_alive else b"connection: close\r\n",
        )
        transport: Any = protocol.transport
        self.response_complete = True
        if not transport.is_closing():
            if len(parts) == 1 and len(parts[0]) <= JOINED:
                transport.write(head + parts[0])
            else:
                transport.writelines((head, *parts))
            if not self.keep_alive:
                transport.close()
        self._lane.note(exchange, self._line.route.deployment_id, status, self._began)
        protocol.on_response_complete()
