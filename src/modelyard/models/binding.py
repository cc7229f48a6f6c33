"""What this room adds to a house: the list of those who want to hear of models, and how refresh trains them."""

from modelyard.container import Container
from modelyard.models import refreshing
from modelyard.models.events import ModelEvents


def bind(parts: Container) -> None:
    """Adds the events, for the rooms above to register with, and registers models as something to be refreshed."""
    parts.add(ModelEvents())
    refreshing.register(parts)
