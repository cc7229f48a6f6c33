"""Refresh policies: create, look, change, pause, run now, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from modelyard.actions import Call, action
from modelyard.database import JsonObject
from modelyard.errors import (
    ApiError,
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
)
from modelyard.ids import (
    BatchPredictionId,
    DatasetId,
    DeploymentId,
    FeatureGroupId,
    ModelId,
    ProjectId,
    RefreshPipelineRunId,
    RefreshPolicyId,
    new_id,
)
from modelyard.projects.access import get_project
from modelyard.refresh.cron import next_time
from modelyard.refresh.records import RefreshPipelineRun, RefreshPolicy, RefreshTarget, RefreshType
from modelyard.refresh.scheduler import fire
from modelyard.refresh.schedules import get_policy, pipeline_run_shape, policy_shape, targets_of
from modelyard.refresh.targets import Refreshers
from modelyard.refresh.wire import RefreshPipelineRunShape, RefreshPolicyShape

NOT_FOUND: tuple[type[ApiError], ...] = (DataNotFoundError,)


@action(
    "POST",
    errors=(
        InvalidParameterError,
        InvalidEnumParameterError,
        MissingParameterError,
        DataNotFoundError,
        ConflictError,
    ),
)
def create_refresh_policy(
    call: Call,
    *,
    name: str | None = None,
    cron: str,
    refresh_type: RefreshType,
    project_id: ProjectId | None = None,
    dataset_ids: list[DatasetId] | None = None,
    feature_group_id: FeatureGroupId | None = None,
    model_ids: list[ModelId] | None = None,
    deployment_ids: list[DeploymentId] | None = None,
    batch_prediction_ids: list[BatchPredictionId] | None = None,
    model_monitor_ids: list[str] | None = None,
    notebook_id: str | None = None,
    prediction_operator_id: str | None = None,
    feature_group_export_config: dict[str, Any] | None = None,
) -> RefreshPolicyShape:
    """Has things made anew on a schedule in UTC: five cron fields, or a name such as `@hourly`.

    With `projectId` and no ids, what of that type the project holds now is taken. All targets must be the caller's.
    """
    _refuse_unsupported(
        modelMonitorIds=model_monitor_ids, notebookId=notebook_id, predictionOperatorId=prediction_operator_id
    )
    targets: dict[RefreshType, list[str]] = {
        RefreshType.DATASET: list(dataset_ids or []),
        RefreshType.FEATUREGROUP: [feature_group_id] if feature_group_id else [],
        RefreshType.MODEL: list(model_ids or []),
        RefreshType.DEPLOYMENT: list(deployment_ids or []),
        RefreshType.BATCHPRED: list(batch_prediction_ids or []),
    }
    _fill_from_project(call, targets, refresh_type, project_id)
    if feature_group_export_config:
        _check_export(call, targets, feature_group_export_config)
    policy = RefreshPolicy(
        refresh_policy_id=RefreshPolicyId(new_id()),
        organization_id=call.organization_id,
        project_id=project_id,
        name=name,
        cron=cron,
        refresh_type=refresh_type,
        paused=False,
        next_run_at=next_time(cron, call.clock()),
        feature_group_export_config=feature_group_export_config or None,
        created_at=call.clock(),
    )
    call.session.add(policy)
    call.session.flush()
    _add_targets(call, policy, targets)
    return policy_shape(call.session, policy)


@action("GET")
def list_refresh_policies(
    call: Call,
    *,
    project_id: ProjectId | None = None,
    dataset_ids: list[DatasetId] | None = None,
    feature_group_id: FeatureGroupId | None = None,
    model_ids: list[ModelId] | None = None,
    deployment_ids: list[DeploymentId] | None = None,
    batch_prediction_ids: list[BatchPredictionId] | None = None,
    model_monitor_ids: list[str] | None = None,
    notebook_ids: list[str] | None = None,
) -> list[RefreshPolicyShape]:
    """The organisation's policies, oldest first; with filters, those that concern any of the named things."""
    wanted = [*(dataset_ids or []), *(model_ids or []), *(deployment_ids or []), *(batch_prediction_ids or [])]
    wanted += [feature_group_id] if feature_group_id else []
    if model_monitor_ids or notebook_ids:
        return []
    query = select(RefreshPolicy).where(RefreshPolicy.organization_id == call.organization_id)
    if project_id is not None:
        query = query.where(RefreshPolicy.project_id == project_id)
    if wanted:
        having = select(RefreshTarget.refresh_policy_id).where(RefreshTarget.target_id.in_(wanted))
        query = query.where(RefreshPolicy.refresh_policy_id.in_(having))
    found = call.session.scalars(query.order_by(RefreshPolicy.created_at, RefreshPolicy.refresh_policy_id))
    return [policy_shape(call.session, policy) for policy in found]


@action("GET", errors=NOT_FOUND)
def describe_refresh_policy(call: Call, *, refresh_policy_id: RefreshPolicyId) -> RefreshPolicyShape:
    """One policy."""
    return policy_shape(call.session, get_policy(call.session, call.organization_id, refresh_policy_id))


@action(
    "POST",
    errors=(DataNotFoundError, InvalidParameterError, MissingParameterError, ConflictError, InvalidEnumParameterError),
)
def update_refresh_policy(
    call: Call,
    *,
    refresh_policy_id: RefreshPolicyId,
    name: str | None = None,
    cron: str | None = None,
    feature_group_export_config: dict[str, Any] | None = None,
) -> RefreshPolicyShape:
    """Changes a policy's name, cron or export; what is left out stays."""
    policy = get_policy(call.session, call.organization_id, refresh_policy_id)
    if name is not None:
        policy.name = name
    if cron is not None:
        policy.cron, policy.next_run_at = cron, next_time(cron, call.clock())
    if feature_group_export_config is not None:
        if feature_group_export_config:
            kinds = {
                RefreshType(target.kind): [target.target_id] for target in targets_of(call.session, refresh_policy_id)
            }
            _check_export(call, kinds, feature_group_export_config)
        policy.feature_group_export_config = feature_group_export_config or None
    return policy_shape(call.session, policy)


@action("DELETE", errors=NOT_FOUND)
def delete_refresh_policy(call: Call, *, refresh_policy_id: RefreshPolicyId) -> None:
    """Deletes a policy; the records of its refreshes stay."""
    call.session.delete(get_policy(call.session, call.organization_id, refresh_policy_id))


@action("POST", errors=NOT_FOUND)
def pause_refresh_policy(call: Call, *, refresh_policy_id: RefreshPolicyId) -> None:
    """Has a policy rest until it is resumed."""
    get_policy(call.session, call.organization_id, refresh_policy_id).paused = True


@action("POST", errors=NOT_FOUND)
def resume_refresh_policy(call: Call, *, refresh_policy_id: RefreshPolicyId) -> None:
    """Has a paused policy go on with its next moment; what was missed meanwhile is not made up for."""
    policy = get_policy(call.session, call.organization_id, refresh_policy_id)
    policy.paused, policy.next_run_at = False, next_time(policy.cron, call.clock())


@action("POST", errors=NOT_FOUND)
def run_refresh_policy(call: Call, *, refresh_policy_id: RefreshPolicyId) -> RefreshPipelineRunShape:
    """Has a policy's things made anew now, beside its schedule."""
    policy = get_policy(call.session, call.organization_id, refresh_policy_id)
    return pipeline_run_shape(call.session, fire(call.session, policy, call.clock()))


@action("GET", errors=NOT_FOUND)
def describe_refresh_pipeline_run(
    call: Call, *, refresh_pipeline_run_id: RefreshPipelineRunId
) -> RefreshPipelineRunShape:
    """One refresh and what it made."""
    found = call.session.get(RefreshPipelineRun, refresh_pipeline_run_id)
    if found is None or found.organization_id != call.organization_id:
        raise DataNotFoundError(f"Refresh pipeline run {refresh_pipeline_run_id} was not found")
    return pipeline_run_shape(call.session, found)


@action("GET", errors=NOT_FOUND)
def list_refresh_pipeline_runs(call: Call, *, refresh_policy_id: RefreshPolicyId) -> list[RefreshPipelineRunShape]:
    """A policy's refreshes, newest first."""
    get_policy(call.session, call.organization_id, refresh_policy_id)
    query = (
        select(RefreshPipelineRun)
        .where(RefreshPipelineRun.refresh_policy_id == refresh_policy_id)
        .order_by(RefreshPipelineRun.created_at.desc(), RefreshPipelineRun.refresh_pipeline_run_id)
        .limit(call.settings.page_size)
    )
    return [pipeline_run_shape(call.session, found) for found in call.session.scalars(query)]


def _refuse_unsupported(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise InvalidParameterError(f"{name}: there is nothing of that kind on this platform to refresh")


def _fill_from_project(
    call: Call, targets: dict[RefreshType, list[str]], kind: RefreshType, project_id: ProjectId | None
) -> None:
    if project_id is not None:
        get_project(call.session, call.organization_id, project_id)
        if not any(targets.values()):
            targets[kind] = call.parts.get(Refreshers).get(kind).in_project(call.session, project_id)
    if not targets[kind]:
        raise InvalidParameterError(f"A policy of type {kind} must name what it refreshes, and names no {kind}")


def _check_export(call: Call, targets: Mapping[RefreshType, Sequence[str]], config: JsonObject) -> None:
    """Refuses an export where nothing of a policy could be exported, or not there."""
    exporting = [
        found for kind, ids in targets.items() if ids and (found := call.parts.get(Refreshers).get(kind).export)
    ]
    if not exporting:
        raise InvalidParameterError(
            "featureGroupExportConfig: the policy refreshes no feature group that it could export"
        )
    exporting[0].check(call.session, call.organization_id, config)


def _add_targets(call: Call, policy: RefreshPolicy, targets: dict[RefreshType, list[str]]) -> None:
    refreshers, position = call.parts.get(Refreshers), 0
    for kind, ids in targets.items():
        for target_id in dict.fromkeys(ids):
            refreshers.get(kind).check(call.session, call.organization_id, target_id)
            call.session.add(
                RefreshTarget(
                    refresh_policy_id=policy.refresh_policy_id, kind=kind, target_id=target_id, position=position
                )
            )
            position += 1
    call.session.flush()
