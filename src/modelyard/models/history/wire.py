"""The shapes of revisions that callers see. Actions of this platform's own: the SDK has no class for them."""

from typing import Any

import msgspec

from modelyard.models.history.differences import Difference


class AuthorShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who did something."""

    user_id: str
    name: str
    email: str


class RevisionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a model was told to be, at one moment."""

    model_revision: str
    model_id: str
    #: 1 for a model's first revision.
    number: int
    #: Whether it is the newest one, which the next training uses.
    is_head: bool
    created_at: str | None
    #: Null where it was not a user, or one who is gone.
    created_by: AuthorShape | None
    notebook_id: str | None
    #: The number of the revision that this one brought back; null for all that were not made by rollbackModel.
    restored_number: int | None
    #: What it changed of the revision before it, by the names of updatePythonModel's arguments.
    changed: list[str]
    #: The same in words.
    summary: str
    train_function_name: str
    predict_function_name: str | None
    predict_many_function_name: str | None
    initialize_function_name: str | None
    training_input_tables: list[str]
    training_feature_group_ids: list[str]
    cpu_size: str | None
    memory: int | None
    use_gpu: bool
    is_thread_safe: bool | None
    package_requirements: list[str]
    inferred_requirements: list[str]
    module_dependencies: list[str]
    training_config: dict[str, Any] | None
    #: sha256 of the source.
    source_digest: str
    source_size: int
    #: Null in lists; describing the one revision shows it. Of code in several files: their list, with sha256 and size.
    source_code: str | None


class RevisionDiffShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What differs between two revisions."""

    before: RevisionShape
    after: RevisionShape
    #: Everything but the source, name by name.
    differences: list[Difference]
    #: Unified diff of the sources; empty where they are the same.
    source_diff: str
    lines_added: int
    lines_removed: int
    #: All of it, as a person reads it.
    text: str
