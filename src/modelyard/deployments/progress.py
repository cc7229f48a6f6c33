"""How a serving tells its deployment how far it is: it has begun, it is ready, it could not come up.

Called by `replicas`, within the serve run's own transactions. A serving that its deployment no longer names has been
overtaken: it is told so and ends.
"""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.deployments.changes import note_change
from modelyard.deployments.exporting import export_served
from modelyard.deployments.holding import hold, note_progress
from modelyard.deployments.lifecycle import move, take_over
from modelyard.deployments.options import DeploymentOptions, read_options
from modelyard.deployments.records import Deployment, DeploymentStatus, Replica, Role, SideState, SideVersion
from modelyard.deployments.rollouts.sides import rest, side_of_serving, sides_of
from modelyard.ids import DeploymentId, ModelVersionId, ServingId


def begin(session: Session, deployment_id: DeploymentId, serving_id: ServingId, now: datetime) -> Deployment | None:
    """The deployment, if it still wants this serving. Rows that a lost attempt left are removed."""
    forget_replicas(session, serving_id)
    deployment = _get(session, deployment_id)
    if deployment is None or not _is_wanted(session, deployment, serving_id, now):
        return None
    if deployment.serving_id == serving_id and deployment.status == DeploymentStatus.PENDING:
        move(deployment, DeploymentStatus.DEPLOYING)
        note_change(session, deployment_id)
    return deployment


def activate(session: Session, deployment_id: DeploymentId, serving_id: ServingId, now: datetime) -> bool:
    """Calls go to this serving from now on. False if the deployment no longer wants it."""
    deployment = _get(session, deployment_id)
    if deployment is None:
        return False
    if deployment.pending_serving_id == serving_id and deployment.serving_id != serving_id:
        assert deployment.pending_version is not None
        take_over(session, deployment, deployment.pending_version, serving_id, now)
    elif deployment.serving_id != serving_id:
        return _activate_side(session, deployment, serving_id)
    if deployment.status != DeploymentStatus.ACTIVE:
        deployment.deployed_at = now
        export_served(session, deployment)
    move(deployment, DeploymentStatus.ACTIVE)
    deployment.error = None
    hold(session, deployment)
    note_change(session, deployment_id)
    return True


def settle(session: Session, deployment_id: DeploymentId, serving_id: ServingId) -> None:
    """The gateways have learned of the switch: the pending version is no longer pending."""
    deployment = _get(session, deployment_id)
    if deployment is None or deployment.serving_id != serving_id:
        return
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
    if not sides_of(session, deployment_id).keys() <= {Role.FORMER}:
        return False
    deployment.serving_id = None
    forget_replicas(session, serving_id)
    note_change(session, deployment_id)
    return True


def is_wanted(session: Session, deployment_id: DeploymentId, serving_id: ServingId, now: datetime) -> bool:
    """Whether the deployment has any use for the serving: for calls, for a switch, or kept in case it goes back."""
    deployment = session.get(Deployment, deployment_id)
    return deployment is not None and _is_wanted(session, deployment, serving_id, now)


def part(session: Session, deployment_id: DeploymentId, serving_id: ServingId, now: datetime) -> bool:
    """The serving is no longer wanted: its replicas are given back. False: it is wanted after all."""
    deployment = _get(session, deployment_id)
    if deployment is not None:
        if _is_wanted(session, deployment, serving_id, now):
            return False
        side = side_of_serving(session, deployment_id, serving_id)
        if side is not None:
            rest(side)
            hold(session, deployment)
    forget_replicas(session, serving_id)
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
    elif (side := side_of_serving(session, deployment_id, serving_id)) is not None:
        _fail_side(session, deployment, side, reason)
    note_change(session, deployment_id)


def forget_replicas(session: Session, serving_id: ServingId) -> None:
    """Removes the rows of a serving's replicas: gateways send them nothing new."""
    forgotten = delete(Replica).where(Replica.serving_id == serving_id).returning(Replica.deployment_id)
    for deployment_id in session.scalars(forgotten).all():
        note_change(session, deployment_id)


def _is_wanted(session: Session, deployment: Deployment, serving_id: ServingId, now: datetime) -> bool:
    if serving_id in (deployment.serving_id, deployment.pending_serving_id):
        return True
    side = side_of_serving(session, deployment.deployment_id, serving_id)
    return side is not None and (side.until is None or side.until > now)


def _activate_side(session: Session, deployment: Deployment, serving_id: ServingId) -> bool:
    """A version that stands beside the one that answers is up."""
    side = side_of_serving(session, deployment.deployment_id, serving_id)
    if side is None:
        return False
    side.state, side.error = SideState.READY, None
    note_progress(session, deployment, ModelVersionId(side.version), None)
    note_change(session, deployment.deployment_id)
    return True


def _fail_side(session: Session, deployment: Deployment, side: SideVersion, reason: str) -> None:
    if side.role is Role.FORMER:
        rest(side)
    else:
        side.serving_id, side.state, side.error = None, SideState.FAILED, reason
        note_progress(session, deployment, ModelVersionId(side.version), "failed")
    hold(session, deployment)


def _get(session: Session, deployment_id: DeploymentId) -> Deployment | None:
    return session.get(Deployment, deployment_id, with_for_update=True, populate_existing=True)
