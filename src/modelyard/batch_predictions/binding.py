"""Tells the rooms below what batch predictions want to know of them, and refresh how one is started anew."""

from modelyard.batch_predictions import refreshing
from modelyard.batch_predictions.changing import check_deletable
from modelyard.container import Container
from modelyard.deployments.lifecycle import DeploymentEvents


def bind(parts: Container) -> None:
    """Called once for each house, by app.py."""
    parts.get(DeploymentEvents).deleting.append(check_deletable)
    refreshing.register(parts)
