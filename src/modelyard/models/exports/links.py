"""Links to the zips of exported models, beside those to the files of tables: one door opens both."""

from datetime import datetime

from sqlalchemy.orm import Session

from modelyard.errors import DataNotFoundError
from modelyard.feature_groups.exports import links
from modelyard.feature_groups.exports.links import Download
from modelyard.ids import ModelArtifactsExportId
from modelyard.models.records import ModelArtifactsExport
from modelyard.settings import Settings

#: Stands before the id of a model's export; no id begins with it.
_MARK = "model."


def sign_link(settings: Settings, now: datetime, export_id: ModelArtifactsExportId) -> tuple[str, datetime]:
    """The part of a URL that opens the export's zip, and until when it does."""
    return links.sign(settings, now, f"{_MARK}{export_id}")


def follow_link(session: Session, settings: Settings, now: datetime, link: str) -> Download:
    """What a link leads to, of either kind; GenericPermissionDeniedError for one that is not ours or has expired."""
    if not link.startswith(_MARK):
        return links.follow_link(session, settings, now, link)
    signed = links.check_signed(settings, now, link)
    export = session.get(ModelArtifactsExport, ModelArtifactsExportId(signed.removeprefix(_MARK)))
    if export is None or export.file_digest is None:
        raise DataNotFoundError("The export was deleted")
    return Download(export.file_digest, export.file_name)
