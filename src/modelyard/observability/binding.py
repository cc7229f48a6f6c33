"""Has what was observed of a deployment go with it."""

from sqlalchemy.orm import Session

from modelyard.container import Container
from modelyard.deployments.lifecycle import DeploymentEvents
from modelyard.deployments.records import Deployment
from modelyard.observability.expiring import forget


def bind(parts: Container) -> None:
    """Listens for deployments that are deleted."""
    parts.get(DeploymentEvents).deleting.append(_forget)


def _forget(session: Session, deployment: Deployment) -> None:
    forget(session, deployment.deployment_id)
