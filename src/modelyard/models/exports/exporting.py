"""Exports of trained versions: `packing` makes the zip, and it goes to a location or stays here for download.

A run of its own, which may be killed anywhere and begins anew: a file at a location is whole or not there.
"""

import re
import tempfile
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.clock import iso
from modelyard.connectors.locations import find_place
from modelyard.database import JsonObject
from modelyard.errors import ApiError, DataNotFoundError, InvalidParameterError
from modelyard.execution import Demand, Permanent, RunContext, RunKind, enqueue
from modelyard.feature_groups.exports.destinations import check_file
from modelyard.feature_groups.records import UNFINISHED_EXPORTS, ExportStatus
from modelyard.feature_groups.twins import opened
from modelyard.ids import Digest, ModelArtifactsExportId, OrganizationId, new_id
from modelyard.models.exports.packing import Contents, pack
from modelyard.models.records import Model, ModelArtifactsExport, ModelVersion
from modelyard.models.versions import check_complete, deployable
from modelyard.storage import BlobStore

EXPORT = "models.export"
_CHUNK = 1024**2


def begin(call: Call, version: ModelVersion, location: str | None) -> ModelArtifactsExport:
    """A PENDING export with its run; raises where it is clear already that it can't be made."""
    check_complete(version, "exported")
    deployable(call.session, version)
    if location is not None:
        check_file(find_place(call.session, call.settings, version.organization_id, location))
        if not location.endswith("/") and not location.lower().endswith(".zip"):
            raise InvalidParameterError(
                f"outputLocation {location[:200]!r} must be a folder, with a slash at its end, or a file named .zip"
            )
    model = call.session.get_one(Model, version.model_id)
    export_id = ModelArtifactsExportId(new_id())
    export = ModelArtifactsExport(
        model_artifacts_export_id=export_id,
        model_id=version.model_id,
        model_version=version.model_version,
        organization_id=version.organization_id,
        output_location=location,
        file_name=f"{re.sub(r'[^A-Za-z0-9]+', '-', model.name).strip('-').lower() or 'model'}-v{version.number}.zip",
        status=ExportStatus.PENDING,
        created_at=call.clock(),
        run_id=enqueue(
            call.session, EXPORT, {"export": export_id}, target=export_id, organization_id=version.organization_id,
            project_id=version.project_id, demand=Demand(cores=1, memory_gib=0.5),
        ),
    )  # fmt: skip
    call.session.add(export)
    call.session.flush()
    return export


def get_export(
    session: Session, organization_id: OrganizationId, export_id: ModelArtifactsExportId
) -> ModelArtifactsExport:
    """The export of that id; DataNotFoundError if the organisation has none."""
    export = session.get(ModelArtifactsExport, export_id)
    if export is None or export.organization_id != organization_id:
        raise DataNotFoundError(f"Model artifacts export {export_id} was not found")
    return export


def export(run: RunContext) -> None:
    """Makes the zip and brings it where it belongs."""
    with run.transaction() as session:
        mine = _mine(session, run)
        if mine.status not in UNFINISHED_EXPORTS:
            return
        mine.status = ExportStatus.EXPORTING
    try:
        with run.read() as session:
            contents = _contents(session, mine)
        folder = run.settings.home / "exporting"
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as whole:
            tables = [each.table for each in contents.served.tables]
            with opened(run.parts, run.settings, tables) as descriptors:
                pack(run.parts.get(BlobStore), contents, descriptors, whole)
            whole.seek(0)
            digest = _deliver(run, mine, whole)
    except ApiError as error:
        _end(run, None, error.message)
    else:
        _end(run, digest, None)


def give_up_export(session: Session, payload: JsonObject, reason: str) -> None:
    """Ends the export as FAILED."""
    found = session.get(ModelArtifactsExport, payload["export"])
    if found is not None and found.status in UNFINISHED_EXPORTS:
        found.status, found.error = ExportStatus.FAILED, f"The export was given up: {reason}"


def _contents(session: Session, mine: ModelArtifactsExport) -> Contents:
    version = session.get(ModelVersion, mine.model_version)
    if version is None:
        raise DataNotFoundError(f"Model version {mine.model_version} was deleted")
    model = session.get_one(Model, version.model_id)
    python = str((version.runtime or {}).get("python", "CPython 3")).rpartition(" ")[2]
    return Contents(
        deployable(session, version), model.name, version.number, python, version.metrics or {},
        version.metric_steps or [], iso(version.training_completed_at) or "",
    )  # fmt: skip


def _deliver(run: RunContext, mine: ModelArtifactsExport, whole: IO[bytes]) -> Digest | None:
    """Writes the zip to its location; else keeps it, and gives its digest."""
    run.check_cancelled()
    chunks = iter(lambda: whole.read(_CHUNK), b"")
    if mine.output_location is None:
        return run.parts.get(BlobStore).put_chunks(chunks).digest
    with run.read() as session:
        found = find_place(session, run.settings, mine.organization_id, mine.output_location)
    with found.open(to_write=True) as place:
        _note_begun(run)
        place.write(mine.file_name, chunks, overwrite=mine.has_begun)
    return None


def _note_begun(run: RunContext) -> None:
    with run.transaction() as session:
        _mine(session, run).has_begun = True


def _end(run: RunContext, digest: Digest | None, error: str | None) -> None:
    with run.transaction() as session:
        mine = _mine(session, run)
        mine.status = ExportStatus.FAILED if error else ExportStatus.COMPLETE
        mine.error, mine.file_digest, mine.completed_at = error, digest, run.clock()
        run.complete(session)


def _mine(session: Session, run: RunContext) -> ModelArtifactsExport:
    found = session.get(ModelArtifactsExport, run.payload["export"], with_for_update=True)
    if found is None:
        raise Permanent("its model was deleted")
    return found


def exports_of(session: Session, model: Model, limit: int) -> list[ModelArtifactsExport]:
    """The exports of a model's versions, newest first."""
    query = select(ModelArtifactsExport).where(ModelArtifactsExport.model_id == model.model_id)
    newest = (ModelArtifactsExport.created_at.desc(), ModelArtifactsExport.model_artifacts_export_id)
    return list(session.scalars(query.order_by(*newest).limit(limit)))


KINDS: tuple[RunKind, ...] = (RunKind(EXPORT, export, give_up_export),)
