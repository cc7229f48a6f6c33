"""The history of a model: revisions listed, described, compared, brought back. Actions of this platform's own."""

from typing import Annotated

from modelyard.actions import Call, action
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.ids import ModelId, RevisionId
from modelyard.models import revisions
from modelyard.models.answering import answer
from modelyard.models.heads import find_head
from modelyard.models.history import listing as history
from modelyard.models.history.wire import RevisionDiffShape, RevisionShape
from modelyard.models.wire import ModelShape


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_model_revisions(
    call: Call,
    *,
    model_id: ModelId,
    limit: Annotated[int | None, "Most revisions to give."] = None,
    start_after_revision: Annotated[RevisionId | None, "The revision after which the list begins."] = None,
) -> list[RevisionShape]:
    """The revisions of a model, newest first: who made each, when, and what it changed. Sources are left out here."""
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1.")
    model, _ = find_head(call.session, call.organization_id, model_id)
    before = None
    if start_after_revision is not None:
        before = history.get_revision(call.session, call.organization_id, start_after_revision).number
    return history.list_revisions(call.session, model, before=before, limit=limit or call.settings.page_size)


@action("GET", errors=(DataNotFoundError,))
def describe_model_revision(call: Call, *, model_revision: RevisionId) -> RevisionShape:
    """One revision, with its source."""
    revision = history.get_revision(call.session, call.organization_id, model_revision)
    return history.describe_revision(call.session, revision)


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def diff_model_revisions(
    call: Call,
    *,
    model_revision: Annotated[RevisionId, "The newer side."],
    base_model_revision: Annotated[RevisionId | None, "The older side; without one, the revision before it."] = None,
) -> RevisionDiffShape:
    """What differs between two revisions: the sources line by line, all else name by name; as data and as one text."""
    after = history.get_revision(call.session, call.organization_id, model_revision)
    if base_model_revision is not None:
        before = history.get_revision(call.session, call.organization_id, base_model_revision)
    elif (former := history.revision_before(call.session, after)) is not None:
        before = former
    else:
        raise InvalidParameterError(
            f"Model revision {model_revision} is its model's first; pass baseModelRevision to compare it with another."
        )
    return history.compare_revisions(call.session, before, after)


@action("POST", errors=(DataNotFoundError, InvalidParameterError, ConflictError), own_transaction=True)
def rollback_model(
    call: Call,
    *,
    model_id: ModelId,
    model_revision: Annotated[RevisionId, "The revision of this model that shall be in force again."],
) -> ModelShape:
    """Brings an earlier revision back: a new one is made that says the same, and says which one it restores.

    Nothing is trained and no version changes. Refused where the revision could not work any more: a table of it is
    gone, or its source needs a module that is gone.
    """
    return answer(call, revisions.restore(call, model_id, model_revision), None)
