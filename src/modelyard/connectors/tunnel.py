"""A proxy on loopback for libraries that connect by themselves: whatever they ask for goes through `egress`.

Object stores and git speak HTTP through libraries that resolve and redirect as they like. Each gets the address of a
tunnel of its own as its proxy, opened for one use and closed after it; so every host that the library comes to, by
a redirect too, is resolved, judged and connected to here. TLS goes through untouched. A tunnel has a password of its
own, so nobody else on the machine goes out through it.
"""

import base64
import contextlib
import hmac
import secrets
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from modelyard.connectors.egress import Egress
from modelyard.errors import InvalidParameterError

_HEAD_LIMIT = 64 * 1024
_CHUNK = 256 * 1024
_ASKS = b'Proxy-Authenticate: Basic realm="tunnel"\r\nConnection: close\r\n'


class Tunnel:
    """Opened by `with`; `url` is the proxy's address, `refusal` what was refused last."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._password = secrets.token_hex(16)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self.refusal: InvalidParameterError | None = None

    @property
    def url(self) -> str:
        return f"http://tunnel:{self._password}@127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="tunnel", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._is_closed = True
            open_now = list(self._open)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in open_now:
            _hang_up(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="tunnel", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if not self._note(client):
                return
            try:
                self._carry(client)
            except InvalidParameterError as refusal:
                self.refusal = refusal
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            finally:
                self._forget(client)

    def _carry(self, client: socket.socket) -> None:
        client.settimeout(60)
        head, rest = _read_head(client)
        first, *headers = head.split(b"\r\n")
        method, target, version = [*first.split(b" "), b"", b""][:3]
        if not self._may_pass(headers):
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n" + _ASKS + b"Content-Length: 0\r\n\r\n")
            return
        host, port, path = _target(method, target)
        try:
            upstream = self._egress.connect(host, port)
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with upstream:
            if not self._note(upstream):
                return
            try:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    upstream.sendall(rest)
                else:
                    upstream.sendall(_request(method, path, version, headers) + rest)
                _pump_both(client, upstream)
            finally:
                self._forget(upstream)

    def _may_pass(self, headers: list[bytes]) -> bool:
        wanted = b"basic " + base64.b64encode(f"tunnel:{self._password}".encode())
        given = [
            line.partition(b":")[2].strip() for line in headers if line.lower().startswith(b"proxy-authorization:")
        ]
        return len(given) == 1 and hmac.compare_digest(given[0][:6].lower() + given[0][6:], wanted)

    def _note(self, one: socket.socket) -> bool:
        with self._lock:
            self._open.add(one)
            return not self._is_closed

    def _forget(self, one: socket.socket) -> None:
        with self._lock:
            self._open.discard(one)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    read = b""
    while b"\r\n\r\n" not in read:
        chunk = client.recv(16 * 1024)
        if not chunk or len(read) > _HEAD_LIMIT:
            raise OSError("no request")
        read += chunk
    head, _, rest = read.partition(b"\r\n\r\n")
    return head, rest


def _target(method: bytes, target: bytes) -> tuple[str, int, bytes]:
    """Host, port and path of a request to a proxy."""
    try:
        text = target.decode("ascii")
        parts = urlsplit(f"//{text}" if method == b"CONNECT" else text)
        port = parts.port or 80
    except ValueError:
        raise OSError("no target") from None
    if not parts.hostname or parts.scheme not in ("", "http"):
        raise OSError("no target")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.hostname, port, path.encode()


def _request(method: bytes, path: bytes, version: bytes, headers: list[bytes]) -> bytes:
    """The request as the server itself takes it; one a connection, so that the next is judged anew."""
    dropped = (b"proxy-", b"connection:", b"keep-alive:")
    kept = [line for line in headers if not line.lower().startswith(dropped)]
    return b"\r\n".join([b" ".join((method, path, version)), *kept, b"Connection: close", b"", b""])


def _pump_both(client: socket.socket, upstream: socket.socket) -> None:
    client.settimeout(None)
    upstream.settimeout(None)
    back = threading.Thread(target=_pump, args=(upstream, client), name="tunnel", daemon=True)
    back.start()
    _pump(client, upstream)
    back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Carries bytes until the source ends, and then says so to the target."""
    buffer = memoryview(bytearray(_CHUNK))
    try:
        while count := source.recv_into(buffer):
            target.sendall(buffer[:count])
        target.shutdown(socket.SHUT_WR)
    except OSError:
        _hang_up(source)
        _hang_up(target)


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
