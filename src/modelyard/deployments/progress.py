"""How a serving tells its deployment how far it is: it has begun, it is ready, it could not come up.

Called by `replicas`, within the serve run's own transactions. A serving that its deployment no longer names has been
overtaken: it is told so and ends.
"""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.deployments.changes import note_change
from modelyard.deployments.holding import hold, note_progress
from modelyard.deployments.lifecycle import end_serving, move
from modelyard.deployments.options import DeploymentOptions, read_options
from modelyard.deployments.records import Deployment, DeploymentStatus, Replica
from modelyard.ids import DeploymentId, ServingId


def begin(session: Session, deployment_id: DeploymentId, serving_id: ServingId) -> Deployment | None:
    """The deployment, if it still wants this serving. Rows that a lost attempt left are removed."""
    forget_replicas(session, serving_id)
    deployment = _get(session, deployment_id)
    if deployment is None or serving_id not in (deployment.serving_id, deployment.pending_serving_id):
        return None
    if deployment.serving_id == serving_id and deployment.status == DeploymentStatus.PENDING:
        move(deployment, DeploymentStatus.DEPLOYING)
        note_change(session)
    return deployment


def activate(session: Session, deployment_id: DeploymentId, serving_id: ServingId, now: datetime) -> bool:
    """Calls go to this serving from now on. False if the deployment no longer wants it."""
    deployment = _get(session, deployment_id)
    if deployment is None:
        return False
    if deployment.pending_serving_id == serving_id and deployment.serving_id != serving_id:
        assert deployment.pending_version is not None
        end_serving(session, deployment.former_serving_id)
        deployment.former_serving_id, deployment.serving_id = deployment.serving_id, serving_id
        deployment.serve(deployment.pending_version)
    elif deployment.serving_id != serving_id:
        return False
    if deployment.status != DeploymentStatus.ACTIVE or deployment.former_serving_id is not None:
        deployment.deployed_at = now
    move(deployment, DeploymentStatus.ACTIVE)
    deployment.error = None
    hold(session, deployment)
    note_change(session)
    return True


def settle(session: Session, deployment_id: DeploymentId, serving_id: ServingId) -> None:
    """The gateways have learned of the switch: the pending version is no longer pending, the former serving ends."""
    deployment = _get(session, deployment_id)
    if deployment is None or deployment.serving_id != serving_id:
        return
    end_serving(session, deployment.former_serving_id)
    deployment.former_serving_id = None
    if deployment.pending_serving_id == serving_id:
        deployment.pending_serving_id = None
        deployment.expect(None)
    note_progress(session, deployment, deployment.version, None)


def fall_asleep(session: Session, deployment_id: DeploymentId, serving_id: ServingId) -> bool:
    """Nobody has called for long: the deployment gives its replicas back, and stays ACTIVE. False: not now."""
    deployment = _get(session, deployment_id)
    if deployment is None or deployment.serving_id != serving_id:
        return False
    if deployment.status != DeploymentStatus.ACTIVE or deployment.pending_serving_id is not None:
        return False
    deployment.serving_id = None
    forget_replicas(session, serving_id)
    note_change(session)
    return True


def options_of(session: Session, deployment_id: DeploymentId) -> DeploymentOptions:
    """What was set for the deployment."""
    return read_options(session.scalar(select(Deployment.options).where(Deployment.deployment_id == deployment_id)))


def fail(session: Session, deployment_id: DeploymentId, serving_id: ServingId, reason: str) -> None:
    """This serving could not come up: the deployment FAILED, or keeps the version that answers."""
    forget_replicas(session, serving_id)
    deployment = _get(session, deployment_id)
    if deployment is None:
        return
    if deployment.serving_id == serving_id:
        deployment.serving_id = None
        move(deployment, DeploymentStatus.FAILED)
        deployment.error = reason
        note_progress(session, deployment, deployment.version, "failed")
    elif deployment.pending_serving_id == serving_id:
        pending = deployment.pending_version
        assert pending is not None
        deployment.pending_serving_id = None
        deployment.expect(None)
        kind = "model" if deployment.feature_group_id is None else "feature group"
        deployment.error = f"The switch to {kind} version {pending} did not come about: {reason}"
        note_progress(session, deployment, pending, "failed")
        hold(session, deployment)
    note_change(session)


def forget_replicas(session: Session, serving_id: ServingId) -> None:
    """Removes the rows of a serving's replicas: gateways send them nothing new."""
    if session.execute(delete(Replica).where(Replica.serving_id == serving_id).returning(Replica.replica_id)).all():
        note_change(session)


def _get(session: Session, deployment_id: DeploymentId) -> Deployment | None:
    return session.get(Deployment, deployment_id, with_for_update=True, populate_existing=True)
