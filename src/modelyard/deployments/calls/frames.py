"""The frames between a gateway and a replica, over a Unix connection that carries many calls at once.

A call: length of the body (4 bytes, big-endian), request id (4), kind (1), the body: the request's JSON as it came.
An answer: length of the body (4), request id (4), status (1), the body: the result as JSON, or a `Failure`. The guest's
end of the same is `sandbox/guest/replica.py`; what comes from there is hostile until it has been checked.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

HEADER = struct.Struct("!IIB")
#: In a kind: the answer is to tell when the replica worked on the call. In a status: it does, before its body.
TIMED = 0x40
#: When the work began and ended, in nanoseconds since 1970.
TIMES = struct.Struct("!QQ")


class Kind(IntEnum):
    """What is asked."""

    #: `predict` with the `queryData` of the body.
    PREDICT = 1
    #: `predict` for each item of `queryData`.
    PREDICT_MULTIPLE = 2
    #: Nothing: an empty answer.
    PING = 3
    #: The rows of a table that `lookups.for_replica` names.
    LOOK_UP = 4
    #: `predict` for each row that the model's first table would have, were its datasets the rows of the body.
    PREDICT_FROM_DATASETS = 5
    #: `predict` with a file; the body is what `binary_body` gave.
    PREDICT_BINARY = 6
    #: Nothing: nobody waits any more for the call of this number, which need not be begun.
    CANCEL = 7
    #: `predict` for each of several calls, by `predict_many` where that can be; see `pack_batch`.
    PREDICT_BATCH = 8
    #: Nothing: with it comes the memory where the replica notes which call it begins, see `marks.py`.
    MARK = 9


class Status(IntEnum):
    """How it went."""

    #: The body is the result, as JSON.
    OK = 0
    #: The user's code raised; the body is a `Failure`.
    USER_ERROR = 1
    #: The replica could not hand the request to the user's code; the body is a `Failure`.
    REFUSED = 2
    #: The call was cancelled before it had begun.
    CANCELLED = 3


class Failure(msgspec.Struct, frozen=True):
    """What a replica says of a call that failed."""

    type: str = ""
    value: str = ""
    traceback: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What came back for one call."""

    status: int
    body: bytes | bytearray
    #: When the replica worked on it, as it says, if it was asked to.
    times: tuple[int, int] | None = None


def binary_body(content_type: str, form: bytes, arguments: dict[str, Any] | None, *, override: bool) -> bytes:
    """A multipart form as a replica takes it: length of a head (4 bytes), the head as JSON, the form as it came.

    The head holds the deployment's arguments, which fill in what the form leaves out, or win over it.
    """
    head = msgspec.json.encode({"contentType": content_type, "arguments": arguments or {}, "override": override})
    return struct.pack("!I", len(head)) + head + form


_SIZE, _ITEM = struct.Struct("!I"), struct.Struct("!IB")
_failure = msgspec.json.Decoder(Failure)


def read_answer(status: int, body: bytes | bytearray) -> Answer:
    """The answer in a frame, which may begin with its times."""
    if status & ~(TIMED - 1) == TIMED and len(body) >= TIMES.size:
        return Answer(status - TIMED, body[TIMES.size :], TIMES.unpack_from(body))
    return Answer(status, body)


def read_failure(body: bytes | bytearray) -> Failure:
    """The failure in an answer's body; what is no failure is shown as it is."""
    try:
        return _failure.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Failure(value=bytes(body[:1000]).decode("utf-8", "replace"))


def pack_batch(bodies: Sequence[bytes]) -> bytes:
    """Several calls as one: the body of each behind its length."""
    return b"".join([_SIZE.pack(len(body)) + body for body in bodies])


def unpack_batch(body: bytes | bytearray) -> list[Answer]:
    """The answers to such a call, each behind its length and its status. ValueError for anything else."""
    answers, at = [], 0
    while at < len(body):
        if len(body) - at < _ITEM.size:
            raise ValueError("an answer ends in the middle of a head")
        size, status = _ITEM.unpack_from(body, at)
        at += _ITEM.size + size
        if at > len(body):
            raise ValueError("an answer ends before its length")
        answers.append(Answer(status, bytes(body[at - size : at])))
    return answers
