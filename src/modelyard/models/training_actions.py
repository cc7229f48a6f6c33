"""What may be done with a training that waits or goes on: follow its log, cancel it. Actions of our own.

The official client has no methods for these; it calls them by `client._call_api`, the command line by `modelyard logs`.
"""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.execution import cancel
from modelyard.ids import ModelVersionId
from modelyard.models.records import ENDED
from modelyard.models.trainings import followed_logs
from modelyard.models.versions import get_model_version
from modelyard.models.wire import FollowedLogsShape


@action("POST", errors=(DataNotFoundError, ConflictError))
def cancel_training(call: Call, *, model_version: ModelVersionId) -> None:
    """Ends a training that waits or goes on: its guest is ended, and the version becomes FAILED within seconds."""
    version = get_model_version(call.session, call.organization_id, model_version)
    if version.status in ENDED:
        raise ConflictError(f"Model version {model_version} has ended as {version.status}; there is nothing to cancel")
    cancel(call.session, version.run_id)


@action("GET", errors=(DataNotFoundError, InvalidParameterError), under_way=lambda answer: answer.is_waiting)
def follow_training_logs(
    call: Call,
    *,
    model_version: ModelVersionId,
    after: Annotated[int, "The `next` of the answer before; 0 begins with the first line."] = 0,
    after_step: Annotated[int | None, "The `nextStep` of the answer before, 0 for all; without it, no steps."] = None,
) -> FollowedLogsShape:
    """What a training has printed since, and where it stands. Asked again with `next`, it gives a log as it grows.

    With `afterStep`, the steps of metrics.jsonl as well, as they are written.

    The command line and the official client are answered when there is something new, or after some seconds.
    """
    for name, value in (("after", after), ("afterStep", after_step)):
        if value is not None and value < 0:
            raise InvalidParameterError(f"{name} is {value}; it must be 0 or more")
    version = get_model_version(call.session, call.organization_id, model_version)
    return followed_logs(call.session, version, after, call.clock(), after_step)
