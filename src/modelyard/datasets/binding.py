"""Puts the datasets' events into the house, where the rooms above register."""

from modelyard.container import Container
from modelyard.datasets.events import DatasetEvents


def bind(parts: Container) -> None:
    """Called once for each house, by app.py, before the rooms above."""
    parts.add(DatasetEvents())
