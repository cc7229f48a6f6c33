"""Deployment tokens: who holds one may ask predictions of every deployment of its project, and do nothing else."""

import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.deployments.changes import note_token_change
from modelyard.deployments.records import DeploymentToken
from modelyard.errors import DataNotFoundError
from modelyard.ids import OrganizationId, ProjectId


def create_token(
    session: Session, clock: Clock, organization_id: OrganizationId, project_id: ProjectId, name: str | None
) -> DeploymentToken:
    """A new token of the project: 32 hexadecimal digits from the system's random source."""
    token = DeploymentToken(
        deployment_token=secrets.token_hex(16),
        organization_id=organization_id,
        project_id=project_id,
        name=name,
        created_at=clock(),
    )
    session.add(token)
    note_token_change(session, token.deployment_token)
    return token


def list_tokens(session: Session, organization_id: OrganizationId, project_id: ProjectId) -> list[DeploymentToken]:
    """The project's tokens, oldest first."""
    mine = (DeploymentToken.organization_id == organization_id, DeploymentToken.project_id == project_id)
    order = (DeploymentToken.created_at, DeploymentToken.deployment_token)
    return list(session.scalars(select(DeploymentToken).where(*mine).order_by(*order)))


def delete_token(session: Session, organization_id: OrganizationId, deployment_token: str) -> None:
    """Revokes the token; within a second no gateway takes it any more. The message never repeats a token."""
    session.delete(_get_token(session, organization_id, deployment_token))
    note_token_change(session, deployment_token)


def limit_token(
    session: Session, organization_id: OrganizationId, deployment_token: str, calls_per_second: int | None
) -> DeploymentToken:
    """Sets how many calls a second the token may ask; None: as many as the deployments take."""
    token = _get_token(session, organization_id, deployment_token)
    token.calls_per_second = calls_per_second
    note_token_change(session, deployment_token)
    return token


def find_project(session: Session, deployment_token: str) -> ProjectId | None:
    """The project that the token opens; None for an unknown or revoked token."""
    token = session.get(DeploymentToken, deployment_token)
    return None if token is None else token.project_id


def _get_token(session: Session, organization_id: OrganizationId, deployment_token: str) -> DeploymentToken:
    token = session.get(DeploymentToken, deployment_token)
    if token is None or token.organization_id != organization_id:
        raise DataNotFoundError("The deployment token was not found")
    return token
