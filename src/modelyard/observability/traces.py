"""Traces of predictions and runs: what the gateway and the agent note, and where it goes if anybody wants it.

Off unless the environment names a receiver, by the variables that OpenTelemetry defines; then `otlp.py`, which needs
the extra `modelyard[otel]`, sends them. While it is off, nothing of it is imported and a call pays for a look at a
None. A replica tells when it worked on a call only if it is asked to (`frames.TIMED`): a guest has no network, sends no
spans itself, and what it tells is held to the time between question and answer.
"""

import dataclasses
import importlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Protocol, cast

from modelyard.execution import RunContext, RunKind

log = logging.getLogger(__name__)

#: Any of these names a receiver.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
Headers = Iterable[tuple[bytes, bytes]]


class Trace:
    """One call that is traced: moments in nanoseconds since 1970, as far as it got."""

    __slots__ = ("answered_ns", "began_ns", "sent_ns", "span", "worked_ns")

    def __init__(self, span: object) -> None:
        #: The tracer's own.
        self.span = span
        self.began_ns = time.time_ns()
        #: When it was handed on to a replica, or to those that wait for one; 0: never.
        self.sent_ns = self.answered_ns = 0
        #: When the replica began and ended to work on it; None: it did not say.
        self.worked_ns: tuple[int, int] | None = None

    def sent(self) -> None:
        """It goes to a replica now."""
        self.sent_ns = time.time_ns()

    def answered(self, worked_ns: tuple[int, int] | None) -> None:
        """Its answer is here; what the replica says lies between question and answer, or is not believed."""
        self.answered_ns = time.time_ns()
        if worked_ns is not None and self.sent_ns <= worked_ns[0] <= worked_ns[1] <= self.answered_ns:
            self.worked_ns = worked_ns


class Tracing(Protocol):
    """Takes traces."""

    def begin(self, name: str, headers: Headers) -> Trace | None:
        """A call has come, perhaps as a part of its caller's trace (`traceparent`); None: it is not to be traced."""

    def end(self, trace: Trace, attributes: Mapping[str, str | int], error: str | None) -> None:
        """The call has been answered."""

    def run(self, kind: RunKind, context: RunContext) -> None:
        """Executes a run and traces it."""

    def close(self) -> None:
        """Sends what there is, and ends."""


def find_tracing(environ: Mapping[str, str]) -> Tracing | None:
    """Where traces go; None: nowhere."""
    if not any(environ.get(name) for name in ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    try:
        module = importlib.import_module("modelyard.observability.otlp")
    except ImportError:
        log.warning("the environment names a receiver of traces, but this takes `pip install modelyard[otel]`")
        return None
    return cast(Tracing, module.OpenTelemetry())


def traced_kinds(kinds: Mapping[str, RunKind], tracing: Tracing) -> dict[str, RunKind]:
    """The same kinds of runs, whose runs are traced; but for those that never end by themselves."""

    def traced(kind: RunKind) -> RunKind:
        if kind.long_lived:
            return kind
        return dataclasses.replace(kind, execute=lambda context: tracing.run(kind, context))

    return {name: traced(kind) for name, kind in kinds.items()}
