"""Keeps what models are told to be: a new model with its first revision, and every later revision after the newest.

Called by the actions. Both walk the same way: find what is asked for in a reading transaction, check the source with no
transaction open (it may take seconds, and a writer keeps all others waiting), then write in one short transaction.
A revision that came in between is no obstacle: the changes are merged again upon it, and checked again if need be.
"""

import dataclasses
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import Database
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.feature_groups import lineage
from modelyard.feature_groups.tables import get_by_table_names
from modelyard.ids import Digest, FeatureGroupId, ModelId, OrganizationId, ProjectId, RevisionId, new_id
from modelyard.models import definition as definitions
from modelyard.models.definition import Changes, Definition
from modelyard.models.describe import describe_model
from modelyard.models.records import Model, ModelRevision, ModelText
from modelyard.models.retrain import start_training
from modelyard.models.versions import get_model, read_texts
from modelyard.models.wire import ModelShape
from modelyard.projects.access import get_project, note_occupant
from modelyard.source_code.check import Checker

#: How often a revision is merged anew because others came first and changed what had been checked.
MOST_MERGES = 50


def create(call: Call, project_id: ProjectId, name: str | None, changes: Changes) -> ModelId:
    """A new model with its first revision and its first training, PENDING. Nothing is kept if anything is refused."""
    with call.parts.get(Database).read() as session:
        project = get_project(session, call.organization_id, project_id)
        found = _find_tables(session, call.organization_id, changes)
    first = definitions.first_definition(found)
    checked = definitions.check(call.parts.get(Checker), first, changes.source or "")
    now = call.clock()
    with call.parts.get(Database).write() as session:
        get_project(session, call.organization_id, project_id)
        model = Model(
            model_id=ModelId(new_id()),
            organization_id=call.organization_id,
            project_id=project_id,
            name=f"{project.name} Model" if name is None else name,
            is_python_model=True,
            prediction_config={},
            head=1,
            versions=0,
            notebook_id=call.notebook_id,
            created_by=call.principal.user_id,
            created_at=now,
        )
        session.add(model)
        session.flush()
        note_occupant(session, project_id, "model", model.model_id, model.name)
        _keep(session, call, model, checked, changes.source, now)
        _note_tables(session, model, checked)
        start_training(session, call.settings, model.model_id, user_id=call.principal.user_id)
    return model.model_id


def answer(call: Call, model_id: ModelId) -> ModelShape:
    """The model as it is after the change, read anew: the call's own session may see the time before it."""
    with call.parts.get(Database).read() as session:
        return describe_model(session, get_model(session, call.organization_id, model_id))


def revise(call: Call, model_id: ModelId, changes: Changes) -> ModelId:
    """A new revision of the model: its newest one with the changes in it. The older ones stay as they are."""
    database = call.parts.get(Database)
    with database.read() as session:
        find_head(session, call.organization_id, model_id)
        changes = _find_tables(session, call.organization_id, changes)
    for _ in range(MOST_MERGES):
        with database.read() as session:
            _, head = find_head(session, call.organization_id, model_id)
            merged = definitions.merge(definitions.definition_of(head), changes)
            source = _source(session, head, merged, changes)
        checked = merged if source is None else definitions.check(call.parts.get(Checker), merged, source)
        with database.write() as session:
            if _append(session, call, model_id, changes, checked):
                return model_id
    raise ConflictError(f"Model {model_id} is being changed by others all the time; try again.")


def find_head(
    session: Session, organization_id: OrganizationId, model_id: ModelId, *, lock: bool = False
) -> tuple[Model, ModelRevision]:
    """The model with its newest revision; DataNotFoundError, or InvalidParameterError if it isn't a Python model."""
    query = (
        select(Model, ModelRevision)
        .outerjoin(ModelRevision, (ModelRevision.model_id == Model.model_id) & (ModelRevision.number == Model.head))
        .where(Model.model_id == model_id, Model.organization_id == organization_id)
    )
    if lock:
        # Locked by itself, so that the query after it sees what the lock's former holder has written.
        session.execute(select(Model.head).where(Model.model_id == model_id).with_for_update())
    row = session.execute(query).one_or_none()
    if row is None:
        raise DataNotFoundError(f"Model {model_id} was not found")
    model, head = row
    if not model.is_python_model or head is None:
        raise InvalidParameterError(f"Model {model_id} is not a Python model; only those are made of source code.")
    return model, head


def _find_tables(session: Session, organization_id: OrganizationId, changes: Changes) -> Changes:
    names = changes.training_input_tables
    if not names:
        return changes if names is None else dataclasses.replace(changes, feature_group_ids=[])
    if any("\x00" in name for name in names):
        raise InvalidParameterError("A name in trainingInputTables holds a NUL character.")
    groups = get_by_table_names(session, organization_id, names)
    return dataclasses.replace(changes, feature_group_ids=[group.feature_group_id for group in groups])


def _source(session: Session, head: ModelRevision, merged: Definition, changes: Changes) -> str | None:
    """The source to check; None where the head's report holds for the merged definition too."""
    if merged.checked_part == definitions.definition_of(head).checked_part:
        return None
    if changes.source is not None:
        return changes.source
    return read_texts(session, [head.source_digest])[head.source_digest]


def _append(session: Session, call: Call, model_id: ModelId, changes: Changes, checked: Definition) -> bool:
    """Keeps the changes upon the newest revision; False if that makes another definition than the checked one."""
    model, head = find_head(session, call.organization_id, model_id, lock=True)
    merged = definitions.merge(definitions.definition_of(head), changes)
    if merged.checked_part != checked.checked_part:
        return False
    merged = definitions.with_report_of(merged, checked)
    model.head += 1
    _keep(session, call, model, merged, changes.source, call.clock())
    if merged.feature_group_ids != head.feature_group_ids:
        _note_tables(session, model, merged)
    return True


def _keep(
    session: Session, call: Call, model: Model, definition: Definition, source: str | None, now: datetime
) -> None:
    if source is not None:
        put_text(session, source)
    session.add(
        ModelRevision(
            revision_id=RevisionId(new_id()),
            model_id=model.model_id,
            number=model.head,
            fingerprint=definitions.fingerprint(definition, definition.feature_group_ids, definition.training_config),
            notebook_id=call.notebook_id,
            created_by=call.principal.user_id,
            created_at=now,
            **{field.name: getattr(definition, field.name) for field in dataclasses.fields(definition)},
        )
    )
    session.flush()


def put_text(session: Session, text: str) -> Digest:
    """Keeps a long text under its digest, which it gives; keeping it again changes nothing."""
    content = text.encode()
    digest = definitions.digest_of(content)
    values = {"digest": digest, "content": content}
    if session.get_bind().dialect.name == "postgresql":
        session.execute(postgresql.insert(ModelText).values(values).on_conflict_do_nothing())
    else:
        session.execute(sqlite.insert(ModelText).values(values).on_conflict_do_nothing())
    return digest


def _note_tables(session: Session, model: Model, definition: Definition) -> None:
    groups = [FeatureGroupId(each) for each in definition.feature_group_ids]
    lineage.note_users(session, groups, "model", model.model_id, model.name)
