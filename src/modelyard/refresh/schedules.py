"""Policies as callers see them, and the schedules that other slices show on their own objects."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.errors import DataNotFoundError
from modelyard.ids import OrganizationId, RefreshPolicyId
from modelyard.refresh.records import RefreshPipelineRun, RefreshPolicy, RefreshTarget, RefreshType
from modelyard.refresh.wire import RefreshPipelineRunShape, RefreshPolicyShape, RefreshScheduleShape


def schedules_of(session: Session, kind: RefreshType, target_id: str) -> list[RefreshScheduleShape]:
    """When that object is made anew next, by each policy that it belongs to."""
    return schedules_of_all(session, kind, [target_id]).get(target_id, [])


def schedules_of_all(
    session: Session, kind: RefreshType, target_ids: Sequence[str]
) -> dict[str, list[RefreshScheduleShape]]:
    """The same for many objects, with two queries in all; absent where an object belongs to no policy."""
    query = (
        select(RefreshTarget.target_id, RefreshPolicy)
        .join(RefreshPolicy, RefreshTarget.refresh_policy_id == RefreshPolicy.refresh_policy_id)
        .where(RefreshTarget.kind == kind, RefreshTarget.target_id.in_(target_ids))
        .order_by(RefreshPolicy.created_at, RefreshPolicy.refresh_policy_id)
    )
    found = session.execute(query).unique().all()
    if not found:
        return {}
    errors = _last_errors(session, {policy.refresh_policy_id for _, policy in found})
    schedules: dict[str, list[RefreshScheduleShape]] = {}
    for target_id, policy in found:
        schedules.setdefault(target_id, []).append(_schedule(policy, errors.get(policy.refresh_policy_id)))
    return schedules


def _last_errors(session: Session, policy_ids: Collection[RefreshPolicyId]) -> dict[RefreshPolicyId, str | None]:
    """What each policy's newest run failed with."""
    error = (
        select(RefreshPipelineRun.error)
        .where(RefreshPipelineRun.refresh_policy_id == RefreshPolicy.refresh_policy_id)
        .order_by(RefreshPipelineRun.created_at.desc(), RefreshPipelineRun.refresh_pipeline_run_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    mine = RefreshPolicy.refresh_policy_id.in_(policy_ids)
    rows = session.execute(select(RefreshPolicy.refresh_policy_id, error.label("error")).where(mine))
    return {row.refresh_policy_id: row.error for row in rows}


def _schedule(policy: RefreshPolicy, error: str | None) -> RefreshScheduleShape:
    return RefreshScheduleShape(
        refresh_policy_id=policy.refresh_policy_id,
        next_run_time=None if policy.paused else iso(policy.next_run_at),
        cron=policy.cron,
        refresh_type=policy.refresh_type,
        error=error,
    )


def forget_target(session: Session, kind: RefreshType, target_id: str) -> None:
    """Takes a deleted object out of its policies; a policy that has nothing left goes with it."""
    query = select(RefreshTarget).where(RefreshTarget.kind == kind, RefreshTarget.target_id == target_id)
    for target in session.scalars(query).all():
        session.delete(target)
        session.flush()
        left = select(RefreshTarget.target_id).where(RefreshTarget.refresh_policy_id == target.refresh_policy_id)
        policy = session.get(RefreshPolicy, target.refresh_policy_id)
        if policy is not None and session.scalar(left.limit(1)) is None:
            session.delete(policy)


def get_policy(session: Session, organization_id: OrganizationId, refresh_policy_id: RefreshPolicyId) -> RefreshPolicy:
    """The policy; DataNotFoundError if that organisation has none of that id."""
    policy = session.get(RefreshPolicy, refresh_policy_id)
    if policy is None or policy.organization_id != organization_id:
        raise DataNotFoundError(f"Refresh policy {refresh_policy_id} was not found")
    return policy


def targets_of(session: Session, refresh_policy_id: RefreshPolicyId) -> Sequence[RefreshTarget]:
    """What the policy makes anew, in order."""
    query = select(RefreshTarget).where(RefreshTarget.refresh_policy_id == refresh_policy_id)
    return session.scalars(query.order_by(RefreshTarget.position)).all()


def policy_shape(session: Session, policy: RefreshPolicy) -> RefreshPolicyShape:
    """The policy as callers see it."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in RefreshType}
    for target in targets_of(session, policy.refresh_policy_id):
        by_kind[target.kind].append(target.target_id)
    return RefreshPolicyShape(
        refresh_policy_id=policy.refresh_policy_id,
        name=policy.name,
        cron=policy.cron,
        next_run_time=None if policy.paused else iso(policy.next_run_at),
        created_at=iso(policy.created_at),
        refresh_type=policy.refresh_type,
        project_id=policy.project_id,
        dataset_ids=by_kind[RefreshType.DATASET],
        feature_group_id=next(iter(by_kind[RefreshType.FEATUREGROUP]), None),
        model_ids=by_kind[RefreshType.MODEL],
        deployment_ids=by_kind[RefreshType.DEPLOYMENT],
        batch_prediction_ids=by_kind[RefreshType.BATCHPRED],
        model_monitor_ids=[],
        notebook_id=None,
        paused=policy.paused,
        prediction_operator_id=None,
        pipeline_id=None,
        feature_group_export_config=policy.feature_group_export_config,
    )


def pipeline_run_shape(session: Session, run: RefreshPipelineRun) -> RefreshPipelineRunShape:
    """The refresh as callers see it."""
    made: dict[str, list[str]] = {kind: [] for kind in RefreshType}
    for part in run.parts:
        if part.get("version"):
            made[str(part["kind"])].append(str(part["version"]))
    policy = session.get(RefreshPolicy, run.refresh_policy_id) if run.refresh_policy_id else None
    return RefreshPipelineRunShape(
        refresh_pipeline_run_id=run.refresh_pipeline_run_id,
        refresh_policy_id=run.refresh_policy_id,
        created_at=iso(run.created_at),
        started_at=iso(run.started_at),
        completed_at=iso(run.completed_at),
        status=run.status,
        refresh_type=run.refresh_type,
        dataset_versions=made[RefreshType.DATASET],
        feature_group_version=next(iter(made[RefreshType.FEATUREGROUP]), None),
        model_versions=made[RefreshType.MODEL],
        deployment_versions=made[RefreshType.DEPLOYMENT],
        batch_predictions=made[RefreshType.BATCHPRED],
        error=run.error,
        refresh_policy=policy_shape(session, policy) if policy else None,
    )
