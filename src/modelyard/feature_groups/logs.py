"""What a version's function printed: the part of its run's log that falls between the version's start and its end.

A run that makes several versions writes one log; the moments of its lines tell them apart.
"""

import msgspec
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.execution import read_logs
from modelyard.execution.logs import LogLine
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.feature_groups.wire import ExceptionShape, FunctionLogsShape


def function_logs(session: Session, version: FeatureGroupVersion, *, stdout: bool, stderr: bool) -> FunctionLogsShape:
    """The logs of the version; streams that were not asked for are null."""
    texts = _texts(session, version)
    made_from = version.made_from
    return FunctionLogsShape(
        function=made_from.function_name or ("sql" if made_from.sql else None),
        stats={"start": iso(version.started_at), "end": iso(version.completed_at)},
        stdout=texts["stdout"] if stdout else None,
        stderr=texts["stderr"] if stderr else None,
        algorithm=None,
        exception=msgspec.convert(version.exception, ExceptionShape) if version.exception else None,
    )


def version_log(session: Session, version: FeatureGroupVersion) -> list[str]:
    """What happened to the version and what was printed meanwhile, a line an event, oldest first."""
    lines = [(version.created_at, f"Version {version.number} requested")]
    if version.started_at is not None:
        lines.append((version.started_at, "Materialization began"))
        lines += [
            (piece.at, line) for piece in _pieces(session, version) for line in piece.text.splitlines() if line.strip()
        ]
    if version.completed_at is not None:
        rows = f" with {version.manifest.rows:,} rows" if version.table is not None else f": {version.error}"
        lines.append((version.completed_at, f"{version.status}{rows}"))
    return [f"{iso(at)} {text}" for at, text in lines]


def _texts(session: Session, version: FeatureGroupVersion) -> dict[str, str]:
    texts = {"stdout": "", "stderr": ""}
    for line in _pieces(session, version):
        for stream in texts:
            if line.stream not in texts or line.stream == stream:  # a gap belongs to both
                texts[stream] += line.text
    return texts


def _pieces(session: Session, version: FeatureGroupVersion) -> list[LogLine]:
    """What the version's run printed between its start and its end."""
    if version.run_id is None or version.started_at is None:
        return []
    return [
        line
        for line in read_logs(session, version.run_id).lines
        if line.at >= version.started_at and (version.completed_at is None or line.at <= version.completed_at)
    ]
