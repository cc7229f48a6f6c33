"""What happens to models, for the rooms above: they register here, at the start, and are called in our transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from modelyard.ids import DeploymentId
from modelyard.models.records import Model, ModelVersion


@dataclass(frozen=True)
class ModelEvents:
    """A part of the house. Each list is filled by the `binding.py` of a room above, before anything runs."""

    #: A training that shall go to these deployments is asked for; raises an ApiError where that can't be.
    training_asked: list[Callable[[Session, Model, Sequence[DeploymentId]], None]] = field(default_factory=list)
    #: A version became COMPLETE or FAILED; called in the transaction that says so. Trainings that were given up before
    #: an agent could end them are not told: their pendingDeploymentIds have become failedDeploymentIds by then.
    version_ended: list[Callable[[Session, ModelVersion], None]] = field(default_factory=list)
