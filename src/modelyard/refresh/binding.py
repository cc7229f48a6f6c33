"""Adds the table of what can be refreshed; the slices above register their kinds in it."""

from modelyard.container import Container
from modelyard.refresh.targets import Refreshers


def bind(parts: Container) -> None:
    """Adds `Refreshers`."""
    parts.add(Refreshers())
