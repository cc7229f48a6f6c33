"""The task `replica`: a model that is initialised once and then answers predictions over a Unix socket.

The gateway connects, sends frames and gets answers, matched by the number that it gave each request. A thread-safe
model is called on several threads at once; any other strictly one call at a time. Never returns while it serves.

Request: u32 length of the body, u32 number, u8 kind, body (the JSON of the call: queryData and further arguments).
Answer: u32 length of the body, u32 number, u8 status, body (the JSON of the result, or of type, value, traceback).
A request of kind CANCEL names by its number a call that nobody waits for: if it has not begun, it never does, and is
answered CANCELLED; one that has begun is let run, since nothing short of ending the process would stop it. With a
request of kind MARK comes memory of the gateway: a word that changes with each turn of other gateways, then a place
for each thread, where the number of a call and 1 is noted before it begins.
"""

import contextlib
import itertools
import json
import mmap
import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from . import answers, batches, failures, form_data, model, timing
from .from_datasets import Recipe
from .replies import BadRequest as BadRequest

if TYPE_CHECKING:
    from .work import Work

HEADER = struct.Struct("!IIB")
_WORD = struct.Struct("=Q")
#: Threads of a thread-safe model, unless its message says fewer: what a gateway shares has a place for each.
THREADS = 8
PREDICT, PREDICT_MULTIPLE, PING, PREDICT_FROM_DATASETS, PREDICT_BINARY, CANCEL, PREDICT_BATCH, MARK = (
    1,
    2,
    3,
    5,
    6,
    7,
    8,
    9,
)
OK, USER_ERROR, REFUSED, CANCELLED = 0, 1, 2, 3
#: Bytes that are read to see whether calls behind a slow one have been cancelled.
READ_AHEAD = 8 * 1024**2
#: Seconds for which one connection's calls are answered before others are looked at.
TURN_S = 0.05
#: Seconds of a call after which it is worth a look whether calls behind it have been cancelled meanwhile.
SLOW_S = 0.01
#: Keys of the call that are the platform's, not the function's.
_OURS = ("queryData", "deploymentToken", "deploymentId")

Send = Callable[[bytes], None]


def replica(work: "Work") -> None:
    """Message: as `model.load`, and thread_safe, threads (if fewer), arguments (defaults of the deployment), recipe.

    Files: the listening socket, then those that `model.load` wants.
    """
    message: dict[str, Any] = work.message
    listener, *rest = work.fds
    work.started()
    loaded = model.load(message, rest)
    handler = Handler(loaded, message.get("arguments") or {}, Recipe(message.get("recipe")))
    work.answer({"ready": True, "predict_many": loaded.has_predict_many, "imports": loaded.imports})
    threads = min(int(message.get("threads") or THREADS), THREADS) if message.get("thread_safe") else 0
    Server(socket.socket(fileno=listener), handler.answer, threads).serve()


class Handler:
    """From one request to one answer."""

    def __init__(self, loaded: model.Model, arguments: dict[str, object], recipe: Recipe) -> None:
        self._model, self._arguments, self._recipe = loaded, arguments, recipe
        self._decode = _decoder()

    def answer(self, number: int, kind: int, body: bytes) -> bytes:
        """The whole answer frame. Never raises."""
        return frame(number, lambda: self._result(kind, body))

    def _result(self, kind: int, body: bytes) -> bytes:
        if kind == PING:
            return b"null"
        if kind == PREDICT_BINARY:
            form, fields = form_data.read(body)
            self._check_names(form, fields)
            return answers.to_json(self._model.predict(form, {**self._arguments, **fields}))
        if kind == PREDICT_BATCH:
            return batches.pack(batches.answer(self._model, batches.unpack(body), self._call, failed))
        query, arguments = self._call(body)
        if kind == PREDICT:
            return answers.to_json(self._model.predict(query, arguments))
        if kind == PREDICT_FROM_DATASETS:
            query = self._recipe.rows(query)
        elif kind != PREDICT_MULTIPLE:
            raise BadRequest(f"no request of kind {kind}")
        if not isinstance(query, list):
            raise BadRequest("queryData must be a list of queries")
        return answers.to_json(self._model.predict_many(query, arguments) if query else [])

    def _call(self, body: bytes) -> tuple[Any, dict[str, Any]]:
        try:
            call = self._decode(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
        if not isinstance(call, dict):
            raise BadRequest("the body must be a JSON object")
        query = call.get("queryData")
        if len(call) == 1 and not self._arguments:
            return query, {}
        given = {name: value for name, value in call.items() if name not in _OURS and value is not None}
        self._check_names(query, given)
        return query, {**self._arguments, **given}

    def _check_names(self, query: object, given: Mapping[str, object]) -> None:
        if not given:
            return
        if wrong := self._model.misspelt(given):
            raise BadRequest(wrong, "InvalidParameterError")
        if query is None and self._model.takes_none_of(given):
            names = ", ".join(f"`{name[:100]}`" for name in list(given)[:3])
            raise BadRequest(
                f"The call has no queryData, but {names}, which the model does not take as arguments: "
                'send the query as {"queryData": {...}}'
            )


def frame(number: int, result: Callable[[], bytes]) -> bytes:
    """The answer frame of what `result` gives, or raises."""
    try:
        status, body = OK, result()
    except BaseException as error:  # noqa: BLE001 - a failure of user code is an answer
        status, body = failed(error)
    return HEADER.pack(len(body), number, status) + body


def failed(error: BaseException) -> tuple[int, bytes]:
    """Status and body of the answer to a call that raised."""
    if isinstance(error, BadRequest):
        return REFUSED, json.dumps({"type": error.kind, "value": str(error), "traceback": ""}).encode()
    return USER_ERROR, json.dumps(failures.describe(error)).encode()


class Server:
    """Connections of the gateway, and one thread or several for the user's code."""

    def __init__(self, listener: socket.socket, answer: Callable[[int, int, bytes], bytes], threads: int) -> None:
        self._listener, self._answer, self._process_id = listener, timing.timed(answer), os.getpid()
        #: Which thread of the pool this is, from 0.
        self._own, places = threading.local(), itertools.count()
        self._pool = (
            ThreadPoolExecutor(threads, "predict", lambda: setattr(self._own, "place", next(places)))
            if threads
            else None
        )
        self._selector = selectors.DefaultSelector()
        #: Connections with calls that wait for their turn, where calls go one after the other.
        self._busy: dict[Connection, None] = {}
        self._connections: dict[Connection, None] = {}
        self._turns = itertools.count(1)

    def serve(self) -> None:
        """Accepts and answers until the guest is killed."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(0 if self._busy else None):
                if isinstance(key.fileobj, socket.socket) and key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            for connection in tuple(self._busy):
                self._answer_in_turn(connection)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            connection.setblocking(True)
            made = Connection(connection)
            self._selector.register(connection, selectors.EVENT_READ, made)
            self._connections[made] = None

    def _read(self, connection: "Connection") -> None:
        if not connection.fill():
            self._selector.unregister(connection.socket)
            self._busy.pop(connection, None)
            self._connections.pop(connection, None)
            connection.close()
        elif self._pool is None:
            connection.queue_up()
            self._busy[connection] = None
        else:
            for number, kind, body in connection.requests():
                self._hand_to_thread(self._pool, connection, number, kind, body)

    def _hand_to_thread(
        self, pool: ThreadPoolExecutor, connection: "Connection", number: int, kind: int, body: bytes
    ) -> None:
        under_way = connection.under_way
        if kind != CANCEL:
            future = under_way[number] = pool.submit(self._answer_on_thread, connection, number, kind, body)
            future.add_done_callback(lambda _: under_way.pop(number, None))
        elif (found := under_way.get(number)) is not None and found.cancel():
            connection.send(HEADER.pack(0, number, CANCELLED))

    def _answer_on_thread(self, connection: "Connection", number: int, kind: int, body: bytes) -> None:
        self._tell_others(connection)
        connection.mark(number, self._own.place)
        self._reply(connection, number, kind, body)

    def _reply(self, connection: "Connection", number: int, kind: int, body: bytes) -> None:
        answer = self._answer(number, kind, body)
        if os.getpid() != self._process_id:
            os._exit(0)  # forked by the user's code, which has come back in it, too: it must not read others' calls
        connection.send(answer)

    def _answer_in_turn(self, connection: "Connection") -> None:
        """Answers what waits in a connection, for a while: then other connections have their turn."""
        self._tell_others(connection)
        end = time.monotonic() + TURN_S
        for _ in range(len(connection.waiting)):
            number, kind, body = connection.waiting.popleft()
            if number in connection.cancelled:
                connection.cancelled.discard(number)
                connection.send(HEADER.pack(0, number, CANCELLED))
                continue
            began = time.monotonic()
            connection.mark(number, 0)
            # Sent before the next call begins: a call that ends this process takes no other's answer along.
            self._reply(connection, number, kind, body)
            now = time.monotonic()
            if now - began > SLOW_S:
                self._tell_others(connection)
                if connection.fill_more():
                    connection.queue_up()
            if now > end:
                break
        if not connection.waiting:
            self._busy.pop(connection, None)

    def _tell_others(self, connection: "Connection") -> None:
        """Lets other gateways know that it goes on, with calls that are not theirs."""
        if len(self._connections) > 1:
            turn = next(self._turns)
            for other in tuple(self._connections):
                if other is not connection:
                    other.note_turn(turn)


class Connection:
    """One connection of the gateway: requests cut out of its bytes, answers sent one after the other."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        #: Calls that wait for their turn, and the numbers of those among them that nobody waits for any more.
        self.waiting: deque[tuple[int, int, bytes]] = deque()
        self.cancelled: set[int] = set()
        #: Calls that a thread has, or will have, by their numbers.
        self.under_way: dict[int, Future[None]] = {}
        self._is_greeted, self._memory = False, cast("mmap.mmap | None", None)
        self._received = bytearray()
        self._lock = threading.Lock()

    def fill(self) -> bool:
        """Reads what has come; False at the end of the connection."""
        try:
            data = self.socket.recv(1 << 18) if self._is_greeted else self._greet()
        except OSError:
            return False
        self._received += data
        return bool(data)

    def _greet(self) -> bytes:
        """The first bytes, with which the memory for the mark comes, if any does."""
        self._is_greeted = True
        data, descriptors, *_ = socket.recv_fds(self.socket, 1 << 18, 1)
        for descriptor in descriptors:
            self._memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
            os.close(descriptor)
        return data

    def mark(self, number: int, place: int) -> None:
        """Notes that a thread begins a call: should it end this process, the gateway knows which one it was."""
        if self._memory is not None:
            _WORD.pack_into(self._memory, _WORD.size * (1 + place), number + 1)

    def note_turn(self, turn: int) -> None:
        """Notes that calls of others are being answered."""
        if self._memory is not None:
            _WORD.pack_into(self._memory, 0, turn)

    def fill_more(self) -> bool:
        """Reads what has come meanwhile, without waiting; False if nothing has."""
        came = False
        with contextlib.suppress(OSError):
            while len(self._received) < READ_AHEAD and (data := self.socket.recv(1 << 18, socket.MSG_DONTWAIT)):
                self._received += data
                came = True
        return came

    def queue_up(self) -> None:
        """Has the calls that have come wait for their turn, and takes note of those that were cancelled."""
        for request in self.requests():
            if request[1] != CANCEL:
                self.waiting.append(request)
            elif any(request[0] == number for number, _, _ in self.waiting):
                self.cancelled.add(request[0])

    def requests(self) -> "list[tuple[int, int, bytes]]":
        """The whole requests among what has come."""
        found, at, received = [], 0, self._received
        while len(received) - at >= HEADER.size:
            length, number, kind = HEADER.unpack_from(received, at)
            end = at + HEADER.size + length
            if len(received) < end:
                break
            if kind != MARK:
                found.append((number, kind, bytes(received[at + HEADER.size : end])))
            at = end
        del received[:at]
        return found

    def send(self, answer: bytes) -> None:
        """Sends an answer; one at a time, whichever thread it comes from."""
        with self._lock, contextlib.suppress(OSError):  # the gateway has left; `fill` notices
            self.socket.sendall(answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()


def _decoder() -> Callable[[bytes], Any]:
    try:
        import msgspec
    except ImportError:
        return json.loads
    decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode
    return decode
