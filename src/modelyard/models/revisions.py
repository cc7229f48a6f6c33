"""Keeps what models are told to be: a new model with its first revision, and every later revision after the newest.

Called by the actions. Both walk the same way: find what is asked for in a reading transaction, check the source with no
transaction open (it may take seconds, and a writer keeps all others waiting), then write in one short transaction.
A revision that came in between is no obstacle: the changes are merged again upon it, and checked again if need be.
"""

import dataclasses
from typing import Any, NamedTuple

from sqlalchemy import Row, Table, bindparam, insert, select, update
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import Database
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.feature_groups import lineage
from modelyard.feature_groups.records import FeatureGroup
from modelyard.feature_groups.tables import get_by_table_names
from modelyard.ids import FeatureGroupId, ModelId, OrganizationId, ProjectId, RevisionId, new_id
from modelyard.models import definition as definitions
from modelyard.models.code.trees import Tree, read_tree
from modelyard.models.definition import Changes, Definition
from modelyard.models.heads import find_head, lock_head, put_text
from modelyard.models.records import Model, ModelRevision
from modelyard.models.retrain import start_training
from modelyard.models.versions import read_texts
from modelyard.projects.access import get_project, note_occupant
from modelyard.source_code.check import Checker
from modelyard.source_code.pins import KnownModules, known_modules
from modelyard.source_code.users import note_users
from modelyard.storage import BlobStore

#: How often changes are checked anew because others changed what the check depends on.
MOST_CHECKS = 50

_models, _revisions = Model.__table__, ModelRevision.__table__
assert isinstance(_models, Table)
assert isinstance(_revisions, Table)
_MOVE_HEAD = (
    update(_models)
    .where(_models.c.model_id == bindparam("id"), _models.c.head == bindparam("before"))
    .values(head=_models.c.head + 1)
    .returning(_models.c.head, _models.c.name, _models.c.latest_version, _models.c.trained_version)
)
_ADD_REVISION = insert(_revisions)


class Revised(NamedTuple):
    """A model after a change, with the revision that the change made; neither belongs to a session."""

    model: Model
    head: ModelRevision


def create(call: Call, project_id: ProjectId, name: str | None, changes: Changes) -> Revised:
    """A new model with its first revision and its first training, PENDING. Nothing is kept if anything is refused."""
    with call.parts.get(Database).read() as session:
        project = get_project(session, call.organization_id, project_id)
        found = find_tables(session, call.organization_id, changes)
        modules = known_modules(session, call.organization_id, changes.source or "")
    first = definitions.first_definition(found)
    checked = definitions.check(call.parts.get(Checker), first, changes.source or "", modules)
    with call.parts.get(Database).write() as session:
        get_project(session, call.organization_id, project_id)
        model = new_model(call, project_id, f"{project.name} Model" if name is None else name)
        session.add(model)
        session.flush()
        note_occupant(session, project_id, "model", model.model_id, model.name)
        head = _keep(session, call, model, checked, changes.source)
        _note_tables(session, model, checked)
        _note_modules(session, model, checked)
        start_training(session, call.settings, model.model_id, user_id=call.principal.user_id)
    return Revised(model, head)


def revise(call: Call, model_id: ModelId, changes: Changes) -> Revised:
    """A new revision of the model: its newest one with the changes in it. The older ones stay as they are."""
    database, found = call.parts.get(Database), changes
    for attempt in range(MOST_CHECKS):
        with database.read() as session:
            model, head = find_head(session, call.organization_id, model_id)
            if attempt == 0:
                found = find_tables(session, call.organization_id, changes)
            merged = definitions.merge(definitions.definition_of(head), found)
            source = _source(session, call, head, merged, found)
            modules = KnownModules() if source is None else modules_known_to(session, call, source)
        checked = merged if source is None else definitions.check(call.parts.get(Checker), merged, source, modules)
        with database.write() as session:
            revised = _append(session, call, Revised(model, head), found, checked)
            if revised is not None:
                return revised
    raise ConflictError(f"Model {model_id} is being changed by others all the time; try again.")


def restore(call: Call, model_id: ModelId, revision_id: RevisionId) -> Revised:
    """A new revision of the model that says what an earlier one said; ConflictError where that can't work any more."""
    database = call.parts.get(Database)
    with database.read() as session:
        _, head = find_head(session, call.organization_id, model_id)
        restored = session.get(ModelRevision, revision_id)
        if restored is None or restored.model_id != model_id:
            raise DataNotFoundError(f"Model revision {revision_id} was not found in model {model_id}")
        if restored.number == head.number:
            raise ConflictError(f"Revision {restored.number} of model {model_id} is its newest one already.")
        definition = _with_tables_of_today(session, call.organization_id, restored)
        source = kept_source(session, call, restored)
        modules = modules_known_to(session, call, source)
    checked = definitions.check(call.parts.get(Checker), definition, source, modules)
    with database.write() as session:
        model, head = lock_head(session, call.organization_id, model_id)
        session.expunge(model)
        moved = session.execute(_MOVE_HEAD, {"id": model_id, "before": head.number}).one()
        return _follow(session, call, Revised(model, head), moved, checked, restores=revision_id)


def _with_tables_of_today(session: Session, organization_id: OrganizationId, revision: ModelRevision) -> Definition:
    """What the revision says, its tables by the names that they have now; ConflictError naming those that are gone."""
    definition = definitions.definition_of(revision)
    query = select(FeatureGroup).where(
        FeatureGroup.feature_group_id.in_(definition.feature_group_ids), FeatureGroup.organization_id == organization_id
    )
    names = {group.feature_group_id: group.table_name for group in session.scalars(query)}
    pairs = list(zip(definition.feature_group_ids, definition.training_input_tables, strict=True))
    gone = [f"{name} (feature group {group_id})" for group_id, name in pairs if group_id not in names]
    if gone:
        raise ConflictError(
            f"Revision {revision.number} can't be brought back: it is trained on {', '.join(gone)}, which "
            f"{'has' if len(gone) == 1 else 'have'} been deleted. Use updatePythonModel with its source and other "
            "trainingInputTables."
        )
    return dataclasses.replace(
        definition, training_input_tables=[names[FeatureGroupId(each)] for each in definition.feature_group_ids]
    )


def find_tables(session: Session, organization_id: OrganizationId, changes: Changes) -> Changes:
    """The changes with the ids of the tables that they name; InvalidParameterError for one that is not there."""
    names = changes.training_input_tables
    if not names:
        return changes if names is None else dataclasses.replace(changes, feature_group_ids=[])
    if any("\x00" in name for name in names):
        raise InvalidParameterError("A name in trainingInputTables holds a NUL character.")
    groups = get_by_table_names(session, organization_id, names)
    return dataclasses.replace(changes, feature_group_ids=[group.feature_group_id for group in groups])


def modules_known_to(session: Session, call: Call, source: str | Tree) -> KnownModules:
    """What the check of the code has to know of the organisation's modules."""
    text = source if isinstance(source, str) else "\n".join(source.sources.values())
    return known_modules(session, call.organization_id, text)


def _source(
    session: Session, call: Call, head: ModelRevision, merged: Definition, changes: Changes
) -> str | Tree | None:
    """The source to check; None where the head's report holds for the merged definition too."""
    if merged.checked_part == definitions.definition_of(head).checked_part:
        return None
    if changes.source is not None:
        return changes.source
    return kept_source(session, call, head)


def kept_source(session: Session, call: Call, revision: ModelRevision) -> str | Tree:
    """The revision's code, as the check takes it."""
    if revision.tree_digest is not None:
        with call.parts.get(BlobStore).open(revision.tree_digest) as archive:
            return read_tree(revision.tree_digest, archive)
    return read_texts(session, [revision.source_digest])[revision.source_digest]


def _append(session: Session, call: Call, seen: Revised, changes: Changes, checked: Definition) -> Revised | None:
    """Keeps what was checked as the revision after the one seen, or after a newer one if the check holds there too.

    None if the newest revision makes another definition of the changes, which has to be checked first.
    """
    model, head = seen
    moved = session.execute(_MOVE_HEAD, {"id": model.model_id, "before": head.number}).first()
    if moved is None:
        model, head = lock_head(session, call.organization_id, model.model_id)
        merged = definitions.merge(definitions.definition_of(head), changes)
        if merged.checked_part != checked.checked_part:
            return None
        checked = definitions.with_report_of(merged, checked)
        session.expunge(model)
        moved = session.execute(_MOVE_HEAD, {"id": model.model_id, "before": head.number}).one()
    return _follow(session, call, Revised(model, head), moved, checked, source=changes.source)


def _follow(
    session: Session, call: Call, former: Revised, moved: Row[Any], definition: Definition, *,
    source: str | None = None, restores: RevisionId | None = None,
) -> Revised:  # fmt: skip
    """Keeps the definition as the revision after the former one, now that the head has `moved`."""
    model, head = former
    model.head, model.name, model.latest_version, model.trained_version = tuple(moved)
    if definition.feature_group_ids != head.feature_group_ids:
        _note_tables(session, model, definition)
    if definition.module_dependencies != head.module_dependencies:
        _note_modules(session, model, definition)
    return Revised(model, _keep(session, call, model, definition, source, restores))


def keep_first(session: Session, call: Call, model: Model, definition: Definition, source: str | None) -> None:
    """Keeps the first revision of a model that is made of no tables, and what of the organisation it stands on."""
    _keep(session, call, model, definition, source)
    _note_modules(session, model, definition)


def _keep(
    session: Session, call: Call, model: Model, definition: Definition, source: str | None,
    restores: RevisionId | None = None,
) -> ModelRevision:  # fmt: skip
    if source is not None:
        put_text(session, source)
    values = {field.name: getattr(definition, field.name) for field in dataclasses.fields(definition)}
    values |= {
        "revision_id": RevisionId(new_id()),
        "model_id": model.model_id,
        "number": model.head,
        "fingerprint": definitions.fingerprint(definition, definition.feature_group_ids, definition.training_config),
        "restores": restores,
        "notebook_id": call.notebook_id,
        "created_by": call.principal.user_id,
        "created_at": call.clock(),
    }
    session.connection().execute(_ADD_REVISION, values)
    return ModelRevision(**values)


def new_model(call: Call, project_id: ProjectId, name: str) -> Model:
    """A model of that name whose first revision is to come, not yet in any session."""
    return Model(
        model_id=ModelId(new_id()),
        organization_id=call.organization_id,
        project_id=project_id,
        name=name,
        is_python_model=True,
        prediction_config={},
        head=1,
        versions=0,
        notebook_id=call.notebook_id,
        created_by=call.principal.user_id,
        created_at=call.clock(),
    )


def _note_tables(session: Session, model: Model, definition: Definition) -> None:
    groups = [FeatureGroupId(each) for each in definition.feature_group_ids]
    lineage.note_users(session, groups, "model", model.model_id, model.name)


def _note_modules(session: Session, model: Model, definition: Definition) -> None:
    modules = definition.module_dependencies
    note_users(session, model.organization_id, "model", model.model_id, model.name, modules=modules)
