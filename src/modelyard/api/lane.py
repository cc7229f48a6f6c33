"""The fast lane: predictions and look-ups go past Starlette and the door, straight to a replica.

`app.py` puts it in front of the ordinary application; it starts and ends with the server (ASGI's lifespan). For
`predict` and `predictMultiple` it takes token and deployment from the query, looks both up in memory, forwards the
body's bytes over `deployments.calls`, and puts the envelope around the bytes that come back. Nothing is decoded
here, but for requests that come in another form (`lane_forms`) and for what `lookupFeatures` asks, which is short
(`deployments.lookups`); rows online are read from the database, in a thread. Whoever sends a valid API key of the
deployment's organisation needs no token.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from modelyard.api.callers import Callers
from modelyard.api.envelope import failure_bytes
from modelyard.api.exchange import ACTIONS, Exchange
from modelyard.api.guard import check_encoding
from modelyard.api.keyring import Keyring
from modelyard.api.lane_forms import Target, content_type_of, fill_in, rewrite
from modelyard.database import Database
from modelyard.deployments.calls.asking import Asking
from modelyard.deployments.calls.connection import TOO_LARGE
from modelyard.deployments.calls.dispatch import Dispatch
from modelyard.deployments.calls.frames import TIMED, Answer, Kind, Status, binary_body, read_failure
from modelyard.deployments.calls.line import Line
from modelyard.deployments.calls.routing import Routing
from modelyard.deployments.records import DeploymentStatus
from modelyard.errors import (
    ApiError,
    InternalServerError,
    InvalidParameterError,
    InvalidRequest,
    MethodNotAllowed,
    PredictionError,
    RequestTooLargeError,
    TooManyRequestsError,
)
from modelyard.observability.logbook import Logbook
from modelyard.observability.siblings import Siblings
from modelyard.observability.traces import Tracing
from modelyard.settings import Settings

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

KINDS = {
    "/api/v0/predict": Kind.PREDICT,
    "/api/v0/predictMultiple": Kind.PREDICT_MULTIPLE,
    "/api/v0/predictFromDatasets": Kind.PREDICT_FROM_DATASETS,
    "/api/v0/predictWithBinaryData": Kind.PREDICT_BINARY,
    "/api/v0/lookupFeatures": Kind.LOOK_UP,
}
#: Successful calls of one second that are logged; past it only failures are.
LOGGED_A_SECOND = 50
#: Results up to this size are joined with their envelope, larger ones sent after it.
JOINED = 64 * 1024
#: Largest body that may itself say whose it is: until it is read whole, nobody knows whether its sender may ask.
UNNAMED = 1024**2
#: Largest look-up: what it asks is decoded here, and everyone else waits for that.
DECODED = 1024**2
OPENING, CLOSING = b'{"success":true,"result":', b',"requestId":"'


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class Lane:
    """An ASGI application that answers predictions and hands everything else on."""

    def __init__(
        self,
        application: Application,
        routing: Routing,
        database: Database,
        settings: Settings,
        logbook: Logbook,
        siblings: Siblings,
        tracing: Tracing | None = None,
    ) -> None:
        self._application, self._routing, self._settings = application, routing, settings
        self._logbook, self._siblings = logbook, siblings
        #: None: nobody wants traces.
        self.tracing = tracing
        self._callers = Callers(Keyring(database))
        self._asking = Asking(database, settings)
        self._serial = 0
        self._prefix = secrets.token_hex(5)
        self._second = self._logged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        kind = KINDS.get(scope["path"])
        if kind is None:
            await self._application(scope, receive, send)
            return
        began, exchange = time.perf_counter(), self.open(kind)
        if self.tracing is not None:
            exchange.trace = self.tracing.begin(ACTIONS[kind], scope["headers"])
        try:
            await self._answer(scope, receive, send, exchange)
            status = 200
        except ApiError as error:
            exchange.error, status = error, error.status
            await self._fail(send, error, exchange.request_id)
        except ClientLeft:
            status = 499
        except Exception:  # the API's door: the caller gets a clean answer, the log the details
            log.exception("request %s: a prediction failed", exchange.request_id)
            exchange.error, status = InternalServerError(), 500
            await self._fail(send, exchange.error, exchange.request_id)
        target = self._callers.target(scope["query_string"])
        whose = exchange.line.route.deployment_id if exchange.line else target.deployment_id
        self.note(exchange, whose, status, began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        target = self._callers.target(scope["query_string"])
        check_encoding(scope["headers"])
        body = await self._read(scope, receive, target, exchange.kind)
        if exchange.kind is Kind.PREDICT_BINARY:
            exchange.content_type = content_type_of(scope)
        is_form = exchange.content_type.startswith("multipart/")
        if not is_form and (not target.is_plain or body[:1] != b"{"):
            target, body = rewrite(target, scope, body)
        line = self._callers.find(target, scope)
        if line is None or line.route.status != DeploymentStatus.ACTIVE:
            line = await self._callers.find_anew(target, scope)
        exchange.token = target.token
        answering = self.admit(exchange, line, body)
        answer = await _unless_left(answering, receive)
        self.conclude(exchange, answer)
        await self._succeed(send, exchange)

    # -- a call, step by step; `express.py` takes these, too -----------------------------------------------------

    def open(self, kind: Kind, query: bytes = b"") -> Exchange:
        """A call has arrived; by that query, where it says whose it is."""
        self._serial += 1
        exchange = Exchange(kind, f"{self._prefix}{self._serial:010x}")
        if query and self._callers.have_limits:
            exchange.token = self._callers.target(query).token
        return exchange

    def find_by_token(self, query: bytes) -> Line | None:
        """The line that a query's token opens, if its deployment answers; None where a closer look is needed."""
        target = self._callers.target(query)
        line = self._callers.find(target, {}) if target.token and target.is_plain else None
        return line if line is not None and line.route.status == DeploymentStatus.ACTIVE else None

    def read_form(self, query: bytes, scope: Scope, body: bytes) -> bytes:
        """The body of a call whose query says whose it is, in the one form."""
        return rewrite(self._callers.target(query), scope, body)[1]

    def admit(self, exchange: Exchange, line: Line, body: bytes) -> "asyncio.Future[Answer]":
        """Sends the call on its way. Raises where it can't be taken."""
        route = line.route
        exchange.line, exchange.body = line, body
        if route.options.body_limit is not None:
            exchange.check_body(route.options.body_limit)
        if self._callers.have_limits:
            self._callers.check_limit(exchange.token)
        if exchange.kind is Kind.PREDICT_BINARY:
            body = binary_body(exchange.content_type, body, route.arguments, override=route.arguments_override)
        elif route.arguments:
            exchange.body = body = fill_in(body, route.arguments, override=route.arguments_override)
        if exchange.trace is not None:
            exchange.trace.sent()
            return self._asking.ask(line, exchange.kind, body, TIMED)
        return self._asking.ask(line, exchange.kind, body)

    def conclude(self, exchange: Exchange, answer: Answer) -> None:
        """Takes the replica's answer as the call's result. Raises what it says else."""
        if exchange.trace is not None:
            exchange.trace.answered(answer.times)
        if answer.status != Status.OK:
            raise self._error(answer)
        exchange.result = answer.body
        limit = exchange.line.route.options.answer_limit if exchange.line else None
        if limit is not None:
            exchange.check_result(limit)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Reads the routing table before the first call and keeps it fresh until the server ends."""
        loop = asyncio.get_running_loop()
        await receive()
        await loop.run_in_executor(None, self._routing.start)
        dispatch = Dispatch(self._routing, self._settings)
        self._callers.start(dispatch)
        self._logbook.start(dispatch.lines)
        self._siblings.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        dispatch.close()
        await loop.run_in_executor(None, self._logbook.stop)
        await loop.run_in_executor(None, self._siblings.close)
        await loop.run_in_executor(None, self._routing.close)
        if self.tracing is not None:
            await loop.run_in_executor(None, self.tracing.close)
        await send({"type": "lifespan.shutdown.complete"})

    # -- bytes in and out ---------------------------------------------------------------------------------------

    async def _read(self, scope: Scope, receive: Receive, target: Target, kind: Kind) -> bytes:
        method = scope["method"]
        if method == "GET":
            return b""
        if method != "POST":
            raise MethodNotAllowed(f"Predictions are asked by POST or GET, not by {method[:20]}")
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        body: bytes = message.get("body", b"")
        limit = self._settings.prediction_body_limit
        if kind is Kind.LOOK_UP:
            limit = min(limit, DECODED)
        if not message.get("more_body"):
            if len(body) > limit:
                raise _too_large(len(body), limit)
            return body
        if not target.is_plain:
            limit = min(limit, UNNAMED)
        elif self._callers.find(target, scope) is None:
            await self._callers.find_anew(target, scope)  # raises: nothing is kept for a caller who may not ask
        return await _read_rest(body, scope, receive, limit)

    async def _succeed(self, send: Send, exchange: Exchange) -> None:
        parts = frame_result(exchange)
        headers = _headers(sum(map(len, parts)), exchange.request_id)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": parts[-1]})

    async def _fail(self, send: Send, error: ApiError, request_id: str) -> None:
        body = failure_bytes(error, request_id)
        headers = _headers(len(body), request_id)
        if isinstance(error, TooManyRequestsError):
            headers.append((b"retry-after", b"%d" % error.retry_after_s))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _error(self, answer: Answer) -> ApiError:
        if answer.status == TOO_LARGE:
            return PredictionError(
                f"The answer has {int(answer.body):,} bytes; "
                f"at most {self._settings.prediction_answer_limit:,} are allowed"
            )
        failure = read_failure(answer.body)
        said = ": ".join(filter(None, (failure.type, failure.value)))
        if answer.status == Status.USER_ERROR:
            return PredictionError(f"{said}\n{failure.traceback}".rstrip())
        refused = InvalidParameterError if failure.type == "InvalidParameterError" else InvalidRequest
        return refused(failure.value or said)

    def note(self, exchange: Exchange, deployment_id: str, status: int, began: float) -> None:
        """Counts the call, and writes it down if it is sampled."""
        now = time.perf_counter()
        second, took_s, line = int(now), now - began, exchange.line
        if second != self._second:
            self._second, self._logged = second, 0
        self._logged += 1
        if self._logged <= (LOGGED_A_SECOND if status == 200 else 4 * LOGGED_A_SECOND):
            took_ms, request_id = took_s * 1000, exchange.request_id
            log.info("request %s: prediction by %s %d %.1f ms", request_id, deployment_id[:32], status, took_ms)
        if self.tracing is not None and exchange.trace is not None:
            attributes = exchange.attributes(deployment_id, status)
            self.tracing.end(exchange.trace, attributes, exchange.error.error_type if exchange.error else None)
        if line is None:
            self._logbook.note_stray(status)
            return
        line.tally.note(status, took_s)
        if isinstance(exchange.error, TooManyRequestsError):
            line.tally.note_rejected(exchange.error.limit)
        settings, options = self._settings, line.route.options
        limit = settings.prediction_logs_a_second
        if line.sampler.takes(second, limit, options.log_share, failed=exchange.error is not None):
            self._logbook.add(exchange.entry(line, status, took_s, settings.prediction_log_bytes))


def frame_result(exchange: Exchange) -> tuple[bytes | bytearray, ...]:
    """The result in its envelope, in one piece or, where it is large, in three."""
    result, end = exchange.result, CLOSING + exchange.request_id.encode() + b'"}'
    return (OPENING + result + end,) if len(result) <= JOINED else (OPENING, result, end)


async def _unless_left(answering: "asyncio.Future[Answer]", receive: Receive) -> Answer:
    """The answer to a call; a caller who hangs up meanwhile takes the call along, as far as that can be."""
    leaving = asyncio.ensure_future(_await_end(receive))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientLeft
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


async def _await_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue  # the body of a GET


async def _read_rest(first: bytes, scope: Scope, receive: Receive, limit: int) -> bytes:
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    chunks, size, more = [first], len(first), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(size, limit)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(size: int, limit: int) -> RequestTooLargeError:
    return RequestTooLargeError(f"The request's body has {size:,} bytes or more; at most {limit:,} are allowed")


def _headers(size: int, request_id: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % size),
        (b"x-request-id", request_id.encode()),
    ]
