"""autoDeploy of feature groups: a version that is completed goes by itself to the group's deployments.

Asked by the serving of such a deployment twice a second. What counts is a version that was completed after the last
switch, so one that somebody chose stays until there is a newer one than at that moment. A deployment that sleeps
follows when it wakes.
"""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.deployments import lifecycle
from modelyard.deployments.records import Deployment, DeploymentStatus
from modelyard.errors import ApiError
from modelyard.feature_groups.records import FeatureGroupVersion, VersionStatus
from modelyard.ids import DeploymentId, FeatureGroupVersionId, ServingId


def find_newer(
    session: Session, deployment_id: DeploymentId, serving_id: ServingId, tried: Collection[FeatureGroupVersionId]
) -> FeatureGroupVersionId | None:
    """The version that the deployment should go to now; None almost always."""
    deployment = session.get(Deployment, deployment_id)
    if deployment is None or deployment.feature_group_id is None or not deployment.auto_deploy:
        return None
    if deployment.serving_id != serving_id or deployment.pending_version is not None or not deployment.deployed_at:
        return None
    newest = session.execute(
        select(FeatureGroupVersion.feature_group_version, FeatureGroupVersion.completed_at)
        .where(
            FeatureGroupVersion.feature_group_id == deployment.feature_group_id,
            FeatureGroupVersion.status == VersionStatus.COMPLETE,
        )
        .order_by(FeatureGroupVersion.number.desc())
        .limit(1)
    ).first()
    if newest is None or newest.completed_at is None or newest.completed_at <= deployment.deployed_at:
        return None
    version = newest.feature_group_version
    return None if version == deployment.version or version in tried else version


def follow(session: Session, deployment_id: DeploymentId, version: FeatureGroupVersionId) -> None:
    """Switches the deployment to that version; where that can't be, `error` says why."""
    deployment = session.get(Deployment, deployment_id, with_for_update=True, populate_existing=True)
    newer = session.get(FeatureGroupVersion, version)
    if deployment is None or newer is None or deployment.status != DeploymentStatus.ACTIVE:
        return
    try:
        lifecycle.switch_table(session, deployment, newer)
    except ApiError as error:
        deployment.error = error.message
