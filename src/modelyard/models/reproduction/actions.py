"""Versions as exact things: compared, and made again. Actions of this platform's own."""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.errors import ConflictError, DataNotFoundError, NotReadyError
from modelyard.ids import ModelVersionId
from modelyard.models import describe
from modelyard.models.reproduction.comparing import compare_versions
from modelyard.models.reproduction.reproducing import reproduce
from modelyard.models.reproduction.wire import VersionDiffShape
from modelyard.models.versions import get_model_version
from modelyard.models.wire import ModelVersionShape


@action("POST", errors=(DataNotFoundError, ConflictError, NotReadyError))
def reproduce_model_version(
    call: Call, *, model_version: Annotated[ModelVersionId, "A COMPLETE version."]
) -> ModelVersionShape:
    """Trains a version again, from exactly the revision, packages, rows, config, seed and sizes that it was made from.

    The answer is the new version, PENDING. When it has ended, its `reproduction` says whether the same came out, and
    what did not. It is no successor: the model's newest versions stay what they are, and no deployment takes it by
    itself.
    """
    version = get_model_version(call.session, call.organization_id, model_version)
    again = reproduce(call.session, call.settings, version, call.principal.user_id)
    return describe.describe_version(call.session, again, call.clock())


@action("GET", errors=(DataNotFoundError,))
def diff_model_versions(
    call: Call,
    *,
    model_version: Annotated[ModelVersionId, "The newer side."],
    base_model_version: Annotated[ModelVersionId, "The older side."],
) -> VersionDiffShape:
    """What differs between two versions: source, packages, rows, config, runtime, metrics; as data and as one text."""
    after = get_model_version(call.session, call.organization_id, model_version)
    before = get_model_version(call.session, call.organization_id, base_model_version)
    return compare_versions(call.session, before, after)
