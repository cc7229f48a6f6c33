"""What gateways tell a serving of its load: a datagram to a Unix socket beside its replicas' sockets.

A gateway sends one a few times a second while it has calls under way, and nothing else: a deployment that nobody asks
costs nobody anything. A datagram that is lost is made up for by the next. Gateways and replicas are on one machine.
"""

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from modelyard.ids import ServingId

#: Seconds between two reports of a gateway.
REPORT_S = 0.2
_FORM = struct.Struct("!II")


class Report(NamedTuple):
    """What one gateway says of one serving."""

    #: A number that the gateway drew when it started.
    gateway: int
    #: Calls that have been sent to its replicas, and those that wait for one.
    load: int


class Reports:
    """A serving's end: a socket that reports arrive at."""

    def __init__(self, folder: Path, serving_id: ServingId) -> None:
        self._path = path_of(folder, serving_id)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)

    def receive(self, timeout_s: float) -> list[Report]:
        """What has come, as soon as something has or somebody rang, or nothing after `timeout_s`."""
        found: list[Report] = []
        self._socket.settimeout(max(timeout_s, 0.001))
        with contextlib.suppress(OSError):
            while True:
                data = self._socket.recv(64)
                self._socket.setblocking(False)
                if len(data) == _FORM.size:
                    found.append(Report(*_FORM.unpack(data)))
        return found

    def ring(self) -> None:
        """Has `receive` return, from another thread of this process."""
        reporter = Reporter()
        reporter.send(self._path, b"")
        reporter.close()

    def close(self) -> None:
        """Takes the socket away."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


class Reporter:
    """A gateway's end. Never waits; a serving that has gone hears nothing."""

    def __init__(self) -> None:
        self._number = int.from_bytes(os.urandom(4))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def report(self, place: str, serving_id: ServingId, load: int) -> None:
        """Tells the serving whose replica listens at `place`."""
        path = path_of(Path(place).parent, serving_id)
        self.send(path, _FORM.pack(self._number, min(load, 0xFFFFFFFF)))

    def send(self, path: Path, data: bytes) -> None:
        """Sends a datagram there, or drops it."""
        with contextlib.suppress(OSError):
            self._socket.sendto(data, str(path))

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


def path_of(folder: Path, serving_id: ServingId) -> Path:
    """Where a serving hears reports."""
    return folder / f"{serving_id}.load"
