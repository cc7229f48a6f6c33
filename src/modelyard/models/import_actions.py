"""Models that were trained elsewhere: imported from uploads or a location, versioned, and served like all others."""

from typing import Annotated, Any

import msgspec
from sqlalchemy.orm import Session

from modelyard.actions import Call, action
from modelyard.clock import iso
from modelyard.connectors.locations import check_place, find_place
from modelyard.database import Database
from modelyard.datasets.creating import open_upload
from modelyard.datasets.records import Upload, UploadStatus
from modelyard.errors import (
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    PermissionDeniedError,
)
from modelyard.ids import ModelId, ModelVersionId, ProjectId
from modelyard.models import describe, imports
from modelyard.models.imports import Imported, check_artifacts, imported_of
from modelyard.models.records import Model, ModelVersion, VersionStatus
from modelyard.models.retrain import enqueue_training, start_import
from modelyard.models.versions import get_model
from modelyard.models.wire import ModelShape, ModelVersionShape
from modelyard.projects.access import get_project
from modelyard.projects.actions import check_name

#: Kind of the uploads that bring files of imported models, in `UploadEvents`.
UPLOAD = "MODEL_ARTIFACT"
_ERRORS = (DataNotFoundError, InvalidParameterError, InvalidEnumParameterError, ConflictError, PermissionDeniedError)

Name = Annotated[str | None, 'Name of the model; "<Project Name> Model" without one.']
Optional = Annotated[list[Any] | None, "Artifacts beside the model: `verifications` (JSON), `resources` (any file)."]


class ModelUploadShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A version with the uploads that it waits for. Source: the SDK's `model_upload.py`."""

    model_id: str
    model_version: str
    status: str
    created_at: str | None
    model_upload_id: str | None
    embeddings_upload_id: str | None = None
    artifacts_upload_id: str | None = None
    verifications_upload_id: str | None
    default_items_upload_id: str | None = None
    model_file_upload_id: str | None = None
    model_state_upload_id: str | None = None
    input_preprocessor_upload_id: str | None = None
    requirements_upload_id: str | None = None
    resources_upload_id: str | None
    multi_catalog_embeddings_upload_id: str | None = None


@action("POST", errors=_ERRORS, own_transaction=True)
def create_model_from_files(
    call: Call,
    *,
    project_id: ProjectId,
    location: Annotated[str, "The model's file, or a folder with a slash at its end and customArtifactFilenames."],
    name: Name = None,
    custom_artifact_filenames: Annotated[
        dict[str, str] | None, "In a folder: artifact (`model`, `verifications`, `resources`) -> file name."
    ] = None,
    model_config: Annotated[
        dict[str, Any] | None,
        "format (ONNX, XGBOOST, LIGHTGBM, CATBOOST, SAFETENSORS, PICKLE; else by the file's ending), features, "
        "requirements, predictSource, predictionType.",
    ] = None,
) -> ModelShape:
    """Makes a model of a file that was trained elsewhere, and imports its first version: the answer's is PENDING.

    The file is opened in a guest. Predictions take the features by the names that the file or modelConfig gives.
    """
    get_project(call.session, call.organization_id, project_id)
    names = _artifact_names(location, custom_artifact_filenames)
    config, form = imports.read_config(model_config, names.get("model") or location)
    file = imports.file_of(form)
    changes = imports.changes_of(call, config, form, file)
    check_place(find_place(call.session, call.settings, call.organization_id, location + names.get("model", "")))
    imported = Imported(format=form, file=file, location=location, artifact_names=names)
    model = imports.create(call, project_id, None if name is None else check_name(name), changes, imported)
    with call.parts.get(Database).write() as session:
        version = start_import(session, call, model.model_id)
        enqueue_training(session, call.settings, session.get_one(Model, model.model_id), version)
    with call.parts.get(Database).read() as session:
        return describe.describe_model(session, session.get_one(Model, model.model_id))


@action("POST", errors=_ERRORS, own_transaction=True)
def create_model_from_local_files(
    call: Call,
    *,
    project_id: ProjectId,
    name: Name = None,
    optional_artifacts: Optional = None,
    model_config: Annotated[
        dict[str, Any] | None,
        "format (ONNX, XGBOOST, LIGHTGBM, CATBOOST, SAFETENSORS, PICKLE), which an upload has no ending to tell; "
        "features, requirements, predictSource, predictionType.",
    ] = None,
) -> ModelUploadShape:
    """Makes a model of a file that is uploaded: send each artifact to its upload, then mark all of these complete."""
    get_project(call.session, call.organization_id, project_id)
    config, form = imports.read_config(model_config)
    artifacts = check_artifacts(optional_artifacts or [])
    file = imports.file_of(form)
    changes = imports.changes_of(call, config, form, file)
    model = imports.create(
        call, project_id, None if name is None else check_name(name), changes, Imported(format=form, file=file)
    )
    return _awaiting(call, model.model_id, artifacts)


@action("POST", errors=_ERRORS)
def create_model_version_from_files(call: Call, *, model_id: ModelId) -> ModelVersionShape:
    """Imports the files anew from the location that the model was made of."""
    model = get_model(call.session, call.organization_id, model_id)
    if imported_of(model).location is None:
        raise InvalidParameterError(f"Model {model_id} comes from uploads; use createModelVersionFromLocalFiles.")
    version = start_import(call.session, call, model_id)
    enqueue_training(call.session, call.settings, model, version)
    return describe.describe_version(call.session, version, call.clock())


@action("POST", errors=_ERRORS, own_transaction=True)
def create_model_version_from_local_files(
    call: Call, *, model_id: ModelId, optional_artifacts: Optional = None
) -> ModelUploadShape:
    """A new version of an imported model, of files that are uploaded."""
    imported_of(get_model(call.session, call.organization_id, model_id))
    return _awaiting(call, model_id, check_artifacts(optional_artifacts or []))


def end_of_upload(call: Call, upload: Upload) -> None:
    """All parts of one artifact have come; the last of them begins the import."""
    version = call.session.get(ModelVersion, upload.model_version, with_for_update=True)
    if version is None or version.status != VersionStatus.PENDING:
        raise ConflictError("The model version of this upload was deleted or has ended")
    call.session.flush()
    waiting = [call.session.get_one(Upload, each) for each in (version.artifact_uploads or {}).values()]
    if all(each.status == UploadStatus.COMPLETE for each in waiting):
        enqueue_training(call.session, call.settings, call.session.get_one(Model, version.model_id), version)


def cancelled_upload(call: Call, upload: Upload) -> None:
    """One artifact will not come, so there is no version."""
    version = call.session.get(ModelVersion, upload.model_version, with_for_update=True)
    if version is not None:
        version.status, version.error = VersionStatus.FAILED, "An upload of its files was cancelled."


def _awaiting(call: Call, model_id: ModelId, artifacts: list[str]) -> ModelUploadShape:
    with call.parts.get(Database).write() as session:
        version = start_import(session, call, model_id)
        uploads = {name: _upload(session, call, model_id, version.model_version) for name in ("model", *artifacts)}
        version.artifact_uploads = dict(uploads)
        session.flush()
        return ModelUploadShape(
            model_id=model_id,
            model_version=version.model_version,
            status=version.status,
            created_at=iso(version.created_at),
            model_upload_id=uploads["model"],
            verifications_upload_id=uploads.get("verifications"),
            resources_upload_id=uploads.get("resources"),
        )


def _upload(session: Session, call: Call, model_id: ModelId, model_version: ModelVersionId) -> str:
    return open_upload(call, UPLOAD, model_id=model_id, model_version=model_version, session=session).upload_id


def _artifact_names(location: str, given: dict[str, str] | None) -> dict[str, str]:
    if not location.endswith("/"):
        if given:
            raise InvalidParameterError("customArtifactFilenames name files of a folder; location is a file.")
        return {}
    names = dict(given or {})
    check_artifacts(list(names))
    bad = [each for each in names.values() if not each or each.startswith((".", "/")) or set(each) & set("/\\*?[\0")]
    if "model" not in names or bad:
        raise InvalidParameterError(
            f"customArtifactFilenames has no file for `model`, or {bad[0][:100]!r} is no plain file name."
            if bad
            else "location is a folder: say by customArtifactFilenames which of its files is the `model`."
        )
    return names
