"""Works one refresh: begins each part in order and waits for it before the next, so that a model trains on what its
tables have just become. What was begun is written down in the transaction that begins it; a refresh that is taken over
goes on where it stood and begins nothing twice.
"""

from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.errors import ApiError
from modelyard.execution import RunContext, RunKind
from modelyard.ids import OrganizationId, RefreshPipelineRunId
from modelyard.refresh.records import RefreshPipelineRun, RefreshStatus, RefreshType
from modelyard.refresh.scheduler import KIND
from modelyard.refresh.targets import Progress, Refreshable, Refreshers

#: The order in which the parts of one refresh are made.
ORDER = list(RefreshType)
#: Seconds between two looks at a part that is being made.
LOOK_S = 0.2


def refresh(run: RunContext) -> None:
    """Makes every part of a refresh, stopping at the first that fails."""
    with run.transaction() as session:
        record = _get(session, run.payload)
        record.status, record.started_at = RefreshStatus.RUNNING, record.started_at or run.clock()
        parts = sorted(
            range(len(record.parts)), key=lambda index: ORDER.index(RefreshType(record.parts[index]["kind"]))
        )
    error = None
    for index in parts:
        error = error or _make(run, index)
    with run.transaction() as session:
        record = _get(session, run.payload)
        record.status = RefreshStatus.FAILED if error else RefreshStatus.COMPLETE
        record.error, record.completed_at = error, run.clock()
        run.complete(session)


def _make(run: RunContext, index: int) -> str | None:
    """Begins one part, unless that was done before, and waits for its end; gives what went wrong."""
    refreshers = run.parts.get(Refreshers)
    with run.transaction() as session:
        record = _get(session, run.payload)
        part = dict(record.parts[index])
        kind = RefreshType(part["kind"])
        if part["version"] is None:
            try:
                with session.begin_nested():
                    part["version"] = _begin(session, refreshers.get(kind), record.organization_id, part)
            except ApiError as refused:  # it was deleted meanwhile, or can't be made anew as it is now
                return f"{kind} {part['target_id']}: {refused.message}"
            record.parts = [*record.parts[:index], part, *record.parts[index + 1 :]]
    while not (progress := _progress(run, kind, str(part["version"]))).ended:
        run.check_cancelled()
        run.cancelled.wait(LOOK_S)
    return f"{kind} {part['target_id']}: {progress.error}" if progress.error else None


def _begin(session: Session, target: Refreshable, organization_id: OrganizationId, part: JsonObject) -> str:
    target.check(session, organization_id, str(part["target_id"]))
    version = target.start(session, str(part["target_id"]))
    if target.export is not None and part.get("export"):
        target.export.start(session, version, part["export"])
    return version


def _progress(run: RunContext, kind: RefreshType, version: str) -> Progress:
    with run.read() as session:
        return run.parts.get(Refreshers).get(kind).progress(session, version)


def _get(session: Session, payload: JsonObject) -> RefreshPipelineRun:
    record = session.get(RefreshPipelineRun, RefreshPipelineRunId(payload["refresh_pipeline_run_id"]))
    if record is None:
        raise LookupError(f"refresh {payload['refresh_pipeline_run_id']} has gone")
    return record


def give_up_refresh(session: Session, payload: JsonObject, reason: str) -> None:
    """Marks a refresh that was given up as FAILED."""
    record = _get(session, payload)
    record.status, record.error, record.completed_at = RefreshStatus.FAILED, reason, utc_now()


KINDS = (RunKind(KIND, refresh, give_up_refresh),)
