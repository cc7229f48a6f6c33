"""The guest's end of the socket: length-prefixed JSON both ways, open files from the host beside it."""

import array
import json
import socket
import struct
import threading

_HEADER = struct.Struct("!I")
_FDS_A_MESSAGE = 200


class HostGone(Exception):
    """The host has closed its end: there is nobody left to work for."""


class Channel:
    """Frames over the inherited socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = threading.Lock()

    def send(self, message: dict[str, object]) -> None:
        """Sends one frame, whole. Text that is no Unicode (as odd file names give) is sent as question marks."""
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
        with self._sending:
            self._socket.sendall(_HEADER.pack(len(body)) + body)

    def receive(self) -> tuple[str, dict[str, object], list[int], dict[str, int]]:
        """The next request: the task, its message, its open files, the limits on this process."""
        (length,) = _HEADER.unpack(self._exactly(_HEADER.size))
        request = json.loads(self._exactly(length))
        return request["task"], request["message"], self._descriptors(request["fds"]), request["limits"]

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            data = self._socket.recv(min(size, 1 << 20))
            if not data:
                raise HostGone
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _descriptors(self, count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            data, ancillary, _, _ = self._socket.recvmsg(1, socket.CMSG_SPACE(_FDS_A_MESSAGE * 4))
            if not data:
                raise HostGone
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    rights = array.array("i")
                    rights.frombytes(payload[: len(payload) - len(payload) % rights.itemsize])
                    found += rights
        return found
