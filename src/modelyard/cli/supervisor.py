"""Keeps the gateways and the agent running: starts them, starts again what dies, ends all in good order.

One thread, no locks: signals (a child's death among them) arrive as bytes in a pipe. It holds the listening socket
that all gateways share, so a gateway can be killed without a caller being refused. When this process is killed, its
children see their pipe end.
"""

import http.client
import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from modelyard.cli.address import probe_host
from modelyard.cli.children import Orders, start_child
from modelyard.cli.failure import CommandFailed
from modelyard.settings import Settings

log = logging.getLogger(__name__)

#: Pauses before a child is started again: doubled while it keeps dying young.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
#: A child that lived so long has started well.
YOUNG_S = 10.0
#: Deaths in a row before the first readiness after which the whole start is given up.
START_TRIES = 4
#: How long each may take to end in good order; the agent gives back its runs, the gateway ends the calls under way.
AGENT_STOP_S, GATEWAY_STOP_S = 30.0, 15.0
PROBE_S = 0.1
SLOW_START_S = 30.0


@dataclass
class _Child:
    name: str
    module: str
    orders: Orders
    stop_s: float
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        self.process, self.started_at = start_child(self.module, self.orders), time.monotonic()
        log.debug("the %s has process id %d", self.name, self.process.pid)

    def note_death(self, status: int) -> None:
        """Plans the next start."""
        young = time.monotonic() - self.started_at < YOUNG_S
        self.deaths = self.deaths + 1 if young else 1
        pause = min(FIRST_PAUSE_S * 2 ** (self.deaths - 1), LONGEST_PAUSE_S)
        self.start_at = time.monotonic() + pause
        self.close()
        log.warning("the %s ended unexpectedly (%s); starting it again in %.1f s", self.name, _how(status), pause)

    def signal(self, number: int) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def close(self) -> None:
        if self.process and self.process.stdin:
            self.process.stdin.close()
        self.process = None


class Supervisor:
    """Runs one server; `run` returns its exit status.

    `on_ready` is called once, when calls and runs are served. The end of what is read from `lifeline` ends the server.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        level: str,
        on_ready: Callable[[], None],
        lifeline: int | None = None,
    ) -> None:
        self._settings, self._on_ready, self._ready = settings, on_ready, False
        gateway = Orders(settings=settings, level=level, listener=listener.fileno())
        self._agent = _Child(
            "agent", "modelyard.cli.agent_process", Orders(settings=settings, level=level), AGENT_STOP_S
        )
        names = [f"gateway {number}" for number in range(1, settings.gateways + 1)]
        self._gateways = [
            _Child(name if len(names) > 1 else "gateway", "modelyard.cli.gateway_process", gateway, GATEWAY_STOP_S)
            for name in names
        ]
        self._children = [*self._gateways, self._agent]
        self._signals, into = os.pipe()
        self._watched = [self._signals] if lifeline is None else [self._signals, lifeline]
        os.set_blocking(into, False)
        signal.set_wakeup_fd(into, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def run(self) -> int:
        """Until Ctrl-C or SIGTERM: 0 after an end in good order, 130 if a second signal cut it short."""
        start = time.monotonic()
        told = False
        try:
            while not self._told_to_stop(self._pause()):
                self._start_due()
                self._reap()
                if not self._ready and self._probe():
                    self._ready = True
                    self._on_ready()
                if not self._ready and not told and time.monotonic() - start > SLOW_START_S:
                    log.warning("still not ready after %.0f s; the lines above may say why", SLOW_START_S)
                    told = True
            return self._stop()
        finally:
            self._kill()

    def _pause(self) -> float:
        if not self._ready:
            return PROBE_S
        waiting = [child.start_at for child in self._children if child.process is None]
        return max(min(waiting) - time.monotonic(), 0.01) if waiting else 60.0

    def _told_to_stop(self, pause_s: float) -> bool:
        readable, _, _ = select.select(self._watched, [], [], pause_s)
        signals = os.read(self._signals, 4096) if self._signals in readable else b""
        lost = [each for each in readable if each != self._signals and not os.read(each, 4096)]
        self._watched = [each for each in self._watched if each not in lost]  # an end is told once
        return bool(lost) or any(number != signal.SIGCHLD for number in signals)

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.start_at:
                child.start()

    def _reap(self) -> None:
        for child in self._children:
            status = child.process.poll() if child.process else None
            if status is None:
                continue
            child.note_death(status)
            if not self._ready and child.deaths >= START_TRIES:
                raise CommandFailed(f"the {child.name} does not start; the lines above say why")

    def _probe(self) -> bool:
        connection = http.client.HTTPConnection(probe_host(self._settings.host), self._settings.port, timeout=0.5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _stop(self) -> int:
        print("stopping; once more ends everything at once", flush=True)
        for children in ([self._agent], self._gateways):
            for child in children:
                child.signal(signal.SIGTERM)
            for child in children:
                deadline = time.monotonic() + child.stop_s
                while child.process and child.process.poll() is None:
                    if time.monotonic() > deadline:
                        log.warning("the %s did not end within %.0f s and is killed", child.name, child.stop_s)
                        break
                    if self._told_to_stop(min(deadline - time.monotonic(), 0.5)):
                        return 130
        return 0

    def _kill(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)
        for child in self._children:
            if child.process:
                child.process.wait()
            child.close()


def _how(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
