"""The answer to a call that changed what a model is told to be."""

from modelyard.actions import Call
from modelyard.database import Database
from modelyard.models import describe
from modelyard.models.revisions import Revised
from modelyard.models.wire import ModelShape


def answer(call: Call, revised: Revised, source: str | None) -> ModelShape:
    """The changed model, read anew: the call's own session may see the time before the change."""
    known = {} if source is None else {revised.head.source_digest: source}
    with call.parts.get(Database).read() as session:
        heads = {revised.model.model_id: revised.head}
        return describe.describe_models(session, [revised.model], heads=heads, texts=known)[0]
