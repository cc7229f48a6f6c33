"""What a guest prints: two pipes, read by one thread per guest in large pieces and handed on as text.

The reader never waits for anything but its listener, so a guest that prints gigabytes is slowed by its listener alone,
and nothing is kept here: capping is the listener's business. The thread also notices the end of the process.
"""

import codecs
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable

from modelyard.sandbox.launch import Launched

#: Called with "stdout" or "stderr" and a piece of text, in order of arrival.
Listener = Callable[[str, str], None]
_PIECE_BYTES = 1 << 20
#: Printed before anyone listened (a guest that waits warm); more is dropped.
_EARLY_CHARACTERS = 64 * 1024
_LINGER_S = 1.0


def _drop(stream: str, text: str) -> None:
    """A listener that listens to nothing."""


class Output:
    """The reader of one guest's two pipes."""

    def __init__(self, launched: Launched, name: str, ended: Callable[[int], None]) -> None:
        self._launched, self._ended = launched, ended
        self._listener: Listener | None = None
        self._early: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        #: First exception of the listener, after which nothing more is handed on.
        self.failure: Exception | None = None
        decoder = codecs.getincrementaldecoder("utf-8")
        self._streams = {
            launched.stdout: ("stdout", decoder("replace")),
            launched.stderr: ("stderr", decoder("replace")),
        }
        self._thread = threading.Thread(target=self._run, name=f"guest-output-{name}", daemon=True)
        self._thread.start()

    def attach(self, listener: Listener | None) -> None:
        """Hands everything, and what was kept so far, to `listener` from now on."""
        with self._lock:
            early, self._early = self._early, []
            self._listener = listener or _drop
        for stream, text in early:
            self._hand_on(stream, text)

    def early_text(self) -> str:
        """What was printed before anyone listened."""
        with self._lock:
            return "".join(text for _, text in self._early)

    def join(self, timeout_s: float) -> bool:
        """Waits for the end of both pipes and of the process; whether it came."""
        if threading.current_thread() is self._thread:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def drain(self, timeout_s: float = 1.0) -> None:
        """Waits until what the guest has printed so far was handed on."""
        deadline = time.monotonic() + timeout_s
        quiet = select.poll()
        for descriptor in (self._launched.stdout, self._launched.stderr):
            quiet.register(descriptor, select.POLLIN)
        while self._thread.is_alive() and time.monotonic() < deadline:
            with self._lock, contextlib.suppress(OSError):
                if not any(event & select.POLLIN for _, event in quiet.poll(0)):
                    return
            time.sleep(0.002)

    def _run(self) -> None:
        process = os.pidfd_open(self._launched.process.pid)
        poll = select.poll()
        for descriptor in (*self._streams, process):
            poll.register(descriptor, select.POLLIN)
        opened, last_moment = set(self._streams), None
        while opened and (last_moment is None or time.monotonic() < last_moment):
            for descriptor, _ in poll.poll(None if last_moment is None else 50):
                if descriptor == process:
                    last_moment = time.monotonic() + _LINGER_S
                    poll.unregister(process)
                elif not self._read(descriptor):
                    poll.unregister(descriptor)
                    opened.discard(descriptor)
        for descriptor in self._streams:
            os.close(descriptor)
        os.close(process)
        self._ended(self._launched.process.wait())

    def _read(self, descriptor: int) -> bool:
        stream, decoder = self._streams[descriptor]
        with self._lock:
            data = os.read(descriptor, _PIECE_BYTES)
            text = decoder.decode(data, final=not data)
            if self._listener is None:
                self._keep_early(stream, text)
            elif text:
                self._hand_on(stream, text)
        return bool(data)

    def _keep_early(self, stream: str, text: str) -> None:
        kept = sum(len(piece) for _, piece in self._early)
        if text and kept < _EARLY_CHARACTERS:
            self._early.append((stream, text[: _EARLY_CHARACTERS - kept]))

    def _hand_on(self, stream: str, text: str) -> None:
        if self._listener is None or self.failure is not None:
            return
        try:
            self._listener(stream, text)
        except Exception as error:  # noqa: BLE001 - the listener is the run's; the run raises it at its end
            self.failure = error
