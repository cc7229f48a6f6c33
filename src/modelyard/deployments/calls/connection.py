"""A gateway's connection to one replica: many calls at once over one Unix socket, told apart by their ids.

`line.Line` opens one for each ready replica and hands it calls. Frames of one turn of the event loop go out in one
write. Nothing that a caller does can disturb it: answers are given to futures, never written to clients from here, and
every future is looked at before it is set, since its caller may have left.
While a gateway uses a replica it holds a shared lock on the file beside its socket; an agent that retires a replica
waits for that lock, so no call is lost, and the kernel lets go of the locks of a killed gateway.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable
from typing import Protocol

from modelyard.deployments.calls.frames import HEADER, TIMED, Answer, Kind, read_answer
from modelyard.deployments.calls.marks import Mark, numbers
from modelyard.deployments.calls.routes import Place

#: Seconds between two looks at how long calls have been going on.
SWEEP_S = 0.1
#: Seconds past the limit of a call after which a replica that does not go on with any is given up: less could be a
#: turn's worth of quick calls and a long one of another gateway, which replaces the replica itself.
GRACE_S = 1.0
#: Answers larger than this are gathered in a buffer of their own.
LARGE = 256 * 1024
READ = 1024**2
#: Bytes of calls that may wait in one connection.
WAITING_BYTES = 256 * 1024**2
#: Status of an answer that was larger than the limit and thrown away; a replica's own statuses are small.
TOO_LARGE = 255


class PendingCall:
    """A call that has no answer yet."""

    __slots__ = ("began_at", "body", "future", "is_dropped", "kind", "resent", "sent_at")

    def __init__(self, kind: int, body: bytes, future: "asyncio.Future[Answer]") -> None:
        self.kind, self.body, self.future = kind, body, future
        self.sent_at = 0.0
        #: When the replica was first seen at it; None before.
        self.began_at: float | None = None
        self.resent = 0
        #: The replica has been told that nobody waits for it any more.
        self.is_dropped = False


class Owner(Protocol):
    """Who is told what happens to a connection."""

    def timed_out(self, connection: "Connection", call: PendingCall | None) -> None:
        """A call is past its limit; or calls have waited for as long, and the replica has not gone on with any."""

    def lost(self, connection: "Connection", begun: list[PendingCall], others: list[PendingCall]) -> None:
        """The connection ended with these calls unanswered: those that may have been begun, and those that were not."""


class Connection(asyncio.Protocol):
    """One connection. Lives in the event loop's thread."""

    def __init__(self, place: Place, owner: Owner, timeout_s: float, answer_limit: int, lock: int, mark: Mark) -> None:
        self.place, self._mark = place, mark
        #: By request id, in the order in which they were sent.
        self.pending: dict[int, PendingCall] = {}
        self.waiting_bytes = 0
        self.is_open = False
        self._owner, self._timeout_s, self._answer_limit, self._lock = owner, timeout_s, answer_limit, lock
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._out: list[bytes] = []
        self._rest = b""
        self._large: _LargeAnswer | None = None
        #: What the replica had written when it was last looked at, and when it last did anything.
        self._written, self._moved_at = b"", 0.0
        self._sweeper: asyncio.TimerHandle | None = None
        self._retiring = False
        self._socket = -1

    # -- calls --------------------------------------------------------------------------------------------------

    def send(self, call: PendingCall) -> None:
        """Sends a call; its future gets the answer. Only while the connection is open."""
        request_id = self._next_id = (self._next_id + 1) & 0xFFFFFFFF
        call.sent_at, call.began_at = time.monotonic(), None
        self.pending[request_id] = call
        body, out = call.body, self._out
        self.waiting_bytes += len(body)
        if not out:
            self._loop.call_soon(self._flush)
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        out.append(HEADER.pack(len(body), request_id, call.kind) + body)

    def retire(self) -> None:
        """Closes the connection once every call has its answer; nothing new may be sent."""
        self._retiring = True
        if not self.pending:
            self.close()

    def close(self) -> None:
        """Closes at once; calls without an answer go back to the owner."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    # -- what the transport tells -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport
        self._socket = os.dup(transport.get_extra_info("socket").fileno())
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._large is not None:
            data = self._fill(data)
        if self._rest:
            data, self._rest = self._rest + data, b""
        position, size, header = 0, len(data), HEADER.size
        while size - position >= header:
            length, request_id, status = HEADER.unpack_from(data, position)
            end = position + header + length
            if end > size:
                if length > LARGE:
                    self._large = _LargeAnswer(request_id, status, length, self._answer_limit)
                    self._fill(data[position + header :])
                    return
                break
            body = data[position + header : end]
            if len(body) > self._answer_limit:
                status, body = TOO_LARGE, b"%d" % len(body)
            self._answer(request_id, status, body)
            position = end
        if position < size:
            self._rest = data[position:]

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        self._read_last_answers()
        self._release()
        if self._sweeper is not None:
            self._sweeper.cancel()
        calls, self.pending = self.pending, {}
        begun = numbers(self._mark.read())
        self._mark.close()
        self._owner.lost(
            self,
            [call for request_id, call in calls.items() if request_id in begun],
            [call for request_id, call in calls.items() if request_id not in begun],
        )

    def _read_last_answers(self) -> None:
        """Takes what the replica sent before it ended: a write that fails closes the transport with answers unread."""
        try:
            while data := os.read(self._socket, READ):
                self.data_received(data)
        except OSError:
            return
        finally:
            os.close(self._socket)

    # -- answers ------------------------------------------------------------------------------------------------

    def _fill(self, data: bytes) -> bytes:
        large = self._large
        assert large is not None
        rest = large.take(data)
        if large.is_complete:
            self._large = None
            self._answer(large.request_id, *large.answer())
        return rest

    def _answer(self, request_id: int, status: int, body: bytes | bytearray) -> None:
        call = self.pending.pop(request_id, None)
        if call is None:
            return
        self._moved_at = time.monotonic()
        self.waiting_bytes -= len(call.body)
        if not call.future.done():
            call.future.set_result(Answer(status, body) if status < TIMED else read_answer(status, body))
        if self._retiring and not self.pending:
            self.close()

    def _sweep(self) -> None:
        """Looks how long calls have been going on, and for calls whose callers have left."""
        self._sweeper = None
        if not self.pending:
            return
        self._time_calls(time.monotonic())
        self._drop_left()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _time_calls(self, now: float) -> None:
        """Times each call from when the replica began it: what it waited before, others took."""
        written = self._mark.read()
        if written != self._written:
            self._written, self._moved_at = written, now
        begun = [call for number in numbers(written) if (call := self.pending.get(number)) is not None]
        for call in begun:
            if call.began_at is None:
                call.began_at = now
            elif now - call.began_at > self._timeout_s:
                self._owner.timed_out(self, call)
                return
        oldest = next(iter(self.pending.values()))
        if not begun and now - max(self._moved_at, oldest.sent_at) > self._timeout_s + GRACE_S:
            self._owner.timed_out(self, None)

    def _drop_left(self) -> None:
        """Tells the replica which calls nobody waits for any more: those that it has not begun it never does."""
        for request_id, call in self.pending.items():
            if call.future.cancelled() and not call.is_dropped:
                call.is_dropped = True
                if not self._out:
                    self._loop.call_soon(self._flush)
                self._out.append(HEADER.pack(0, request_id, Kind.CANCEL))

    def _release(self) -> None:
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


class _LargeAnswer:
    """Gathers one large answer, or throws it away and counts it where it is past the limit."""

    def __init__(self, request_id: int, status: int, size: int, limit: int) -> None:
        self.request_id, self._status, self._size = request_id, status, size
        self._buffer = bytearray(size) if size <= limit else None
        self._filled = 0

    @property
    def is_complete(self) -> bool:
        return self._filled == self._size

    def take(self, data: bytes) -> bytes:
        """Takes what belongs to this answer and gives the rest back."""
        wanted = self._size - self._filled
        piece = data if len(data) <= wanted else data[:wanted]
        if self._buffer is not None:
            self._buffer[self._filled : self._filled + len(piece)] = piece
        self._filled += len(piece)
        return data[len(piece) :]

    def answer(self) -> tuple[int, bytes | bytearray]:
        """Status and body."""
        return (TOO_LARGE, b"%d" % self._size) if self._buffer is None else (self._status, self._buffer)


def lock_path(socket: str) -> str:
    """The file on which gateways hold shared locks while they use the replica of that socket."""
    return socket.removesuffix(".sock") + ".lock"


async def connect(place: Place, make: Callable[[int, Mark], Connection]) -> Connection:
    """Connects to a replica; OSError when it has gone or is being retired."""
    with contextlib.ExitStack() as stack:
        lock = os.open(lock_path(place.socket), os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        mark = stack.enter_context(contextlib.closing(Mark()))
        connected = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connected.setblocking(False)
        connected.connect(place.socket)
        mark.hand_over(connected)
        _, connection = await asyncio.get_running_loop().create_unix_connection(
            lambda: make(lock, mark), sock=connected
        )
        stack.pop_all()
    return connection
