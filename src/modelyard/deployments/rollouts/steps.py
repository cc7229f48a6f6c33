"""What may happen to versions beside the one that answers: begun, given another part of the calls, promoted, ended;
and back to the former one. Called by `actions.py`, in the caller's transaction.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from modelyard.deployments import lifecycle
from modelyard.deployments.changes import note_change
from modelyard.deployments.holding import hold, note_progress
from modelyard.deployments.records import Deployment, DeploymentStatus, Role, SideState, SideVersion
from modelyard.deployments.rollouts.sides import end_side, is_up, sides_of
from modelyard.deployments.servings import begin_serving
from modelyard.errors import ConflictError, InvalidParameterError, NotReadyError
from modelyard.feature_groups.tables import get_version
from modelyard.ids import FeatureGroupVersionId, ModelVersionId
from modelyard.models.records import ModelVersion
from modelyard.models.versions import deployable, get_model_version


def set_side(
    session: Session, deployment: Deployment, role: Role, version: ModelVersion, percent: float, now: datetime
) -> None:
    """Has the version stand beside the one that answers, or, if it does already, get another part of the calls."""
    _check(session, deployment, version, percent)
    sides = sides_of(session, deployment.deployment_id)
    side = sides.get(role)
    if side is not None and side.version == version.model_version and side.state != SideState.FAILED:
        side.percent = percent
        note_change(session, deployment.deployment_id)
        return
    if side is not None:
        note_progress(session, deployment, ModelVersionId(side.version), None)
        end_side(session, side)
    side = SideVersion(
        deployment_id=deployment.deployment_id, role=role, version=version.model_version, percent=percent, since=now,
        state=SideState.STARTING,
    )  # fmt: skip
    other = sides.get(Role.SHADOW if role is Role.CANARY else Role.CANARY)
    if other is not None and other.version == version.model_version:
        side.serving_id, side.state = other.serving_id, other.state  # it is up already, or on its way
        session.delete(other)
        session.flush()
    if side.serving_id is None:
        side.serving_id, side.state = begin_serving(session, deployment, version.model_version), SideState.STARTING
        note_progress(session, deployment, version.model_version, "pending")
    session.add(side)
    session.flush()
    hold(session, deployment)
    note_change(session, deployment.deployment_id)


def remove_side(session: Session, deployment: Deployment, role: Role) -> None:
    """Ends it; calls that it has are answered."""
    side = _get_side(session, deployment, role)
    note_progress(session, deployment, ModelVersionId(side.version), None)
    end_side(session, side)
    hold(session, deployment)
    note_change(session, deployment.deployment_id)


def promote(session: Session, deployment: Deployment) -> None:
    """Has the canary answer all calls: at once where it is ready, else as soon as it is."""
    side = _get_side(session, deployment, Role.CANARY)
    if side.state == SideState.FAILED:
        raise ConflictError(f"The canary, model version {side.version}, could not be brought up: {side.error}")
    version = ModelVersionId(side.version)
    if not is_up(side):
        lifecycle.abandon_switch(session, deployment)
        deployment.pending_serving_id = side.serving_id
        deployment.expect(version)
        session.delete(side)
        session.flush()
        hold(session, deployment)
        note_change(session, deployment.deployment_id)
        return
    lifecycle.switch(session, deployment, get_model_version(session, deployment.organization_id, version))


def roll_back(session: Session, deployment: Deployment) -> None:
    """Goes back to the version before the last switch: at once if its replicas are still up, else by a switch."""
    former = sides_of(session, deployment.deployment_id).get(Role.FORMER)
    if former is None:
        raise NotReadyError(f"Deployment {deployment.deployment_id} has had no other version before this one")
    if deployment.feature_group_id is None:
        model_version = get_model_version(session, deployment.organization_id, ModelVersionId(former.version))
        lifecycle.switch(session, deployment, model_version)
    else:
        table = get_version(session, deployment.organization_id, FeatureGroupVersionId(former.version))
        lifecycle.switch_table(session, deployment, table)


def _check(session: Session, deployment: Deployment, version: ModelVersion, percent: float) -> None:
    if not 0 < percent <= 100:
        raise InvalidParameterError(f"percent is {percent:g}; it must be more than 0 and at most 100")
    if deployment.model_id is None:
        raise ConflictError(f"Deployment {deployment.deployment_id} serves a feature group; only models have canaries")
    if version.model_id != deployment.model_id:
        raise ConflictError(
            f"Model version {version.model_version} belongs to model {version.model_id}; "
            f"deployment {deployment.deployment_id} serves model {deployment.model_id}"
        )
    if deployment.status != DeploymentStatus.ACTIVE:
        raise NotReadyError(f"Deployment {deployment.deployment_id} is {deployment.status}; it must be ACTIVE")
    if version.model_version in (deployment.version, deployment.pending_version):
        raise ConflictError(f"Model version {version.model_version} answers already, or is about to")
    deployable(session, version)


def _get_side(session: Session, deployment: Deployment, role: Role) -> SideVersion:
    side = sides_of(session, deployment.deployment_id).get(role)
    if side is None:
        raise NotReadyError(f"Deployment {deployment.deployment_id} has no {role.lower()}")
    return side
