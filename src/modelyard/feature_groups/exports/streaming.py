"""A table's bytes in another format, as a guest writes them: a stream that ends well, or raises before it ends.

The guest writes into a pipe while whoever asked reads from it, so nothing of the file lies anywhere, and memory does
not grow with the table. Frames say where a file ends (`sandbox/guest/table_out.py`); a guest that dies before the last
of them raises here, so a destination never sees a short file as a whole one.
"""

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from modelyard.environments import EnvironmentFailure, Environments
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.feature_groups.sizes import limits_of
from modelyard.feature_groups.twins import opened_parts
from modelyard.sandbox import GuestError, GuestNotStarted, Outcome, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind
from modelyard.storage import BlobStore, Table

_HEAD = struct.Struct(">cI")
_MOST_BYTES = 1024**2
_DATA, _NEXT, _END = b"D", b"N", b"E"


class StreamFailed(Exception):
    """The table can't be written in that format; the message is for the user."""


class Stream:
    """The files of one table, one after the other."""

    def __init__(self, source: IO[bytes], ended: Callable[[], None], check: Callable[[], None]) -> None:
        self._source, self._ended, self._check = source, ended, check
        self._more = True

    def files(self) -> Iterator[Iterator[bytes]]:
        """The chunks of each file; one is to be read to its end before the next is asked for."""
        while self._more:
            yield self._chunks()

    def _chunks(self) -> Iterator[bytes]:
        while True:
            self._check()
            kind, size = _HEAD.unpack(self._exactly(_HEAD.size))
            if kind == _DATA and size <= _MOST_BYTES:
                yield self._exactly(size)
                continue
            if kind not in (_NEXT, _END):
                raise StreamFailed("The writer of the table sent what is no part of a file")
            if kind == _END:
                self._more = False
                self._ended()
            return

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) != size:
            self._ended()
            raise StreamFailed("The writer of the table ended before the table did")
        return data


@contextlib.contextmanager
def streamed(run: RunContext, table: Table, message: dict[str, Any]) -> Iterator[Stream]:
    """The table in the format that the message for `export_table` says, while the block lasts.

    Leaving the block before the end ends the guest. StreamFailed says what is wrong with the table.
    """
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _MOST_BYTES)
    guest = _Guest(run, table, message, writing)
    with os.fdopen(reading, "rb", buffering=_MOST_BYTES) as source:
        guest.start()
        try:
            yield Stream(source, guest.join, run.check_cancelled)
        finally:
            source.close()  # a guest that still writes hears of it by its next write
            guest.wait()


class _Guest:
    """The guest, in a thread of its own beside the reader."""

    def __init__(self, run: RunContext, table: Table, message: dict[str, Any], pipe: int) -> None:
        self._run, self._table, self._message, self._pipe = run, table, message, pipe
        self._thread = threading.Thread(target=self._work, name="export")
        self._outcome: Outcome[None] | None = None
        self._failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """Waits for its end, however that comes."""
        self._thread.join()

    def join(self) -> None:
        """Waits for its end and raises what went wrong."""
        self._thread.join()
        if isinstance(self._failure, SandboxUnavailable):
            raise Permanent(str(self._failure)) from self._failure
        if isinstance(self._failure, GuestNotStarted):
            raise Retry(f"a guest could not be started: {self._failure}") from self._failure
        if isinstance(self._failure, EnvironmentFailure):
            kind = Retry if self._failure.temporary else Permanent
            raise kind(str(self._failure)) from self._failure
        if self._failure is not None:
            raise self._failure
        if self._outcome is None or self._outcome.error is not None:
            self._run.check_cancelled()
            error = self._outcome.error if self._outcome else None
            raise (Retry if error is not None and error.was_killed else StreamFailed)(_sentence(error))

    def _work(self) -> None:
        run = self._run
        base = run.parts.get(Environments).base
        try:
            environment = base()
            with environment.hold(), opened_parts(run.parts.get(BlobStore), self._table) as descriptors:
                self._outcome = run.parts.get(Sandbox).run(
                    environment.interpreter, limits_of(run.settings, None, None), "export_table", self._message,
                    fds=[*descriptors, self._pipe], on_output=run.log, cancelled=run.cancelled, name="export",
                )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that reads, by `join`
            self._failure = error
        finally:
            os.close(self._pipe)


def _sentence(error: GuestError | None) -> str:
    if error is None:
        return "The table could not be written"
    if error.kind == FailureKind.EXCEPTION and error.type == "ValueError":
        return error.value
    return f"The table could not be written: {error.sentence}"
