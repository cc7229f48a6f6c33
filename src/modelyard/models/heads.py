"""The newest revision of a model, and the long texts that revisions and versions share.

The statements are built once: updatePythonModel is asked hundreds of times a second, and building them costs more than
running them.
"""

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from modelyard.errors import DataNotFoundError, InvalidParameterError, NotReadyError
from modelyard.ids import Digest, ModelId, OrganizationId
from modelyard.models.definition import digest_of
from modelyard.models.records import Model, ModelRevision, ModelText

_HEAD = (
    select(Model, ModelRevision)
    .outerjoin(ModelRevision, (ModelRevision.model_id == Model.model_id) & (ModelRevision.number == Model.head))
    .where(Model.model_id == bindparam("id"), Model.organization_id == bindparam("organization"))
)
_LOCK = select(Model.head).where(Model.model_id == bindparam("id")).with_for_update()
_KEEP = {
    "postgresql": postgresql.insert(ModelText.__table__).on_conflict_do_nothing(),  # type: ignore[arg-type]
    "sqlite": sqlite.insert(ModelText.__table__).on_conflict_do_nothing(),  # type: ignore[arg-type]
}


def find_head(session: Session, organization_id: OrganizationId, model_id: ModelId) -> tuple[Model, ModelRevision]:
    """The model with its newest revision; DataNotFoundError, or InvalidParameterError if it isn't a Python model."""
    row = session.execute(_HEAD, {"id": model_id, "organization": organization_id}).one_or_none()
    if row is None:
        raise DataNotFoundError(f"Model {model_id} was not found")
    model, head = row
    if model.is_python_model and head is None:
        raise NotReadyError(f"Model {model_id} has no code yet; send it, and wait until codeSource.status is COMPLETE.")
    if not model.is_python_model:
        raise InvalidParameterError(f"Model {model_id} is not a Python model; only those are made of source code.")
    return model, head


def lock_head(session: Session, organization_id: OrganizationId, model_id: ModelId) -> tuple[Model, ModelRevision]:
    """As `find_head`, and nobody else moves the head before this transaction ends."""
    # Locked by itself, so that the query after it sees what the lock's former holder has written.
    session.execute(_LOCK, {"id": model_id})
    return find_head(session, organization_id, model_id)


def put_text(session: Session, text: str) -> Digest:
    """Keeps a long text under its digest, which it gives; keeping it again changes nothing."""
    content = text.encode()
    digest = digest_of(content)
    session.connection().execute(_KEEP[session.get_bind().dialect.name], {"digest": digest, "content": content})
    return digest
