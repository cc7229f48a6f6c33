"""The shapes that callers see. Source: the SDK's PredictionLogRecord and DeploymentStatistics."""

from collections.abc import Sequence

import msgspec

from modelyard.clock import iso
from modelyard.observability.records import PredictionLog
from modelyard.observability.statistics import Point


class PredictionLogRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One call, and the beginning of what was asked and answered."""

    request_id: str
    #: The JSON of the call: `queryData` and further arguments. Of one that was longer than what is kept:
    #: `{"isCut": true, "bytes": its size, "start": its beginning}`; null where none is kept.
    query: msgspec.Raw | None
    #: A whole number in the SDK's class; here with its fraction, as many calls take less than one.
    query_time_ms: float
    timestamp_ms: str
    #: `{"result": ...}`, or `{"error": ..., "errorType": ...}`; cut as the query is, an error with `isCut` beside it.
    response: msgspec.Raw | None
    #: Beyond the SDK's class: the HTTP status, the action, and the sizes of what was asked and answered.
    http_status: int
    action: str
    query_bytes: int
    response_bytes: int


class DeploymentStatistics(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Series over the time asked for; each has a value a point."""

    #: Calls a second.
    request_series: list[float]
    #: Milliseconds in which half of the calls were answered; null where none was.
    latency_series: list[float | None]
    #: The moment at which each point begins.
    date_labels: list[str | None]
    #: HTTP status -> calls.
    http_status_series: list[dict[str, int]]
    #: Beyond the SDK's class: how long a point is, its calls, those that failed, and more of their times.
    seconds_a_point: float
    call_series: list[int]
    error_series: list[int]
    latency_mean_series: list[float | None]
    latency_p90_series: list[float | None]
    latency_p99_series: list[float | None]


def log_record(record: PredictionLog) -> PredictionLogRecord:
    """The call as callers see it."""
    return PredictionLogRecord(
        request_id=record.request_id,
        query=_shown(record.query, record.query_size),
        query_time_ms=record.took_us / 1000,
        timestamp_ms=str(record.timestamp_ms),
        response=_response(record),
        http_status=record.status,
        action=record.action,
        query_bytes=record.query_size,
        response_bytes=record.response_size,
    )


def statistics(points: Sequence[Point], seconds_a_point: float) -> DeploymentStatistics:
    """The points as series."""
    return DeploymentStatistics(
        request_series=[round(point.calls / seconds_a_point, 6) for point in points],
        latency_series=[_rounded(point.percentile_ms(0.5)) for point in points],
        date_labels=[iso(point.start) for point in points],
        http_status_series=[dict(sorted(point.statuses.items())) for point in points],
        seconds_a_point=seconds_a_point,
        call_series=[point.calls for point in points],
        error_series=[point.errors for point in points],
        latency_mean_series=[_rounded(point.mean_ms()) for point in points],
        latency_p90_series=[_rounded(point.percentile_ms(0.9)) for point in points],
        latency_p99_series=[_rounded(point.percentile_ms(0.99)) for point in points],
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _response(record: PredictionLog) -> msgspec.Raw | None:
    if record.error_type is not None:
        kept = record.response or b""
        told: dict[str, object] = {"error": kept.decode("utf-8", "replace"), "errorType": record.error_type}
        if len(kept) < record.response_size:
            told |= {"isCut": True, "bytes": record.response_size}
        return msgspec.Raw(msgspec.json.encode(told))
    shown = _shown(record.response, record.response_size)
    if shown is None or record.response_size > len(record.response or b""):
        return shown
    return msgspec.Raw(b'{"result":' + bytes(shown) + b"}")


def _shown(text: bytes | None, size: int) -> msgspec.Raw | None:
    """JSON as it is; what is no whole JSON as its beginning. What a guest has sent was never looked at before."""
    if text is None:
        return None
    try:
        if len(text) >= size:
            msgspec.json.decode(text)
            return msgspec.Raw(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    start = text.decode("utf-8", "replace")
    return msgspec.Raw(msgspec.json.encode({"isCut": len(text) < size, "bytes": size, "start": start}))
