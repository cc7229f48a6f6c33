"""A version's metrics as a table of the organisation: a dataset whose one file is written here."""

from typing import Annotated

import msgspec

from modelyard.actions import Call, action
from modelyard.datasets.creating import add_upload, create_dataset, start_import
from modelyard.datasets.finding import get_version
from modelyard.datasets.reading import FileFormat, Reading
from modelyard.datasets.records import UploadPart, UploadStatus
from modelyard.errors import AlreadyExistsError, ConflictError, DataNotFoundError, InvalidParameterError, NotReadyError
from modelyard.feature_groups.registering import find_in_any_case
from modelyard.feature_groups.shapes import group_shape
from modelyard.feature_groups.wire import FeatureGroupShape
from modelyard.ids import ModelVersionId
from modelyard.models.versions import check_complete, get_model_version
from modelyard.storage import BlobStore

#: Versions that such a dataset keeps.
_VERSIONS = 30


@action("POST", errors=(DataNotFoundError, InvalidParameterError, AlreadyExistsError, ConflictError, NotReadyError))
def export_model_artifact_as_feature_group(
    call: Call,
    *,
    model_version: ModelVersionId,
    table_name: Annotated[str, "Name of the table, which no other table of the organisation has."],
    artifact_type: Annotated[str | None, "Charts of forecasting models, which Python models have none of."] = None,
) -> FeatureGroupShape:
    """Makes a table of a version's metrics: the steps of metrics.jsonl, a row each; else a row for each metric."""
    version = get_model_version(call.session, call.organization_id, model_version)
    check_complete(version, "exported")
    if artifact_type:
        raise InvalidParameterError(
            f"artifactType is {artifact_type[:100]!r}; those are charts of forecasts. Leave it out for metrics."
        )
    metrics = version.metrics or {}
    rows = version.metric_steps or [{"metric": name, "value": value} for name, value in metrics.items()]
    if not rows:
        raise ConflictError(f"Model version {model_version} has no metrics; `train` writes them to metrics.json.")
    _import(call, table_name, b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    group = find_in_any_case(call.session, call.organization_id, table_name)
    assert group is not None
    return group_shape(call.session, group)


def _import(call: Call, table_name: str, content: bytes) -> None:
    """A dataset of that name, whose upload is there already."""
    blob = call.parts.get(BlobStore).put_bytes(content)
    reading = Reading(format=FileFormat.JSON)
    upload = add_upload(call, create_dataset(call, table_name, reading, _VERSIONS), reading)
    call.session.flush()
    upload.status, upload.completed_at = UploadStatus.COMPLETE, call.clock()
    call.session.add(UploadPart(upload_id=upload.upload_id, part_number=1, digest=blob.digest, md5="", size=blob.size))
    assert upload.dataset_version is not None
    imported = get_version(call.session, call.organization_id, upload.dataset_version)
    imported.size = blob.size
    start_import(call.session, imported, blob.size)
    call.session.flush()
