"""What this room adds to a house: the list of those who want to hear of models."""

from modelyard.container import Container
from modelyard.models.events import ModelEvents


def bind(parts: Container) -> None:
    """Adds the events, for the rooms above to register with."""
    parts.add(ModelEvents())
