"""The task `replica`: a model that is initialised once and then answers predictions over a Unix socket.

The gateway connects, sends frames and gets answers, matched by the number that it gave each request. A thread-safe
model is called on several threads at once; any other strictly one call at a time. Never returns while it serves.

Request: u32 length of the body, u32 number, u8 kind, body (the JSON of the call: queryData and further arguments).
Answer: u32 length of the body, u32 number, u8 status, body (the JSON of the result, or of type, value, traceback).
"""

import contextlib
import json
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from . import answers, failures, form_data, model, timing
from .from_datasets import Recipe
from .replies import BadRequest as BadRequest

if TYPE_CHECKING:
    from .work import Work

HEADER = struct.Struct("!IIB")
PREDICT, PREDICT_MULTIPLE, PING, PREDICT_FROM_DATASETS, PREDICT_BINARY = 1, 2, 3, 5, 6
OK, USER_ERROR, REFUSED = 0, 1, 2
#: Keys of the call that are the platform's, not the function's.
_OURS = ("queryData", "deploymentToken", "deploymentId")

Send = Callable[[bytes], None]


def replica(work: "Work") -> None:
    """Message: as `model.load`, and thread_safe, threads, arguments (defaults of the deployment), recipe.

    Files: the listening socket, then those that `model.load` wants.
    """
    message: dict[str, Any] = work.message
    listener, *rest = work.fds
    work.started()
    loaded = model.load(message, rest)
    handler = Handler(loaded, message.get("arguments") or {}, Recipe(message.get("recipe")))
    work.answer({"ready": True, "predict_many": loaded.has_predict_many})
    threads = int(message.get("threads") or 8) if message.get("thread_safe") else 0
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
            return answers.to_json(self._model.predict(form, {**self._arguments, **fields}))
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
        return query, {**self._arguments, **given}


def frame(number: int, result: Callable[[], bytes]) -> bytes:
    """The answer frame of what `result` gives, or raises."""
    try:
        status, body = OK, result()
    except BadRequest as error:
        status, body = REFUSED, json.dumps({"type": error.kind, "value": str(error), "traceback": ""}).encode()
    except BaseException as error:  # noqa: BLE001 - a failure of user code is an answer
        status, body = USER_ERROR, json.dumps(failures.describe(error)).encode()
    return HEADER.pack(len(body), number, status) + body


class Server:
    """Connections of the gateway, and one thread or several for the user's code."""

    def __init__(self, listener: socket.socket, answer: Callable[[int, int, bytes], bytes], threads: int) -> None:
        self._listener, self._answer = listener, timing.timed(answer)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict") if threads else None
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Accepts and answers until the guest is killed."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if isinstance(key.fileobj, socket.socket) and key.data is None:
                    self._accept()
                else:
                    self._read(key.data)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            connection.setblocking(True)
            self._selector.register(connection, selectors.EVENT_READ, Connection(connection))

    def _read(self, connection: "Connection") -> None:
        if not connection.fill():
            self._selector.unregister(connection.socket)
            connection.close()
            return
        for number, kind, body in connection.requests():
            if self._pool is not None:
                self._pool.submit(self._answer_on_thread, connection, number, kind, body)
            else:
                # Sent before the next call begins: a call that ends this process takes no other's answer along.
                connection.send(self._answer(number, kind, body))

    def _answer_on_thread(self, connection: "Connection", number: int, kind: int, body: bytes) -> None:
        connection.send(self._answer(number, kind, body))


class Connection:
    """One connection of the gateway: requests cut out of its bytes, answers sent one after the other."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._received = bytearray()
        self._lock = threading.Lock()

    def fill(self) -> bool:
        """Reads what has come; False at the end of the connection."""
        try:
            data = self.socket.recv(1 << 18)
        except OSError:
            return False
        self._received += data
        return bool(data)

    def requests(self) -> "list[tuple[int, int, bytes]]":
        """The whole requests among what has come."""
        found, at, received = [], 0, self._received
        while len(received) - at >= HEADER.size:
            length, number, kind = HEADER.unpack_from(received, at)
            end = at + HEADER.size + length
            if len(received) < end:
                break
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
