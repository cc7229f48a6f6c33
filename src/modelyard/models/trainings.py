"""What is to be seen of a training: its logs, readable while it goes on, and the metrics that it wrote down."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.execution import RunLogs, read_logs
from modelyard.execution.logs import lines_after
from modelyard.execution.waiting import what_it_waits_for
from modelyard.models.curves import steps_after, steps_of
from modelyard.models.importance.targets import named_target
from modelyard.models.records import ENDED, Model, ModelRevision, ModelVersion, VersionStatus
from modelyard.models.wire import (
    FollowedLineShape,
    FollowedLogsShape,
    FunctionLogsShape,
    ModelMetricsShape,
    UserExceptionShape,
)


def function_logs(session: Session, version: ModelVersion, *, stdout: bool, stderr: bool) -> FunctionLogsShape:
    """What `train` printed in the newest attempt, the streams only if asked for."""
    revision = session.get_one(ModelRevision, version.revision_id)
    model = session.get_one(Model, version.model_id)
    logs = read_logs(session, version.run_id)
    shown = {name for name, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted}
    exception = version.exception
    return FunctionLogsShape(
        function=revision.train_function_name,
        stats=_stats(version, logs, shown),
        stdout=logs.stdout if stdout else None,
        stderr=logs.stderr if stderr else None,
        algorithm=model.name,
        exception=UserExceptionShape(**exception) if exception else None,
    )


def followed_logs(
    session: Session, version: ModelVersion, after: int, now: datetime, after_step: int | None = None
) -> FollowedLogsShape:
    """What was printed after that place in the log, and with `after_step` the steps after that many.

    The end is told once nothing more can come.
    """
    steps, next_step = ([], None) if after_step is None else steps_after(session, version, after_step)
    lines = lines_after(session, version.run_id, after)
    waiting_for = what_it_waits_for(session, version.run_id, now)
    return FollowedLogsShape(
        status=version.status,
        waiting_for=waiting_for if version.status == VersionStatus.PENDING else None,
        error=version.error,
        lines=[
            FollowedLineShape(at=line.at.isoformat(timespec="milliseconds"), stream=line.stream, text=line.text)
            for _, line in lines
        ],
        next=lines[-1][0] if lines else after,
        steps=steps,
        next_step=next_step,
        ended=version.status in ENDED,
    )


def _stats(version: ModelVersion, logs: RunLogs, shown: set[str]) -> dict[str, Any]:
    """Start, end and seconds of the training; what it used; and when which piece of the shown streams was printed."""
    start, end = version.training_started_at, version.training_completed_at
    usage = version.usage or {}
    return {
        "start": iso(start),
        "end": iso(end),
        "durationSeconds": (end - start).total_seconds() if start and end else None,
        "peakMemoryBytes": usage.get("peakMemoryBytes"),
        "cpuSeconds": usage.get("cpuSeconds"),
        "lines": [
            {"at": line.at.isoformat(timespec="milliseconds"), "stream": line.stream, "characters": len(line.text)}
            for line in logs.lines
            if line.stream in shown
        ],
    }


def model_metrics(session: Session, version: ModelVersion) -> ModelMetricsShape:
    """The numbers of `metrics.json` and the steps of `metrics.jsonl`, so far, under the model's one algorithm."""
    model = session.get_one(Model, version.model_id)
    metrics, steps = version.metrics or {}, steps_of(session, version)
    return ModelMetricsShape(
        algo_metrics={model.model_id: {"name": model.name, "metrics": metrics, "steps": steps}},
        selected_algorithm=model.model_id,
        selected_algorithm_name=model.name,
        model_id=model.model_id,
        model_version=version.model_version,
        metric_names={name: name for name in metrics},
        target_column=named_target(version.training_config),
        train_val_test_split={},
        training_completed_at=iso(version.training_completed_at),
    )
