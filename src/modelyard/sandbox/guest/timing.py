"""When this guest worked on a call, told to a gateway that asks for it because it traces the call.

A request whose kind has TIMED in it is answered with TIMED in the status, and the body begins with the two moments.
"""

import struct
import time
from collections.abc import Callable

TIMED = 0x40
TIMES = struct.Struct("!QQ")
_HEADER = struct.Struct("!IIB")

Answering = Callable[[int, int, bytes], bytes]


def timed(answer: Answering) -> Answering:
    """The same answers, with the times of those that are asked for them."""

    def answer_timed(number: int, kind: int, body: bytes) -> bytes:
        if not kind & TIMED:
            return answer(number, kind, body)
        began = time.time_ns()
        answered = answer(number, kind & ~TIMED, body)
        times = TIMES.pack(began, time.time_ns())
        length, number, status = _HEADER.unpack_from(answered)
        return _HEADER.pack(length + TIMES.size, number, status | TIMED) + times + answered[_HEADER.size :]

    return answer_timed
