"""The history of a dataset version in lines of text: made, imported by which runs, ended how."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.datasets.records import DatasetVersion, VersionStatus
from modelyard.execution import Run, read_logs


def version_log(session: Session, version: DatasetVersion) -> list[str]:
    """The lines, oldest first."""
    return [f"{iso(at)} {text}" for at, text in sorted(_events(session, version), key=lambda event: event[0])]


def run_lines(session: Session, run: Run) -> Iterator[tuple[datetime, str]]:
    """What a run printed, a line of it an event."""
    for piece in read_logs(session, run.run_id).lines:
        for line in piece.text.splitlines():
            if line.strip():
                yield piece.at, line


def _events(session: Session, version: DatasetVersion) -> Iterator[tuple[datetime, str]]:
    yield version.created_at, f"Version made, {'to be uploaded' if version.upload_id else 'to be read from its source'}"
    runs = select(Run).where(Run.target == version.dataset_version).order_by(Run.created_at)
    for run in session.scalars(runs):
        yield run.created_at, "Import requested"
        yield from run_lines(session, run)
    if version.completed_at is not None and version.status == VersionStatus.COMPLETE:
        yield version.completed_at, f"COMPLETE with {version.row_count:,} rows"
    elif version.status == VersionStatus.FAILED:
        yield version.completed_at or version.created_at, f"FAILED: {version.error}"
