"""Tells the rooms below what deployments want to know of them."""

from modelyard.container import Container
from modelyard.deployments import promotion
from modelyard.deployments.lifecycle import DeploymentEvents
from modelyard.models.events import ModelEvents
from modelyard.refresh.records import RefreshType
from modelyard.refresh.targets import Refreshable, Refreshers


def bind(parts: Container) -> None:
    """Adds `DeploymentEvents`; registers auto-deployment, and deployments as something that can be refreshed."""
    parts.add(DeploymentEvents())
    events = parts.get(ModelEvents)
    events.version_ended.append(promotion.promote)
    events.training_asked.append(promotion.check_targets)
    parts.get(Refreshers).register(
        RefreshType.DEPLOYMENT,
        Refreshable(promotion.check_refreshable, promotion.in_project, promotion.refresh, promotion.refresh_progress),
    )
