"""What happens to models, for the rooms above: they register here, at the start, and are called in our transaction."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from modelyard.models.records import ModelVersion


@dataclass(frozen=True)
class ModelEvents:
    """A part of the house. Each list is filled by `app.py` before anything runs."""

    #: A version became COMPLETE or FAILED; called in the transaction that says so.
    version_ended: list[Callable[[Session, ModelVersion], None]] = field(default_factory=list)
