"""What this room adds to a house: the list of those who want to hear of models, and how refresh trains them."""

from modelyard.container import Container
from modelyard.datasets.events import UploadEvents
from modelyard.models import import_actions, refreshing
from modelyard.models.code import receiving
from modelyard.models.events import ModelEvents


def bind(parts: Container) -> None:
    """Adds the events, for the rooms above to register with, and registers models as something to be refreshed."""
    parts.add(ModelEvents())
    uploads = parts.get(UploadEvents)
    uploads.completed[receiving.UPLOAD] = receiving.end_of_upload
    uploads.cancelled[receiving.UPLOAD] = receiving.cancelled_upload
    uploads.completed[import_actions.UPLOAD] = import_actions.end_of_upload
    uploads.cancelled[import_actions.UPLOAD] = import_actions.cancelled_upload
    refreshing.register(parts)
