"""Links to the files of exports: good for whoever has one, until they expire.

A link holds the export's id, the second until which it is good, and a signature of both under the home's key; nothing
is kept of it. An export that was deleted, with its group, takes its links along.
"""

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard.connectors.secrets import Vault
from modelyard.errors import DataNotFoundError, GenericPermissionDeniedError
from modelyard.feature_groups.exports.destinations import destination_of
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupExport
from modelyard.ids import Digest, FeatureGroupExportId
from modelyard.settings import Settings

_PURPOSE = "link to the file of an export"


class Download(NamedTuple):
    """What a link leads to."""

    digest: Digest
    file_name: str


def sign_link(settings: Settings, now: datetime, export_id: FeatureGroupExportId) -> tuple[str, datetime]:
    """The part of a URL that opens the export's file, and until when it does."""
    return sign(settings, now, export_id)


def sign(settings: Settings, now: datetime, name: str) -> tuple[str, datetime]:
    """As `sign_link`, for whatever the name means to a room above. It holds no hyphen."""
    expires_at = now + timedelta(seconds=settings.download_link_s)
    until = int(expires_at.timestamp())
    return f"{name}-{until}-{_signature(settings, name, until)}", expires_at


def follow_link(session: Session, settings: Settings, now: datetime, link: str) -> Download:
    """What the link leads to; GenericPermissionDeniedError for one that is not ours or has expired."""
    export = session.get(FeatureGroupExport, FeatureGroupExportId(check_signed(settings, now, link)))
    if export is None or export.file_digest is None:
        raise DataNotFoundError("The file is not there any more; export the version again")
    group = session.get_one(FeatureGroup, export.feature_group_id)
    name = f"{group.table_name}.{destination_of(export.destination).file_format.ending}"
    return Download(export.file_digest, name)


def check_signed(settings: Settings, now: datetime, link: str) -> str:
    """The name that a link was signed for; GenericPermissionDeniedError for one that is not ours or has expired."""
    name, _, rest = link.partition("-")
    until, _, signature = rest.partition("-")
    if not until.isascii() or not until.isdigit() or len(until) > 12:
        raise GenericPermissionDeniedError("This is no link to an export")
    expected = _signature(settings, name, int(until))
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise GenericPermissionDeniedError("This is no link to an export")
    if now.timestamp() >= int(until):
        raise GenericPermissionDeniedError("The link has expired; ask for a new one")
    return name


def _signature(settings: Settings, name: str, until: int) -> str:
    key = Vault(settings.home).derived_key(_PURPOSE)
    return hmac.new(key, f"{name} {until}".encode(), hashlib.sha256).hexdigest()
