"""From an HTTP request to an action and back.

A call is authenticated, its parameters decoded to the action's typed arguments, a transaction opened, the action
called, its result encoded while the transaction is open, and the transaction committed: all in one thread of the pool.
An action that has to wait for a run returns `After`: the door commits, waits here without a thread, and calls it again.
The one place where errors become answers: `ApiError` as it is, anything else as an InternalServerError and a log entry.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from modelyard.accounts.keys import Holder
from modelyard.accounts.policy import may_call
from modelyard.actions import Action, Auth, Call, FileBytes, RawBytes, Wire
from modelyard.api.decoding import spool, wire_values
from modelyard.api.envelope import encode_result, failure, success
from modelyard.api.files import FileResponse, ranged
from modelyard.api.guard import HostGuard
from modelyard.api.keyring import Keyring
from modelyard.clock import Clock, utc_now
from modelyard.container import Container
from modelyard.database import DISCONNECTED, Database, first_line
from modelyard.errors import (
    ApiError,
    ConflictError,
    DataNotFoundError,
    Generic404Error,
    GenericPermissionDeniedError,
    InternalServerError,
    MethodNotAllowed,
    NotReadyError,
    PermissionDeniedError,
)
from modelyard.execution import After
from modelyard.execution.queue import states
from modelyard.execution.records import ENDED
from modelyard.ids import new_id
from modelyard.models.exports.links import follow_link
from modelyard.settings import Settings
from modelyard.storage import BlobStore

log = logging.getLogger(__name__)
Result = TypeVar("Result")

#: Threads that actions run in.
THREADS = 16
#: Bytes from which a body is large.
LARGE = 64 * 1024
#: Calls that may be held at once until what they ask about has ended; further ones are answered as it stands.
HELD_AT_ONCE = 64
#: In the User-Agent of clients that poll: the official one, whose waits sleep two to five seconds between two looks,
#: and our command line.
POLLING = ("python-abacusai", "modelyard-cli")
AWAY = "The database does not answer; whether this call was done is not known. Try again in a moment."
#: The session of an action that has none: whatever it is asked, there is no database behind it.
NOWHERE = Session()


class UnderWay(NamedTuple):
    """The answer about something that is still going on."""

    answer: bytes


Outcome = bytes | FileBytes | RawBytes | UnderWay


class Door:
    """Calls the actions of one house for HTTP requests."""

    def __init__(
        self,
        actions: Mapping[str, Action],
        database: Database,
        parts: Container,
        settings: Settings,
        clock: Clock = utc_now,
    ) -> None:
        self._actions, self._database, self._parts, self._settings = actions, database, parts, settings
        self._clock = clock
        self._guard = HostGuard(settings)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="action")
        self._keys = Keyring(database)
        self._held = 0
        spool(settings.home)  # what a killed gateway left of forms is removed now, not with the first form

    async def answer(self, request: Request) -> Response:
        """The answer to a request for `/api/v0/{action}` or `/api/{action}`."""
        request_id, start = new_id() + new_id(), time.perf_counter()
        name = request.path_params["action"]
        try:
            response = await self._answer(request, name, request_id)
        except ApiError as error:
            response = failure(error, request_id)
        except IntegrityError as error:
            log.warning("request %s: %s: two calls met: %s", request_id, name, error.orig)
            response = failure(ConflictError("Another call changed the same thing; try again"), request_id)
        except DISCONNECTED as error:
            log.warning("request %s: %s: the database does not answer: %s", request_id, name, first_line(error))
            response = failure(InternalServerError(AWAY), request_id)
        except Exception:  # the API's door: the caller gets a clean answer, the log the details
            log.exception("request %s: %s failed", request_id, name)
            response = failure(InternalServerError(), request_id)
        took_ms = (time.perf_counter() - start) * 1000
        log.info("request %s: %s %s %d %.1f ms", request_id, request.method, name, response.status_code, took_ms)
        return response

    async def download(self, request: Request) -> Response:
        """The file that a link leads to: no key is asked for, the link itself is one."""
        request_id, link = new_id() + new_id(), request.path_params["link"]

        def follow() -> tuple[Path, str]:
            with self._database.read() as session:
                found = follow_link(session, self._settings, self._clock(), link)
            path = self._parts.get(BlobStore).path(found.digest)
            if not path.exists():
                raise DataNotFoundError("The file is not there any more; export the version again")
            return path, found.file_name

        try:
            self._guard.check_host(request)
            path, name = await self._in_thread(follow)
        except ApiError as error:
            return failure(error, request_id)
        # Never shown by a browser, whatever is in it: it would stand on our own origin.
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(name)}", "x-content-type-options": "nosniff",
            "cache-control": "private, no-store", "x-request-id": request_id,
        }  # fmt: skip
        return ranged(path, request.headers.get("range"), headers)

    async def _answer(self, request: Request, name: str, request_id: str) -> Response:
        self._guard.check_host(request)
        action = self._find(request, name)
        if action.writes:
            self._guard.check_origin(request)
        holder = await self._authenticate(request, action)
        async with wire_values(request, self._settings) as values:
            if holder is None and action.auth is Auth.STREAMING_TOKEN and not values.get("streamingToken"):
                raise GenericPermissionDeniedError("Neither a streaming token nor an API key was given")
            arguments = await self._decode(request, action, values)
            call = self._call(request, holder, request_id)
            if action.deferred:
                return success(await self._defer(action, arguments, call(NOWHERE)), request_id)
            result = await self._perform(lambda: self._in_transaction(action, arguments, call))
            if isinstance(result, UnderWay):
                result = await self._hold(request, result, lambda: self._in_transaction(action, arguments, call))
        return _response(result, request_id)

    async def _defer(self, action: Action, arguments: Mapping[str, Wire], call: Call) -> bytes:
        """The answer of an action that gives a future of it: no thread waits meanwhile."""
        answering = action.function(call, **arguments)
        assert isinstance(answering, Future)
        return encode_result(await asyncio.wrap_future(answering))

    async def _decode(self, request: Request, action: Action, values: Mapping[str, Wire]) -> dict[str, object]:
        """The arguments; a large body's in a thread, so that nobody waits behind it."""
        chunked = "transfer-encoding" in request.headers
        if not chunked and int(request.headers.get("content-length", 0)) < LARGE:
            return action.decode(values)
        return await self._in_thread(lambda: action.decode(values))

    def _find(self, request: Request, name: str) -> Action:
        action = self._actions.get(name)
        if action is None or (request.scope.get("via_proxy") and not action.proxy):
            raise Generic404Error(f"There is no action {name[:100]!r}")
        if request.method not in action.verbs:
            raise MethodNotAllowed(f"{name} is called by {' or '.join(action.verbs)}, not by {request.method}")
        return action

    async def _authenticate(self, request: Request, action: Action) -> Holder | None:
        key = request.headers.get("apikey")
        if key is None:
            if action.auth in (Auth.OPEN, Auth.DEPLOYMENT_TOKEN, Auth.STREAMING_TOKEN):
                return None
            raise GenericPermissionDeniedError("No API key was given: send it in the header apiKey")
        checked = self._keys.trusted(key)
        holder = checked.holder if checked else await self._in_thread(lambda: self._keys.find(key))
        if holder is None:
            raise GenericPermissionDeniedError("Invalid API Key")
        if not may_call(holder.role, action):
            raise PermissionDeniedError(f"A user with the role {holder.role} may not call {action.name}")
        return holder

    def _call(self, request: Request, holder: Holder | None, request_id: str) -> Callable[[Session], Call]:
        base_url = self._settings.public_url.rstrip("/") or f"{request.url.scheme}://{request.headers['host']}"
        notebook_id = request.headers.get("notebookid")
        who = holder.principal if holder else None

        def with_session(session: Session) -> Call:
            return Call(
                session, self._parts, self._settings, self._clock, request_id, notebook_id, base_url.rstrip("/"), who
            )

        return with_session

    async def _perform(self, function: Callable[[], Outcome | After]) -> Outcome:
        """The action's outcome, after the runs that it has to wait for."""
        deadline = None
        while isinstance(result := await self._in_thread(function), After):
            deadline = deadline or time.monotonic() + result.timeout_s
            await self._wait(result, deadline)
        return result

    def _in_transaction(
        self, action: Action, arguments: Mapping[str, Wire], call: Callable[[Session], Call]
    ) -> Outcome | After:
        transaction: AbstractContextManager[Session]
        at_once = action.writes and not action.own_transaction
        transaction = self._database.write() if at_once else self._database.read()
        with transaction as session:
            result = action.function(call(session), **arguments)
            if isinstance(result, FileBytes | RawBytes | After):
                return result
            encoded = encode_result(result)
            return UnderWay(encoded) if action.under_way and action.under_way(result) else encoded

    async def _hold(self, request: Request, result: Outcome, look: Callable[[], Outcome | After]) -> Outcome:
        """Has an official client that polls wait here for the end, for a while: it would sleep for longer."""
        if self._held >= HELD_AT_ONCE or not _polls(request):
            return result
        self._held += 1
        try:
            pause, deadline = 0.02, time.monotonic() + self._settings.hold_s
            while isinstance(result, UnderWay) and time.monotonic() < deadline:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.2)
                result = await self._perform(look)
            return result
        finally:
            self._held -= 1

    async def _wait(self, after: After, deadline: float) -> None:
        pause = 0.01
        while not await self._in_thread(lambda: self._have_ended(after)):
            if time.monotonic() > deadline:
                raise NotReadyError("The work that this needs is still going on; ask again later")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    def _have_ended(self, after: After) -> bool:
        with self._database.read() as session:
            return all(state in ENDED for state in states(session, after.run_ids).values())

    async def _in_thread(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)


def _polls(request: Request) -> bool:
    client = request.headers.get("user-agent", "")
    return any(name in client for name in POLLING)


def _response(result: Outcome, request_id: str) -> Response:
    headers = {"x-request-id": request_id}
    if isinstance(result, UnderWay):
        result = result.answer
    if isinstance(result, bytes):
        return success(result, request_id)
    if isinstance(result, RawBytes):
        return StreamingResponse(result.chunks, media_type="application/octet-stream", headers=headers)
    return FileResponse(result, headers)
