"""Tells datasets and runs what this room wants to hear of, and refresh how a feature group is made anew."""

from modelyard.container import Container
from modelyard.datasets.events import DatasetEvents
from modelyard.execution.events import RunEvents
from modelyard.feature_groups import refreshing, sources, versions
from modelyard.feature_groups import words as words  # hears of every group that is written


def bind(parts: Container) -> None:
    """Called once for each house, by app.py."""
    events = parts.get(DatasetEvents)
    events.created.append(sources.make_group)
    events.version_completed.append(sources.add_dataset_version)
    events.deleting.append(sources.delete_group)
    parts.get(RunEvents).given_up.append(versions.give_up)
    refreshing.register(parts)
