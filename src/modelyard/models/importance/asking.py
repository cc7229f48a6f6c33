"""Asks for a version's feature importance: the kept answer, or the run that finds it. Called by `actions`."""

from datetime import timedelta

import msgspec
from sqlalchemy.exc import IntegrityError

from modelyard.actions import Call
from modelyard.errors import ConflictError, DataNotFoundError
from modelyard.execution import After, cancel, enqueue
from modelyard.execution.waiting import what_it_waits_for
from modelyard.ids import RunId
from modelyard.models.importance.targets import Target, find_target
from modelyard.models.importance.wire import FeatureImportanceShape, ImportanceProgressShape
from modelyard.models.records import FeatureImportance, Model, ModelVersion
from modelyard.models.sizes import CpuSize, Size, demand
from modelyard.models.versions import check_complete, deployable, tables_of
from modelyard.models.wire import UserExceptionShape

#: Name of the run, bound in `models.runs.KINDS`.
IMPORTANCE = "models.importance"
#: After a failed measuring, the next one is made no sooner.
_AGAIN_AFTER = timedelta(seconds=30)
#: Seconds that a call waits; the official client gives up after ten minutes.
_WAIT_S = 570.0


def importance_of(call: Call, version: ModelVersion) -> FeatureImportanceShape | After:
    """The importance of each feature, or what has to end before it is known; ConflictError where there is none."""
    target = _check(call, version)
    kept = call.session.get(FeatureImportance, version.model_version)
    if kept is None or not _is_about(kept, target) or _is_to_be_tried_again(call, kept):
        return After((_begin(call, version, target, kept),), _WAIT_S)
    if kept.error is not None:
        told = [f"The importance could not be measured: {kept.error}", (kept.exception or {}).get("traceback") or ""]
        raise ConflictError("\n".join(each for each in told if each))
    if kept.result is None:
        return After((kept.run_id,), _WAIT_S)
    return msgspec.convert(kept.result, FeatureImportanceShape)


def progress_of(call: Call, version: ModelVersion) -> ImportanceProgressShape:
    """How far the measuring is; DataNotFoundError if nobody has asked for one."""
    kept = call.session.get(FeatureImportance, version.model_version)
    if kept is None:
        raise DataNotFoundError(
            f"Nobody has asked for the feature importance of model version {version.model_version} yet; "
            "getFeatureImportanceByModelVersion does."
        )
    status = "RUNNING" if kept.begun else "PENDING"
    if kept.result is not None or kept.error is not None:
        status = "FAILED" if kept.error is not None else "COMPLETE"
    return ImportanceProgressShape(
        model_version=version.model_version,
        status=status,
        target=kept.target,
        measured=kept.measured,
        columns=kept.columns,
        waiting_for=what_it_waits_for(call.session, kept.run_id, call.clock()) if status == "PENDING" else None,
        error=kept.error,
        exception=UserExceptionShape(**kept.exception) if kept.exception else None,
    )


def _check(call: Call, version: ModelVersion) -> Target:
    check_complete(version, "asked for its feature importance")
    name = f"Model version {version.model_version}"
    if call.session.get_one(Model, version.model_id).imported is not None:
        raise ConflictError(f"{name} was trained elsewhere: there are no rows here to measure its features by.")
    if not version.feature_group_versions:
        raise ConflictError(f"{name} was trained without tables, so it has no columns whose importance could be told.")
    deployable(call.session, version)
    return find_target(call.session, version, tables_of(call.session, version))


def _is_about(kept: FeatureImportance, target: Target) -> bool:
    return (kept.target, kept.place) == (target.column, target.place)


def _is_to_be_tried_again(call: Call, kept: FeatureImportance) -> bool:
    ended = kept.completed_at
    return kept.error is not None and ended is not None and call.clock() - ended > _AGAIN_AFTER


def _begin(call: Call, version: ModelVersion, target: Target, former: FeatureImportance | None) -> RunId:
    size = Size(CpuSize(version.cpu_size) if version.cpu_size else None, version.memory_gib, version.use_gpu)
    run_id = enqueue(
        call.session,
        IMPORTANCE,
        {"modelVersion": version.model_version, "target": target.column, "place": target.place},
        target=version.model_version,
        organization_id=version.organization_id,
        project_id=version.project_id,
        demand=demand(call.session, call.settings, size),
        priority=5,
    )
    if former is not None and former.result is None and former.error is None:
        cancel(call.session, former.run_id)
    row = former or FeatureImportance(model_version=version.model_version)
    row.run_id, row.target, row.place, row.asked_at = run_id, target.column, target.place, call.clock()
    row.begun, row.measured, row.columns = False, 0, None
    row.result = row.error = row.exception = row.completed_at = None
    call.session.add(row)
    try:
        call.session.flush()
    except IntegrityError:  # another call began at the same moment
        call.session.rollback()
        return call.session.get_one(FeatureImportance, version.model_version).run_id
    return run_id
