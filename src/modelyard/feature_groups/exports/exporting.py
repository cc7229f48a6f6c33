"""Exports: one version's rows written to one place, by a run of their own.

An export begins when somebody asks for it, when a version of a group that exports itself becomes COMPLETE, or when a
schedule made a version in order to export it: then its row waits for the version, without a run. Killed anywhere, the
run is taken over and begins anew; `writing_out` sees to it that rows don't arrive twice.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session, object_session

from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.errors import ConflictError, DataNotFoundError, NotReadyError
from modelyard.execution import Permanent, RunContext, enqueue
from modelyard.feature_groups.exports.destinations import Destination, destination_of
from modelyard.feature_groups.exports.writing_out import Job, NotWritten, write_out
from modelyard.feature_groups.lineage import forget_version_user, note_version_users
from modelyard.feature_groups.records import (
    UNFINISHED_EXPORTS,
    ExportStatus,
    FeatureGroup,
    FeatureGroupExport,
    FeatureGroupVersion,
    VersionStatus,
)
from modelyard.feature_groups.sizes import DEFAULT
from modelyard.ids import FeatureGroupExportId, FeatureGroupVersionId, OrganizationId, new_id
from modelyard.storage import Blob

EXPORT = "feature_groups.export"
#: Under which exports stand in the list of what keeps a version.
_USER = "export"


def start_export(
    session: Session, version: FeatureGroupVersion, destination: Destination, *, is_automatic: bool = False
) -> FeatureGroupExport:
    """A PENDING export, whose run begins as soon as the version has rows. ConflictError where it never will."""
    if version.status == VersionStatus.FAILED:
        raise ConflictError(
            f"Feature group version {version.feature_group_version} has no rows, since it failed: {version.error}"
        )
    if version.status != VersionStatus.COMPLETE and not is_automatic:
        raise NotReadyError(
            f"Feature group version {version.feature_group_version} is {version.status}; it can be exported once it is "
            "COMPLETE"
        )
    export = FeatureGroupExport(
        feature_group_export_id=FeatureGroupExportId(new_id()),
        feature_group_id=version.feature_group_id,
        feature_group_version=version.feature_group_version,
        organization_id=version.organization_id,
        destination=destination.as_json,
        is_automatic=is_automatic,
        status=ExportStatus.PENDING,
        refused_rows=[],
        has_begun=False,
        created_at=utc_now(),
    )
    session.add(export)
    if version.status == VersionStatus.COMPLETE:
        _enqueue(session, export, version)
    session.flush()
    return export


def get_export(
    session: Session, organization_id: OrganizationId, feature_group_export_id: FeatureGroupExportId
) -> FeatureGroupExport:
    """The export of that id; DataNotFoundError if the organisation has none."""
    export = session.get(FeatureGroupExport, feature_group_export_id)
    if export is None or export.organization_id != organization_id:
        raise DataNotFoundError(f"Feature group export {feature_group_export_id} was not found")
    return export


def version_completed(version: FeatureGroupVersion) -> None:
    """Sets going what waited for the version's rows, and the export of a group that exports itself."""
    session = _session_of(version)
    session.flush()
    for export in _waiting(session, version):
        _enqueue(session, export, version)
    group = session.get_one(FeatureGroup, version.feature_group_id)
    if group.export_on_materialization and group.export_destination is not None:
        start_export(session, version, destination_of(group.export_destination), is_automatic=True)


def version_failed(version: FeatureGroupVersion) -> None:
    """Ends what waited for the version's rows."""
    session = _session_of(version)
    for export in _waiting(session, version):
        _fail(session, export, f"The version could not be made: {version.error}")


def exports_of(session: Session, feature_group_version: FeatureGroupVersionId) -> list[FeatureGroupExport]:
    """The exports of a version that nobody asked for, oldest first."""
    mine = (FeatureGroupExport.feature_group_version == feature_group_version, FeatureGroupExport.is_automatic)
    return list(session.scalars(select(FeatureGroupExport).where(*mine).order_by(FeatureGroupExport.created_at)))


def export(run: RunContext) -> None:
    """Writes the rows out."""
    with run.transaction() as session:
        mine = _mine(session, run)
        if mine.status not in UNFINISHED_EXPORTS:
            return
        version = session.get(FeatureGroupVersion, mine.feature_group_version)
        if version is None:
            raise Permanent("its feature group version was deleted")
        mine.status = ExportStatus.EXPORTING
        job = Job(
            version.manifest, destination_of(mine.destination), mine.organization_id, mine.feature_group_export_id,
            has_begun=mine.has_begun,
        )  # fmt: skip
    try:
        blob = write_out(run, job, lambda: _note_begun(run))
    except NotWritten as failure:
        _end(run, job.table.rows, failure, None)
    else:
        _end(run, job.table.rows, None, blob)


def give_up_export(session: Session, payload: JsonObject, reason: str) -> None:
    """Ends the export as FAILED."""
    found = session.get(FeatureGroupExport, payload["export"])
    if found is not None and found.status in UNFINISHED_EXPORTS:
        _fail(session, found, f"The export was given up: {reason}")


def _note_begun(run: RunContext) -> None:
    with run.transaction() as session:
        _mine(session, run).has_begun = True


def _end(run: RunContext, rows: int, failure: NotWritten | None, blob: Blob | None) -> None:
    with run.transaction() as session:
        mine = _mine(session, run)
        mine.total_writes, mine.failed_writes = rows, rows if failure else 0
        if failure is not None:
            mine.refused_rows = failure.refused
            _fail(session, mine, str(failure))
        else:
            mine.file_digest = blob.digest if blob else None
            mine.status, mine.completed_at = ExportStatus.COMPLETE, run.clock()
            forget_version_user(session, _USER, mine.feature_group_export_id)
        run.complete(session)


def _enqueue(session: Session, export: FeatureGroupExport, version: FeatureGroupVersion) -> None:
    export.run_id = enqueue(
        session, EXPORT, {"export": export.feature_group_export_id}, target=export.feature_group_export_id,
        organization_id=export.organization_id, demand=DEFAULT, priority=5,
    )  # fmt: skip
    session.flush()
    name = destination_of(export.destination).location or destination_of(export.destination).object_name or "console"
    users = [version.feature_group_version]
    note_version_users(session, users, _USER, export.feature_group_export_id, name[:200])


def _fail(session: Session, export: FeatureGroupExport, error: str) -> None:
    export.status, export.error, export.completed_at = ExportStatus.FAILED, error, utc_now()
    forget_version_user(session, _USER, export.feature_group_export_id)


def _mine(session: Session, run: RunContext) -> FeatureGroupExport:
    found = session.get(FeatureGroupExport, run.payload["export"], with_for_update=True)
    if found is None:
        raise Permanent("its feature group was deleted")
    return found


def _waiting(session: Session, version: FeatureGroupVersion) -> list[FeatureGroupExport]:
    waiting = (
        FeatureGroupExport.feature_group_version == version.feature_group_version,
        FeatureGroupExport.status == ExportStatus.PENDING,
        FeatureGroupExport.run_id.is_(None),
    )
    return list(session.scalars(select(FeatureGroupExport).where(*waiting)))


def _session_of(version: FeatureGroupVersion) -> Session:
    session = object_session(version)
    assert session is not None, "a version ends within a transaction"
    return session
