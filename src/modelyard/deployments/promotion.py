"""Auto-deployment: a version that has been trained goes by itself to the deployments that wait for it.

Registered with `ModelEvents`: deployments that a training named, and those of the model with autoDeploy, switch to a
version that came out COMPLETE, unless its metrics are worse than those of the version that they serve.
Source: setAutoDeployment ("If the metrics are comparable or better, ... automatically promoted").
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelyard.deployments import lifecycle
from modelyard.deployments.records import Deployment
from modelyard.deployments.tables import newest_table
from modelyard.errors import ApiError, ConflictError
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import DeploymentId, OrganizationId, ProjectId
from modelyard.models.records import Model, ModelVersion, VersionStatus
from modelyard.models.versions import get_model, newest_complete, note_deployment
from modelyard.refresh.targets import Progress

#: A metric that is worse by this part of its former value is still comparable.
TOLERANCE = 0.05
#: Words in the names of metrics of which less is better, and of those of which more is.
LESS = ("loss", "error", "rmse", "mse", "mae", "mape", "perplexity", "deviance")
MORE = ("accuracy", "auc", "f1", "precision", "recall", "r2", "score", "ndcg")


def check_targets(session: Session, model: Model, deployment_ids: Sequence[DeploymentId]) -> None:
    """Raises unless all of them are deployments of that model."""
    for deployment_id in deployment_ids:
        deployment = lifecycle.get_deployment(session, model.organization_id, deployment_id)
        if deployment.model_id != model.model_id:
            served = f"model {deployment.model_id}" if deployment.model_id else "a feature group"
            raise ConflictError(f"Deployment {deployment_id} serves {served}, not {model.model_id}")


def promote(session: Session, version: ModelVersion) -> None:
    """Sends an ended version where it shall go; what can't be is noted as a failed promotion."""
    asked = set(version.pending_deployment_ids)
    for deployment in _candidates(session, version, asked):
        asked.discard(deployment.deployment_id)
        if version.status == VersionStatus.COMPLETE:
            _promote_to(session, version, deployment)
        else:
            note_deployment(session, version.model_version, deployment.deployment_id, "failed")
    for gone in sorted(asked):
        note_deployment(session, version.model_version, DeploymentId(gone), "failed")


def is_worse(new: Mapping[str, object], old: Mapping[str, object]) -> str | None:
    """The name of a metric that both have and that got worse, or None. Names that say no direction are not compared."""
    for name in sorted(set(new) & set(old)):
        ours, theirs, direction = new[name], old[name], _direction(name)
        if not direction or not isinstance(ours, int | float) or not isinstance(theirs, int | float):
            continue
        if (theirs - ours) * direction > TOLERANCE * abs(theirs):
            return name
    return None


def check_refreshable(session: Session, organization_id: OrganizationId, target_id: str) -> None:
    """DataNotFoundError unless the organisation has that deployment."""
    lifecycle.get_deployment(session, organization_id, DeploymentId(target_id))


def in_project(session: Session, project_id: ProjectId) -> list[str]:
    """The project's deployments."""
    query = select(Deployment.deployment_id).where(Deployment.project_id == project_id)
    return list(session.scalars(query.order_by(Deployment.created_at, Deployment.deployment_id)))


def refresh(session: Session, target_id: str) -> str:
    """Switches to the newest complete version of the deployment's model or group; gives `deployment-version`."""
    deployment = session.get_one(Deployment, DeploymentId(target_id), with_for_update=True)
    if deployment.model_id is not None:
        version = newest_complete(session, get_model(session, deployment.organization_id, deployment.model_id))
        lifecycle.switch(session, deployment, version)
        return f"{target_id}-{version.model_version}"
    if deployment.online_table_id is not None:
        return f"{target_id}-"  # rows online are looked up as they stand
    assert deployment.feature_group_id is not None
    group = get_feature_group(session, deployment.organization_id, deployment.feature_group_id)
    newest = newest_table(session, group)
    lifecycle.switch_table(session, deployment, newest)
    return f"{target_id}-{newest.feature_group_version}"


def refresh_progress(session: Session, refreshed: str) -> Progress:
    """How far the switch that `refresh` began has come."""
    deployment_id, _, version = refreshed.partition("-")
    deployment = session.get(Deployment, DeploymentId(deployment_id), populate_existing=True)
    if deployment is None:
        return Progress(ended=True, error="the deployment has been deleted")
    if version and deployment.pending_version == version:
        return Progress(ended=False)
    served = (deployment.version or "") == version
    return Progress(ended=True, error=None if served else deployment.error or "the switch was given up")


def _candidates(session: Session, version: ModelVersion, asked: set[str]) -> Sequence[Deployment]:
    wanted = or_(Deployment.deployment_id.in_(asked), Deployment.auto_deploy.is_(True))
    query = select(Deployment).where(Deployment.model_id == version.model_id, wanted)
    if version.status != VersionStatus.COMPLETE:
        query = query.where(Deployment.deployment_id.in_(asked))
    return session.scalars(query.order_by(Deployment.deployment_id).with_for_update()).all()


def _promote_to(session: Session, version: ModelVersion, deployment: Deployment) -> None:
    served = session.get(ModelVersion, deployment.model_version)
    new, old = version.metrics or {}, (served.metrics if served else None) or {}
    objective = session.get_one(Model, version.model_id).objective_metric
    if objective is not None:
        new, old = ({name: value for name, value in each.items() if name == objective} for each in (new, old))
    worse = None if deployment.skip_metrics_check else is_worse(new, old)
    try:
        if worse is not None:
            raise ConflictError(
                f"Model version {version.model_version} was not deployed: poor metrics performance: {worse} is "
                f"{new[worse]}, with the deployed version {old[worse]}"
            )
        lifecycle.switch(session, deployment, version)
    except ApiError as error:
        deployment.error = error.message
        note_deployment(session, version.model_version, deployment.deployment_id, "failed")


def _direction(name: str) -> int:
    lowered = name.lower()
    if any(word in lowered for word in LESS):
        return -1
    return 1 if any(word in lowered for word in MORE) else 0
