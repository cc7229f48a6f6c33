"""One call on the fast lane, from arrival to answer: what is written down of it afterwards is read from here."""

import time

from modelyard.deployments.calls.frames import Kind
from modelyard.deployments.calls.line import Line
from modelyard.errors import ApiError, PredictionError, RequestTooLargeError
from modelyard.observability.logbook import Entry
from modelyard.observability.traces import Trace

ACTIONS = {
    Kind.PREDICT: "predict",
    Kind.PREDICT_MULTIPLE: "predictMultiple",
    Kind.PREDICT_FROM_DATASETS: "predictFromDatasets",
    Kind.PREDICT_BINARY: "predictWithBinaryData",
    Kind.LOOK_UP: "lookupFeatures",
}


class Exchange:
    """What is known of a call so far."""

    __slots__ = ("body", "content_type", "error", "kind", "line", "request_id", "result", "token", "trace")

    def __init__(self, kind: Kind, request_id: str) -> None:
        self.kind, self.request_id = kind, request_id
        #: The deployment token that it was asked by; only noted while any token has a limit.
        self.token = ""
        #: Noted where somebody wants traces.
        self.trace: Trace | None = None
        #: The deployment's, once it is known that the caller may ask it.
        self.line: Line | None = None
        self.body: bytes = b""
        #: Of a form, what its caller says that it is.
        self.content_type = ""
        self.result: bytes | bytearray = b""
        self.error: ApiError | None = None

    def check_body(self, limit: int) -> None:
        """RequestTooLargeError for a body that is larger than its deployment's option allows."""
        if len(self.body) > limit:
            raise RequestTooLargeError(
                f"The call has {len(self.body):,} bytes; at most {limit:,} are allowed here (option bodyLimit)"
            )

    def check_result(self, limit: int) -> None:
        """PredictionError for an answer that is larger than its deployment's option allows."""
        if len(self.result) > limit:
            raise PredictionError(
                f"The answer has {len(self.result):,} bytes; at most {limit:,} are allowed here (option answerLimit)"
            )

    def attributes(self, deployment_id: str, status: int) -> dict[str, str | int]:
        """What a span of the call says."""
        return {
            "modelyard.deployment_id": deployment_id[:32],
            "modelyard.request_id": self.request_id,
            "http.response.status_code": status,
            "url.path": f"/api/v0/{ACTIONS[self.kind]}",
            "modelyard.query_bytes": len(self.body),
            "modelyard.response_bytes": len(self.result),
        }

    def entry(self, line: Line, status: int, took_s: float, most: int) -> Entry:
        """The call for the log, with `most` bytes of its bodies where its deployment has them kept; copies no more."""
        error, answered = self.error, self.result
        if error is not None:
            answered = error.message.encode("utf-8", "backslashreplace")
        if not line.route.options.log_bodies:
            most = 0
        return Entry(
            deployment_id=line.route.deployment_id,
            timestamp_ms=int((time.time() - took_s) * 1000),
            request_id=self.request_id,
            action=ACTIONS[self.kind],
            status=status,
            took_us=int(took_s * 1e6),
            query_size=len(self.body),
            query=self.body[:most] if most else None,
            response_size=len(answered),
            response=bytes(answered[:most]) if most else None,
            error_type=None if error is None else error.error_type,
        )
