"""The gateways of one home ask each other for their counts, so that a scrape of any of them shows all.

Each listens on a Unix socket below the home, where nobody but the platform's own user gets to. Whoever connects is
sent a snapshot as JSON; that is all. A killed gateway leaves its socket behind; the next one that asks removes it.
"""

import contextlib
import logging
import socket
import threading
from pathlib import Path

import msgspec

from modelyard.deployments.replicas.sockets import folder
from modelyard.observability.logbook import Logbook
from modelyard.observability.snapshots import GatewaySnapshot, take
from modelyard.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that another gateway may take to answer, one that works on something long among them.
PATIENCE_S = 2.0


class Siblings:
    """A part of the gateway; the lane starts it, and the house's end closes it."""

    def __init__(self, settings: Settings, logbook: Logbook) -> None:
        self._logbook = logbook
        self._folder = folder(settings, "gateways")
        self._path = self._folder / f"{logbook.gateway_id}.sock"
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Begins to answer others."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._listener.bind(str(self._path))
        except OSError as error:  # a disk that is full: predictions don't depend on it
            log.warning("other gateways can't ask this one for its counts (%s): metrics show each alone", error)
            return
        self._listener.listen()
        threading.Thread(target=self._answer, args=(self._listener,), name="siblings", daemon=True).start()

    def close(self) -> None:
        """Answers no more."""
        if self._listener is not None:
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            self._listener.close()

    def snapshots(self) -> list[GatewaySnapshot]:
        """This gateway's snapshot, then that of every other one that answers."""
        others = sorted(path for path in self._folder.glob("*.sock") if path != self._path)
        asked = (_ask(path) for path in others)
        return [take(self._logbook), *(each for each in asked if each is not None)]

    def _answer(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(PATIENCE_S)
                connection.sendall(msgspec.json.encode(take(self._logbook)))


def _ask(path: Path) -> GatewaySnapshot | None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
            told = b"".join(iter(lambda: connection.recv(1 << 18), b""))
        return msgspec.json.decode(told, type=GatewaySnapshot)
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except (OSError, msgspec.DecodeError) as error:
        log.warning("a gateway beside this one did not tell its counts: %s", error)
    return None
