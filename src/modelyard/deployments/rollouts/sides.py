"""The versions beside the one that answers, as the deployment's own steps need them: found, kept, ended."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.deployments.records import Deployment, Role, SideState, SideVersion, Version
from modelyard.deployments.servings import end_serving
from modelyard.ids import DeploymentId, ServingId

#: Seconds after a switch for which the former version's replicas go on in any case, until each gateway has heard of it.
HEARD_S = 0.5


def sides_of(session: Session, deployment_id: DeploymentId) -> dict[Role, SideVersion]:
    """All of a deployment."""
    query = select(SideVersion).where(SideVersion.deployment_id == deployment_id)
    return {Role(side.role): side for side in session.scalars(query)}


def side_of_serving(session: Session, deployment_id: DeploymentId, serving_id: ServingId) -> SideVersion | None:
    """The one whose replicas that serving keeps."""
    mine = (SideVersion.deployment_id == deployment_id, SideVersion.serving_id == serving_id)
    return session.scalars(select(SideVersion).where(*mine)).first()


def is_up(side: SideVersion) -> bool:
    """Whether it could answer at once."""
    return side.serving_id is not None and side.state == SideState.READY


def held_versions(session: Session, deployment: Deployment, now: datetime) -> Iterator[str]:
    """The versions that nobody may delete meanwhile."""
    for role, side in sides_of(session, deployment.deployment_id).items():
        if role is not Role.FORMER or (side.until is not None and side.until > now + timedelta(seconds=HEARD_S)):
            yield side.version


def end_side(session: Session, side: SideVersion) -> None:
    """Ends it for good, with its replicas."""
    end_serving(session, side.serving_id)
    session.delete(side)
    session.flush()


def keep_former(
    session: Session, deployment: Deployment, version: Version | None, serving_id: ServingId | None, now: datetime,
    keep_s: float,
) -> None:  # fmt: skip
    """Notes the version that answered up to now; its replicas stay for so long. The one before that goes."""
    side = sides_of(session, deployment.deployment_id).get(Role.FORMER)
    if side is not None and side.serving_id not in (serving_id, deployment.serving_id):
        end_serving(session, side.serving_id)
    if version is None:
        return
    if side is None:
        side = SideVersion(deployment_id=deployment.deployment_id, role=Role.FORMER, percent=0.0, since=now)
        session.add(side)
    side.version, side.serving_id, side.since, side.error = version, serving_id, now, None
    side.state = SideState.RESTING if serving_id is None else SideState.READY
    side.until = None if serving_id is None else now + timedelta(seconds=max(keep_s, HEARD_S))
    session.flush()


def rest(side: SideVersion) -> None:
    """Its replicas are given back."""
    side.serving_id, side.until, side.state = None, None, SideState.RESTING
