"""Has what was observed of a deployment go with it."""

from modelyard.container import Container
from modelyard.deployments.lifecycle import DeploymentEvents
from modelyard.observability.expiring import forget


def bind(parts: Container) -> None:
    """Listens for deployments that are deleted."""
    parts.get(DeploymentEvents).deleting.append(forget)
