"""The shapes of dry runs that callers see. Actions of this platform's own: the SDK has no class for them."""

from typing import Any

import msgspec

from modelyard.models.wire import UserExceptionShape


class StageShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One stage of a dry run."""

    #: check, environment, tables, import, train, initialize, predict, predictMany.
    name: str
    #: PENDING, RUNNING, COMPLETE, FAILED, or SKIPPED, where there is nothing to do or an earlier stage failed.
    status: str
    seconds: float | None = None
    #: What happened, in a sentence.
    message: str | None = None
    #: What the user's code raised, with its own traceback.
    exception: UserExceptionShape | None = None
    #: The query that was asked, and what `predict` answered to it; of `predictMany` the list of answers.
    query: Any = None
    answer: Any = None


class ModelValidationShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A dry run."""

    model_validation: str
    model_id: str | None
    #: PENDING, RUNNING, COMPLETE (every stage was passed), FAILED.
    status: str
    stages: list[StageShape]
    #: Why it failed: the stage, and what it said.
    error: str | None
    #: What it waits for before it begins.
    waiting_for: str | None
    created_at: str | None
    completed_at: str | None
