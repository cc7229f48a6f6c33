"""The revisions of a model as callers see them: listed with what each changed, described, compared.

What a revision changed is not kept but seen by looking at the one before it, so it is true of every revision there is.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.accounts.records import User
from modelyard.actions import camel
from modelyard.clock import iso
from modelyard.errors import DataNotFoundError
from modelyard.ids import ModelId, OrganizationId, RevisionId, UserId
from modelyard.models.definition import Definition, definition_of
from modelyard.models.history.differences import count_lines, diff_texts, differences
from modelyard.models.history.wire import AuthorShape, RevisionDiffShape, RevisionShape
from modelyard.models.records import Model, ModelRevision
from modelyard.models.versions import read_texts

#: What columns are called by who calls; all others by their own name in camelCase.
_WIRE = {"source_digest": "functionSourceCode", "memory_gib": "memory"}
#: What follows from the rest, and so is no change of its own.
_DERIVED = frozenset(
    {
        "source_size",
        "feature_group_ids",
        "inferred_requirements",
        "module_dependencies",
        "publishing_msg",
        "tree_digest",
    }
)
_NAMES = tuple(field.name for field in dataclasses.fields(Definition))
_WORDS = {"functionSourceCode": "source", "trainingInputTables": "tables", "packageRequirements": "packages"}


def get_revision(session: Session, organization_id: OrganizationId, revision_id: RevisionId) -> ModelRevision:
    """The revision; DataNotFoundError if the organisation has none of that id."""
    query = (
        select(ModelRevision)
        .join(Model, Model.model_id == ModelRevision.model_id)
        .where(ModelRevision.revision_id == revision_id, Model.organization_id == organization_id)
    )
    revision = session.scalars(query).one_or_none()
    if revision is None:
        raise DataNotFoundError(f"Model revision {revision_id} was not found")
    return revision


def revision_before(session: Session, revision: ModelRevision) -> ModelRevision | None:
    """The revision that this one followed; None for a model's first."""
    mine = (ModelRevision.model_id == revision.model_id, ModelRevision.number == revision.number - 1)
    return session.scalars(select(ModelRevision).where(*mine)).one_or_none()


def list_revisions(session: Session, model: Model, *, before: int | None, limit: int) -> list[RevisionShape]:
    """The revisions of the model with numbers under `before`, newest first."""
    query = select(ModelRevision).where(ModelRevision.model_id == model.model_id)
    if before is not None:
        query = query.where(ModelRevision.number < before)
    # One more than is shown: what the last one changed is seen by the one before it.
    found: Sequence[ModelRevision | None] = session.scalars(
        query.order_by(ModelRevision.number.desc()).limit(limit + 1)
    ).all()
    pairs = list(pairwise([*found, None]))[:limit]
    return _shapes(session, {model.model_id: model.head}, [(one, former) for one, former in pairs if one])


def describe_revision(session: Session, revision: ModelRevision) -> RevisionShape:
    """The revision with its source."""
    return describe_revisions(session, [revision])[0]


def describe_revisions(session: Session, revisions: Sequence[ModelRevision]) -> list[RevisionShape]:
    """The revisions with their sources, in that order."""
    texts = read_texts(session, [each.source_digest for each in revisions])
    heads = {each: session.get_one(Model, each).head for each in {one.model_id for one in revisions}}
    pairs = [(each, revision_before(session, each)) for each in revisions]
    return _shapes(session, heads, pairs, texts)


def compare_revisions(session: Session, before: ModelRevision, after: ModelRevision) -> RevisionDiffShape:
    """What differs between the two."""
    old, new = describe_revisions(session, [before, after])
    names = (_title(before, after), _title(after, before))
    source_diff = diff_texts(old.source_code or "", new.source_code or "", *names)
    found = differences(told(definition_of(before)), told(definition_of(after)))
    added, removed = count_lines(source_diff)
    heading = f"{names[0]} ({_when(old)}) -> {names[1]} ({_when(new)})"
    body = [each.line for each in found] + ([source_diff.rstrip("\n")] if source_diff else [])
    return RevisionDiffShape(
        before=old,
        after=new,
        differences=found,
        source_diff=source_diff,
        lines_added=added,
        lines_removed=removed,
        text="\n".join([heading, "", *(body or ["They say the same."])]) + "\n",
    )


def told(definition: Definition) -> dict[str, Any]:
    """What a definition says beside its source, by the names that callers know."""
    left_out = {"source_digest", "source_size", "tree_digest", "publishing_msg"}
    values = {name: getattr(definition, name) for name in _NAMES if name not in left_out}
    values["training_feature_group_ids"] = values.pop("feature_group_ids")
    return {_WIRE.get(name, camel(name)): value for name, value in values.items()}


def changed_by(revision: ModelRevision, before: ModelRevision | None) -> list[str]:
    """What the revision changed, by the names of updatePythonModel's arguments; a first one changed nothing."""
    if before is None:
        return []
    old, new = definition_of(before), definition_of(revision)
    changed = [name for name in _NAMES if name not in _DERIVED and getattr(old, name) != getattr(new, name)]
    return [_WIRE.get(name, camel(name)) for name in changed]


def _shapes(
    session: Session,
    heads: Mapping[ModelId, int],
    pairs: Sequence[tuple[ModelRevision, ModelRevision | None]],
    texts: Mapping[Any, str] | None = None,
) -> list[RevisionShape]:
    users = _authors(session, [revision.created_by for revision, _ in pairs])
    numbers = _numbers(session, [one.restores for one, _ in pairs if one.restores])
    shapes = []
    for revision, before in pairs:
        restored = numbers.get(revision.restores) if revision.restores else None
        shapes.append(
            RevisionShape(
                model_revision=revision.revision_id,
                model_id=revision.model_id,
                number=revision.number,
                is_head=revision.number == heads[revision.model_id],
                created_at=iso(revision.created_at),
                created_by=users.get(revision.created_by),
                notebook_id=revision.notebook_id,
                restored_number=restored,
                changed=changed_by(revision, before),
                summary=_summary(revision, before, restored),
                train_function_name=revision.train_function_name,
                predict_function_name=revision.predict_function_name,
                predict_many_function_name=revision.predict_many_function_name,
                initialize_function_name=revision.initialize_function_name,
                training_input_tables=revision.training_input_tables,
                training_feature_group_ids=revision.feature_group_ids,
                cpu_size=revision.cpu_size,
                memory=revision.memory_gib,
                use_gpu=revision.use_gpu,
                is_thread_safe=revision.is_thread_safe,
                package_requirements=revision.package_requirements,
                inferred_requirements=revision.inferred_requirements,
                module_dependencies=revision.module_dependencies,
                training_config=revision.training_config,
                source_digest=revision.source_digest,
                source_size=revision.source_size,
                source_code=texts.get(revision.source_digest) if texts is not None else None,
            )
        )
    return shapes


def _summary(revision: ModelRevision, before: ModelRevision | None, restored: int | None) -> str:
    if restored is not None:
        return f"back to revision {restored}"
    if before is None:
        return "the first"
    return ", ".join(_WORDS.get(name, name) for name in changed_by(revision, before)) or "nothing"


def _authors(session: Session, user_ids: Sequence[UserId]) -> dict[UserId, AuthorShape]:
    query = select(User).where(User.user_id.in_(set(user_ids)))
    return {
        user.user_id: AuthorShape(user_id=user.user_id, name=user.name, email=user.email)
        for user in session.scalars(query)
    }


def _numbers(session: Session, revision_ids: Sequence[RevisionId]) -> dict[RevisionId, int]:
    if not revision_ids:
        return {}
    query = select(ModelRevision.revision_id, ModelRevision.number).where(ModelRevision.revision_id.in_(revision_ids))
    return {row[0]: row[1] for row in session.execute(query)}


def _title(revision: ModelRevision, other: ModelRevision) -> str:
    of = "" if revision.model_id == other.model_id else f" of model {revision.model_id}"
    return f"revision {revision.number}{of}"


def _when(shape: RevisionShape) -> str:
    return f"{shape.created_at}, {shape.created_by.email}" if shape.created_by else str(shape.created_at)
