"""The frames between a gateway and a replica, over a Unix connection that carries many calls at once.

A call: length of the body (4 bytes, big-endian), request id (4), kind (1), the body: the request's JSON as it came.
An answer: length of the body (4), request id (4), status (1), the body: the result as JSON, or a `Failure`. The guest's
end of the same is `sandbox/guest/replica.py`; what comes from there is hostile until it has been checked.
"""

import struct
from enum import IntEnum

import msgspec

HEADER = struct.Struct("!IIB")


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


class Status(IntEnum):
    """How it went."""

    #: The body is the result, as JSON.
    OK = 0
    #: The user's code raised; the body is a `Failure`.
    USER_ERROR = 1
    #: The replica could not hand the request to the user's code; the body is a `Failure`.
    REFUSED = 2


class Failure(msgspec.Struct, frozen=True):
    """What a replica says of a call that failed."""

    type: str = ""
    value: str = ""
    traceback: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What came back for one call."""

    status: int
    body: bytes | bytearray


_failure = msgspec.json.Decoder(Failure)


def read_failure(body: bytes | bytearray) -> Failure:
    """The failure in an answer's body; what is no failure is shown as it is."""
    try:
        return _failure.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Failure(value=bytes(body[:1000]).decode("utf-8", "replace"))
