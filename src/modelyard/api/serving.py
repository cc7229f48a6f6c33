"""Serves the application over HTTP with uvicorn on uvloop and httptools.

The listening socket is made here, with IPPROTO_TCP: one bound with protocol 0 gets no TCP_NODELAY on asyncio's own
loop, which costs 44 ms a call.
"""

import logging
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from modelyard.api.bounded_head import BoundedHeadProtocol
from modelyard.api.draining import DrainingProtocol
from modelyard.api.express import ExpressProtocol
from modelyard.api.one_write import OneWriteProtocol

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError if the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Protocol(DrainingProtocol, OneWriteProtocol, BoundedHeadProtocol, ExpressProtocol):
    """uvicorn's protocol as this house wants it."""


class Server:
    """A server that can be stopped from another thread."""

    def __init__(
        self, application: ASGIApp, listener: socket.socket, on_ready: Callable[[], None] | None = None
    ) -> None:
        config = uvicorn.Config(
            application,
            loop="uvloop",
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            proxy_headers=False,  # `application.py` reads them, past the fast lane
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
            backlog=BACKLOG,
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._on_ready = on_ready

    def run(self) -> None:
        """Serves until `stop`; call it in a thread or as a process's main work."""
        if self._on_ready:
            self._on_ready()
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Lets the calls under way end, then has `run` return."""
        self._server.should_exit = True
