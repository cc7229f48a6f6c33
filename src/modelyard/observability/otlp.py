"""Sends traces by OTLP over HTTP, as the OTEL_* variables say: endpoint, headers, service name, sampler, batches.

Imported only where one of them names a receiver (`traces.find_tracing`). Spans are put together when a call has been
answered and sent by a thread of the exporter, so nothing waits for the receiver.
"""

import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import modelyard
from modelyard.execution import RunContext, RunKind
from modelyard.observability.traces import Headers, Trace

#: The headers of the W3C's trace context.
PROPAGATED = (b"traceparent", b"tracestate")


class OpenTelemetry:
    """A `traces.Tracing`."""

    def __init__(self) -> None:
        # What the environment says of the resource wins over this.
        own = {"service.name": "modelyard", "service.version": modelyard.__version__}
        named = {name: value for name, value in Resource.create().attributes.items() if value != "unknown_service"}
        self._provider = TracerProvider(resource=Resource({**own, **named}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("modelyard", modelyard.__version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, headers: Headers) -> Trace | None:
        """Continues the caller's trace, or begins one; None where the sampler passes the call over."""
        carrier = {key.decode(): value.decode("latin-1") for key, value in headers if key in PROPAGATED}
        context = self._propagator.extract(carrier) if carrier else Context()
        span = self._tracer.start_span(name, context, SpanKind.SERVER)
        return Trace(span) if span.is_recording() else None

    def end(self, trace: Trace, attributes: Mapping[str, str | int], error: str | None) -> None:
        """The span of the call, and below it how it waited for a replica and how that worked on it."""
        span = trace.span
        assert isinstance(span, Span)
        if trace.sent_ns:
            began, ended = trace.worked_ns or (trace.answered_ns, trace.answered_ns)
            self._child(span, "wait for replica", trace.sent_ns, began or time.time_ns())
            if trace.worked_ns is not None:
                self._child(span, "work of replica", began, ended)
        span.set_attributes(dict(attributes))
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end()

    def run(self, kind: RunKind, context: RunContext) -> None:
        """Executes the run as a span of its own trace."""
        claim = context.claim
        attributes: dict[str, str | int] = {
            "modelyard.run_id": claim.run_id, "modelyard.target": claim.target, "modelyard.attempt": claim.attempt,
        }  # fmt: skip
        with self._tracer.start_as_current_span(f"run {claim.kind}", Context(), attributes=attributes):
            kind.execute(context)

    def close(self) -> None:
        """Sends what there is."""
        self._provider.shutdown()

    def _child(self, parent: Span, name: str, began_ns: int, ended_ns: int) -> None:
        child = self._tracer.start_span(name, trace.set_span_in_context(parent, Context()), start_time=began_ns)
        child.end(ended_ns)
