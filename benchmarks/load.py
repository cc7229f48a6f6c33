"""Callers: wrk where it is installed, and a client of our own, which is slower but can send another body each time."""

import asyncio
import contextlib
import json
import math
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

#: Latencies are counted in steps of this much.
_STEP = math.log(1.01)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
done = function(summary, latency, requests)
  local e = summary.errors
  local bad = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('RESULT {"count": %%d, "us": %%d, "p50": %%f, "p99": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), bad))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What the callers saw."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(slots=True)
class Latencies:
    """Times in milliseconds, counted in steps of 1 %: hours of them take no more memory than a second's."""

    counts: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0

    def note(self, took_ms: float) -> None:
        """Counts one."""
        self.counts[math.ceil(math.log(took_ms) / _STEP)] += 1
        self.longest = max(self.longest, took_ms)

    def percentile(self, share: float) -> float:
        """The time, up to 1 %, in which that share of all were answered; NaN of none."""
        left = int(len(self) * share)
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left < 0:
                return min(math.exp(step * _STEP), self.longest)
        return math.nan

    def __len__(self) -> int:
        return self.counts.total()


@dataclass(slots=True)
class Tally:
    """What one series of calls adds up to, while it goes on."""

    latencies: Latencies = field(default_factory=Latencies)
    errors: int = 0
    #: The first few bad answers.
    samples: list[bytes] = field(default_factory=list)

    def note(self, took_s: float, status: bytes, answer: bytes) -> None:
        """Counts one answer."""
        self.latencies.note(took_s * 1000)
        if status != b"200":
            self.errors += 1
            if len(self.samples) < 5:
                self.samples.append(answer[-300:])


def has_wrk() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def press(url: str, connections: int, seconds: float, body: bytes) -> Load:
    """The same body over and over: by wrk, or by our own client where there is none."""
    if has_wrk():
        return _by_wrk(url, connections, seconds, body)
    return hammer(url, connections, seconds, lambda _: _forever(body))


def _forever(body: bytes) -> Iterator[bytes]:
    while True:
        yield body


def _by_wrk(url: str, connections: int, seconds: float, body: bytes) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(_WRK_SCRIPT % json.dumps(body.decode()))
        # wrk takes whole seconds only
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "-s", str(script), url]
        said = subprocess.check_output(command, text=True)
    found = json.loads(said.split("RESULT ", 1)[1])
    return Load(found["count"] / found["us"] * 1e6, found["p50"] / 1000, found["p99"] / 1000, found["errors"])


def hammer(
    url: str, connections: int, seconds: float, bodies: Callable[[int], Iterator[bytes]], headers: str = ""
) -> Load:
    """As many callers as `connections`, each sending one after the other what `bodies(its number)` gives."""
    tally = Tally()
    began = time.perf_counter()
    uvloop.run(_hammer(url, connections, seconds, bodies, headers, tally))
    took = time.perf_counter() - began
    if tally.errors:
        print(f"  {tally.errors} bad answers, such as {tally.samples[0]!r}")
    latencies = tally.latencies
    return Load(len(latencies) / took, latencies.percentile(0.5), latencies.percentile(0.99), tally.errors)


async def _hammer(
    url: str, connections: int, seconds: float, bodies: Callable[[int], Iterator[bytes]], headers: str, tally: Tally
) -> None:
    deadline = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(_call_until(deadline, url, bodies(number), headers, tally))


async def _call_until(deadline: float, url: str, bodies: Iterator[bytes], headers: str, tally: Tally) -> None:
    async with caller(url, headers) as ask:
        while time.perf_counter() < deadline:
            body = next(bodies)
            began = time.perf_counter()
            status, answer = await ask(body)
            tally.note(time.perf_counter() - began, status, answer)


class Caller(asyncio.Protocol):
    """One kept connection; one call at a time."""

    def __init__(self, head: bytes) -> None:
        self._head, self._received, self._wanted = head, b"", 0
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport

    async def ask(self, body: bytes) -> tuple[bytes, bytes]:
        """Status and body of the answer; ConnectionError if the server closes before it."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._head + b"%d\r\n\r\n" % len(body) + body)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data
        if not self._wanted:
            end = received.find(b"\r\n\r\n") + 4
            length = _LENGTH.search(received, 0, end) if end > 3 else None
            if length is None:
                return
            self._wanted = end + int(length[1])
        if len(received) >= self._wanted:
            self._received, self._wanted = received[self._wanted :], 0
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((received[9:12], received))

    def connection_lost(self, _: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())


@contextlib.asynccontextmanager
async def caller(url: str, headers: str = "") -> AsyncIterator[Callable[[bytes], Awaitable[tuple[bytes, bytes]]]]:
    """A connection to the server of `url`, as a function from a body to the answer's status and bytes."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n{headers}Content-Length: "
    )
    loop = asyncio.get_running_loop()
    assert parts.hostname
    assert parts.port
    transport, protocol = await loop.create_connection(lambda: Caller(head.encode()), parts.hostname, parts.port)
    try:
        yield protocol.ask
    finally:
        transport.close()
