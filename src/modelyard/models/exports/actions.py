"""Exports of trained versions: ask for one, look how far it is, download it."""

from typing import Annotated
from urllib.parse import quote

import msgspec

from modelyard.actions import Call, action, while_status
from modelyard.clock import iso
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError, NotReadyError
from modelyard.feature_groups.records import ExportStatus
from modelyard.feature_groups.wire import DownloadUrlShape
from modelyard.ids import ModelArtifactsExportId, ModelId, ModelVersionId
from modelyard.models.exports import exporting
from modelyard.models.exports.links import sign_link
from modelyard.models.records import Model, ModelArtifactsExport
from modelyard.models.versions import get_model, get_model_version


class ModelArtifactsExportShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An export. Source: the SDK's `model_artifacts_export.py`."""

    model_artifacts_export_id: str
    model_version: str
    output_location: str | None
    status: str
    created_at: str | None
    export_completed_at: str | None
    error: str | None


@action("POST", errors=(DataNotFoundError, InvalidParameterError, ConflictError, NotReadyError))
def export_custom_model_version(
    call: Call,
    *,
    model_version: ModelVersionId,
    output_location: Annotated[
        str | None, 'A folder with a slash at its end, or a zip file; without one (or `""`): kept for download.'
    ] = None,
    algorithm: Annotated[str | None, "The model's own, by id or name, if at all."] = None,
) -> ModelArtifactsExportShape:
    """Writes a complete version as a zip that runs anywhere: source, lock, artifact, files, metrics, a small server.

    The zip is an MLflow model as well. A file that is there already is not overwritten: the export fails. Where no
    location was given, getModelArtifactsExportDownloadUrl gives a link to it.
    """
    version = get_model_version(call.session, call.organization_id, model_version)
    model = call.session.get_one(Model, version.model_id)
    if algorithm and algorithm not in (model.model_id, model.name):
        raise InvalidParameterError(
            f"algorithm is {algorithm[:100]!r}; the model's one algorithm is its own, {model.model_id} ({model.name})"
        )
    return _shape(exporting.begin(call, version, output_location or None))


@action("GET", errors=(DataNotFoundError,), under_way=while_status("PENDING", "EXPORTING"))
def describe_model_artifacts_export(
    call: Call, *, model_artifacts_export_id: ModelArtifactsExportId
) -> ModelArtifactsExportShape:
    """One export."""
    return _shape(exporting.get_export(call.session, call.organization_id, model_artifacts_export_id))


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_model_artifacts_exports(
    call: Call, *, model_id: ModelId, limit: Annotated[int, "Most exports to give."] = 25
) -> list[ModelArtifactsExportShape]:
    """The exports of a model's versions, newest first."""
    if limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1.")
    model = get_model(call.session, call.organization_id, model_id)
    return [_shape(each) for each in exporting.exports_of(call.session, model, limit)]


@action("GET", errors=(DataNotFoundError, ConflictError, NotReadyError))
def get_model_artifacts_export_download_url(
    call: Call, *, model_artifacts_export_id: ModelArtifactsExportId
) -> DownloadUrlShape:
    """A link to the zip of an export without a location. Whoever has it needs no key until it expires."""
    export = exporting.get_export(call.session, call.organization_id, model_artifacts_export_id)
    name = f"Model artifacts export {model_artifacts_export_id}"
    if export.output_location is not None:
        raise ConflictError(f"{name} went to {export.output_location}; nothing is kept here")
    if export.status == ExportStatus.FAILED:
        raise ConflictError(f"{name} has no file, since it failed: {export.error}")
    if export.status != ExportStatus.COMPLETE:
        raise NotReadyError(f"{name} is {export.status}; wait for its end")
    link, expires_at = sign_link(call.settings, call.clock(), export.model_artifacts_export_id)
    url = f"{call.base_url}/exports/{link}/{quote(export.file_name)}"
    return DownloadUrlShape(download_url=url, expires_at=iso(expires_at) or "")


def _shape(export: ModelArtifactsExport) -> ModelArtifactsExportShape:
    return ModelArtifactsExportShape(
        model_artifacts_export_id=export.model_artifacts_export_id,
        model_version=export.model_version,
        output_location=export.output_location,
        status=export.status,
        created_at=iso(export.created_at),
        export_completed_at=iso(export.completed_at) if export.status == ExportStatus.COMPLETE else None,
        error=export.error,
    )
