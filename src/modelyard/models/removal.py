"""Takes models and versions away, if nothing stands on them. What is trained at that moment is stopped.

Uploads go along, and texts that no one refers to. Blobs are shared by content: who collects them (`upkeep`) looks
whether anything still names them.
"""

from collections.abc import Sequence

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from modelyard.datasets.records import Upload
from modelyard.errors import ConflictError
from modelyard.execution import cancel
from modelyard.feature_groups import lineage
from modelyard.ids import Digest
from modelyard.models.records import (
    ENDED,
    FeatureImportance,
    Model,
    ModelRevision,
    ModelText,
    ModelValidation,
    ModelVersion,
    ModelVersionUser,
    VersionStatus,
)
from modelyard.models.versions import users_of
from modelyard.projects.access import forget_occupant
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import forget_target
from modelyard.source_code import users as source_users


def delete_model(session: Session, model: Model) -> None:
    """Removes the model with all its revisions and versions; ConflictError naming what stands on any of them."""
    versions = _locked(session, ModelVersion.model_id == model.model_id)
    _check_unused(session, f"Model {model.model_id}", versions)
    revisions = select(ModelRevision.source_digest).where(ModelRevision.model_id == model.model_id)
    texts = set(session.scalars(revisions))
    texts |= set(
        session.scalars(select(ModelValidation.source_digest).where(ModelValidation.model_id == model.model_id))
    )
    session.execute(delete(ModelValidation).where(ModelValidation.model_id == model.model_id))
    texts |= _remove(session, versions)
    session.execute(delete(ModelRevision).where(ModelRevision.model_id == model.model_id))
    session.execute(delete(Upload).where(Upload.model_id == model.model_id))
    lineage.forget_user(session, "model", model.model_id)
    source_users.forget_user(session, "model", model.model_id)
    forget_occupant(session, "model", model.model_id)
    forget_target(session, RefreshType.MODEL, model.model_id)
    session.delete(model)
    session.flush()
    remove_texts(session, texts)


def delete_version(session: Session, version: ModelVersion) -> None:
    """Removes one version; its model's newest versions are then the newest of those that are left."""
    versions = _locked(session, ModelVersion.model_version == version.model_version)
    _check_unused(session, f"Model version {version.model_version}", versions)
    texts = _remove(session, versions)
    model = session.get_one(Model, version.model_id, with_for_update=True, populate_existing=True)
    own = (ModelVersion.model_id == model.model_id, ModelVersion.reproduction_of.is_(None))
    query = select(ModelVersion).where(*own).order_by(ModelVersion.number.desc())
    newest = session.scalars(query.limit(1)).first()
    complete = session.scalars(query.where(ModelVersion.status == VersionStatus.COMPLETE).limit(1)).first()
    model.latest_version = newest.model_version if newest else None
    model.trained_version = complete.model_version if complete else None
    session.flush()
    remove_texts(session, texts)


def _locked(session: Session, which: object) -> Sequence[ModelVersion]:
    # Versions before their model: the order in which the end of a training locks them.
    return session.scalars(select(ModelVersion).where(which).with_for_update()).all()  # type: ignore[arg-type]


def _check_unused(session: Session, name: str, versions: Sequence[ModelVersion]) -> None:
    users = users_of(session, [version.model_version for version in versions])
    if users:
        raise ConflictError(f"{name} can't be deleted: it is used by {', '.join(users)}. Delete those first")


def _remove(session: Session, versions: Sequence[ModelVersion]) -> set[Digest]:
    """Removes the rows of the versions; gives the texts that they referred to."""
    for version in versions:
        if version.status not in ENDED:
            cancel(session, version.run_id)
    ids = [version.model_version for version in versions]
    for run_id in session.scalars(select(FeatureImportance.run_id).where(FeatureImportance.model_version.in_(ids))):
        cancel(session, run_id)
    session.execute(delete(ModelVersionUser).where(ModelVersionUser.model_version.in_(ids)))
    session.execute(delete(ModelVersion).where(ModelVersion.model_version.in_(ids)))
    session.execute(delete(Upload).where(Upload.model_version.in_(ids)))
    for each in ids:
        lineage.forget_version_user(session, "model version", each)
    return {version.lock_digest for version in versions if version.lock_digest}


def remove_texts(session: Session, digests: set[Digest]) -> None:
    """Removes those of the texts that no row refers to any more."""
    unused = (
        ModelText.digest.in_(digests),
        ~exists().where(ModelRevision.source_digest == ModelText.digest),
        ~exists().where(ModelVersion.lock_digest == ModelText.digest),
        ~exists().where(ModelValidation.source_digest == ModelText.digest),
    )
    try:
        with session.begin_nested():
            session.execute(delete(ModelText).where(*unused))
    except IntegrityError:
        return  # another transaction has just begun to use one of them
