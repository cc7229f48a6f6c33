"""Which call a replica is at: eight bytes of memory that a gateway shares with it, one piece a connection.

The replica writes the number of each call there before it begins; should it end, the gateway looks which of its calls,
if any, may be what ended it. Without that, of several gateways each would have to suspect the first of its own. The
memory is sealed, so that a replica can write into it and do nothing else.
"""

import fcntl
import mmap
import os
import socket
import struct

from modelyard.deployments.calls.frames import HEADER, Kind

_FORM = struct.Struct("=Q")


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

    @property
    def number(self) -> int | None:
        """The call that was begun last; None before the first."""
        (number,) = _FORM.unpack_from(self._memory)
        return number - 1 if number else None

    def close(self) -> None:
        """Lets go of it."""
        self._memory.close()
        if self._fd >= 0:
            os.close(self._fd)
