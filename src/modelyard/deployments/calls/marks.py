"""Which calls a replica is at: a little memory that a gateway shares with it, one piece a connection.

The replica writes the number of each call there before it begins, in the place of the thread that does it. Should it
end, the gateway knows which of its calls may be what ended it; while it works, since when. Without that, of several
gateways each would have to suspect the first of its own, and to time calls that wait behind another's. The memory is
sealed, so that a replica can write into it and do nothing else.
"""

import fcntl
import mmap
import os
import socket
import struct

from modelyard.deployments.calls.frames import HEADER, Kind

#: Calls that a replica can be at together.
PLACES = 64
#: A word that changes whenever the replica turns to calls of another gateway; then one place a thread: number and 1.
_FORM = struct.Struct(f"=Q{PLACES}Q")


class Mark:
    """A gateway's end."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("mark", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, _FORM.size)
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._memory = mmap.mmap(self._fd, _FORM.size, prot=mmap.PROT_READ)

    def hand_over(self, connected: socket.socket) -> None:
        """Gives the replica its end, in front of the first call."""
        socket.send_fds(connected, [HEADER.pack(0, 0, Kind.MARK)], [self._fd])
        os.close(self._fd)
        self._fd = -1

    def read(self) -> bytes:
        """What the replica has written; other bytes than before mean that it goes on."""
        return bytes(self._memory)

    def close(self) -> None:
        """Lets go of it."""
        self._memory.close()
        if self._fd >= 0:
            os.close(self._fd)


def numbers(written: bytes) -> set[int]:
    """The calls of this gateway that each thread began last."""
    _, *places = _FORM.unpack(written)
    return {place - 1 for place in places if place}
