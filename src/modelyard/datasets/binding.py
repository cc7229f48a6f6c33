"""Puts the datasets' events into the house, where the rooms above register, and tells refresh how one is made anew."""

from modelyard.container import Container
from modelyard.datasets import refreshing
from modelyard.datasets.events import DatasetEvents, UploadEvents


def bind(parts: Container) -> None:
    """Called once for each house, by app.py, before the rooms above."""
    parts.add(DatasetEvents())
    parts.add(UploadEvents())
    refreshing.register(parts)
