"""What may happen to a deployment: created, started, switched, stopped, deleted; for actions and auto-deployment.

Each step changes the deployment's row and puts a serve run on the table, or asks for one's end, in the caller's
transaction. The serve runs themselves report back through `progress.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.deployments import tables
from modelyard.deployments.changes import note_change
from modelyard.deployments.exporting import export_served, forget_destination
from modelyard.deployments.holding import KIND, hold, note_progress, release
from modelyard.deployments.options import read_options
from modelyard.deployments.records import TRANSITIONS, Deployment, DeploymentStatus, Replica, Role, Version
from modelyard.deployments.rollouts.sides import end_side, is_up, keep_former, rest, sides_of
from modelyard.deployments.servings import begin_serving, end_serving
from modelyard.errors import ConflictError, DataNotFoundError
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.ids import DeploymentId, ModelVersionId, OrganizationId, ServingId
from modelyard.models.records import ModelVersion
from modelyard.models.versions import deployable
from modelyard.projects.access import forget_occupant, note_occupant


@dataclass(frozen=True)
class DeploymentEvents:
    """A part of the house. Each list is filled by `app.py` before anything runs."""

    #: A deployment is about to be deleted; called in that transaction, may raise ConflictError.
    deleting: list[Callable[[Session, Deployment], None]] = field(default_factory=list)


def get_deployment(
    session: Session, organization_id: OrganizationId, deployment_id: DeploymentId, *, for_update: bool = False
) -> Deployment:
    """The deployment; DataNotFoundError if the organisation has none of that id."""
    deployment = session.get(Deployment, deployment_id, with_for_update=for_update or None)
    if deployment is None or deployment.organization_id != organization_id:
        raise DataNotFoundError(f"Deployment {deployment_id} was not found")
    return deployment


def add(session: Session, deployment: Deployment, *, start: bool) -> None:
    """Puts a new deployment on the table and, unless told otherwise, to work. What it serves has been checked."""
    session.add(deployment)
    session.flush()
    _note(session, deployment)
    if start:
        _begin(session, deployment)
    note_change(session, deployment.deployment_id)


def start(session: Session, deployment: Deployment) -> None:
    """Puts a stopped or failed deployment to work; one that works already is left as it is."""
    if deployment.status not in (DeploymentStatus.STOPPED, DeploymentStatus.FAILED):
        return
    move(deployment, DeploymentStatus.PENDING)
    deployment.error = None
    _begin(session, deployment)
    note_change(session, deployment.deployment_id)


def wake(session: Session, deployment_id: DeploymentId) -> None:
    """Has a deployment that sleeps served again; one that does not is left as it is."""
    deployment = session.get(Deployment, deployment_id, with_for_update=True, populate_existing=True)
    if deployment is not None and deployment.is_asleep:
        _begin(session, deployment)
        note_change(session, deployment.deployment_id)


def stop(session: Session, deployment: Deployment) -> None:
    """Takes no more calls, lets those under way end, and ends the replicas. A switch under way is given up."""
    if deployment.status == DeploymentStatus.STOPPED:
        return
    move(deployment, DeploymentStatus.STOPPED)
    abandon_switch(session, deployment)
    end_serving(session, deployment.serving_id)
    deployment.serving_id = None
    _end_sides(session, deployment)
    note_change(session, deployment.deployment_id)


def switch(session: Session, deployment: Deployment, version: ModelVersion) -> None:
    """Brings up another version of the model beside the one that answers; calls go over once it is ready.

    A deployment that answers nothing yet, or has failed, begins with the new version; a stopped one only takes note.
    """
    if deployment.model_id is None:
        raise ConflictError(
            f"Deployment {deployment.deployment_id} serves feature group {deployment.feature_group_id}; "
            "setDeploymentFeatureGroupVersion switches it"
        )
    if version.model_id != deployment.model_id:
        raise ConflictError(
            f"Model version {version.model_version} belongs to model {version.model_id}; "
            f"deployment {deployment.deployment_id} serves model {deployment.model_id}"
        )
    deployable(session, version)
    _go_to(session, deployment, version.model_version)


def switch_table(session: Session, deployment: Deployment, version: FeatureGroupVersion) -> None:
    """As `switch`, to another version of the feature group."""
    if deployment.feature_group_id is None:
        raise ConflictError(
            f"Deployment {deployment.deployment_id} serves model {deployment.model_id}; "
            "setDeploymentModelVersion switches it"
        )
    if version.feature_group_id != deployment.feature_group_id:
        raise ConflictError(
            f"Feature group version {version.feature_group_version} belongs to feature group "
            f"{version.feature_group_id}; deployment {deployment.deployment_id} serves {deployment.feature_group_id}"
        )
    if deployment.online_table_id is not None:
        raise ConflictError(
            f"Deployment {deployment.deployment_id} gives rows online as they stand now; it has no version to switch"
        )
    tables.check_table(session, version)
    _go_to(session, deployment, version.feature_group_version)


def delete(session: Session, events: DeploymentEvents, deployment: Deployment) -> None:
    """Stops the deployment and removes it for good; what it served stays."""
    for listener in events.deleting:
        listener(session, deployment)
    stop(session, deployment)
    release(session, deployment)
    forget_destination(session, deployment)
    note_progress(session, deployment, deployment.version, None)
    forget_occupant(session, KIND, deployment.deployment_id)
    for side in sides_of(session, deployment.deployment_id).values():
        end_side(session, side)
    session.flush()
    for replica in session.scalars(select(Replica).where(Replica.deployment_id == deployment.deployment_id)):
        session.delete(replica)
    session.flush()
    session.delete(deployment)
    note_change(session, deployment.deployment_id)


def rename(session: Session, deployment: Deployment, name: str) -> None:
    """Gives the deployment another name, here and where it is listed."""
    deployment.name = name
    _note(session, deployment)


def take_over(session: Session, deployment: Deployment, version: Version, serving_id: ServingId, now: datetime) -> None:
    """Calls go to that serving, which is up, from now on. The version before is remembered, and its replicas stay for
    as long as the option `keepFormerS` says.
    """
    before, served_before = deployment.version, deployment.serving_id
    deployment.serve(version)
    deployment.serving_id, deployment.deployed_at, deployment.error = serving_id, now, None
    keep_s = read_options(deployment.options).keep_former_s
    keep_former(session, deployment, before, served_before, now, keep_s)
    export_served(session, deployment)
    hold(session, deployment)
    note_change(session, deployment.deployment_id)


def abandon_switch(session: Session, deployment: Deployment) -> None:
    """Gives up the switch under way, if there is one: the version that answers stays."""
    pending = deployment.pending_version
    if pending is not None and deployment.pending_serving_id != deployment.serving_id:
        end_serving(session, deployment.pending_serving_id)
        note_progress(session, deployment, pending, None)
    deployment.expect(None)
    deployment.pending_serving_id = None
    if pending is not None:
        hold(session, deployment)


def move(deployment: Deployment, status: DeploymentStatus) -> None:
    """Changes the status along the table of transitions; a step that is not there is a defect."""
    before = DeploymentStatus(deployment.status)
    if status is not before and status not in TRANSITIONS[before]:
        raise ValueError(f"deployment {deployment.deployment_id} can't go from {before} to {status}")
    deployment.status = status


def _go_to(session: Session, deployment: Deployment, version: Version) -> None:
    abandon_switch(session, deployment)
    if deployment.status == DeploymentStatus.ACTIVE:
        if version != deployment.version and not _is_up_already(session, deployment, version):
            _begin_switch(session, deployment, version)
    else:
        _replace(session, deployment, version)
    note_change(session, deployment.deployment_id)


def _is_up_already(session: Session, deployment: Deployment, version: Version) -> bool:
    """Lets a version that stands beside the one that answers, with replicas that are ready, take over at once."""
    ready = [side for side in sides_of(session, deployment.deployment_id).values() if side.version == version]
    for side in filter(is_up, ready):
        serving_id = side.serving_id
        assert serving_id is not None
        if side.role is not Role.FORMER:
            session.delete(side)
            session.flush()
        take_over(session, deployment, version, serving_id, utc_now())
        note_progress(session, deployment, version, None)
        return True
    return False


def _end_sides(session: Session, deployment: Deployment) -> None:
    """Canary and shadow end with the deployment's work; the former version is remembered, without replicas."""
    for role, side in sides_of(session, deployment.deployment_id).items():
        if role is Role.FORMER:
            end_serving(session, side.serving_id)
            rest(side)
        else:
            note_progress(session, deployment, ModelVersionId(side.version), None)
            end_side(session, side)
    hold(session, deployment)


def _begin(session: Session, deployment: Deployment) -> None:
    """Has an agent serve the version; rows online need none, and answer at once."""
    if deployment.version is not None:
        deployment.serving_id = begin_serving(session, deployment, deployment.version)
        return
    move(deployment, DeploymentStatus.ACTIVE)
    deployment.deployed_at = utc_now()


def _begin_switch(session: Session, deployment: Deployment, version: Version) -> None:
    deployment.expect(version)
    deployment.pending_serving_id = begin_serving(session, deployment, version)
    hold(session, deployment)
    note_progress(session, deployment, version, "pending")


def _replace(session: Session, deployment: Deployment, version: Version) -> None:
    end_serving(session, deployment.serving_id)
    deployment.serve(version)
    deployment.serving_id, deployment.error = None, None
    _note(session, deployment)
    if deployment.status == DeploymentStatus.STOPPED:
        note_progress(session, deployment, version, None)
        return
    if deployment.status != DeploymentStatus.PENDING:
        move(deployment, DeploymentStatus.PENDING)
    note_progress(session, deployment, version, "pending")
    _begin(session, deployment)


def _note(session: Session, deployment: Deployment) -> None:
    hold(session, deployment)
    note_occupant(session, deployment.project_id, KIND, deployment.deployment_id, deployment.name)
