"""The one interface to files elsewhere: a location is opened, and then lists, reads and writes.

`file:///data/sales.csv` lies below the operator's folders, `https://host/table.parquet` on the web, and
`s3://bucket/folder/*.csv` (`gs:`, `az:`) in a bucket that a file connector of the organisation opens. A slash at the
end stands for all files below, `*`, `?` and `**` for those that fit.

`find_place` looks up what is needed in the caller's transaction; what it gives is opened without one, since a store may
take its time. `datasets` reads through here, exports write.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.connectors.buckets import SCHEMES, Bucket, Key, endpoint_of, split_location
from modelyard.connectors.egress import Egress
from modelyard.connectors.files import File, Place, refused
from modelyard.connectors.folders import Folder
from modelyard.connectors.records import FileConnector, Store
from modelyard.connectors.secrets import Vault
from modelyard.connectors.web import Web
from modelyard.errors import InvalidParameterError
from modelyard.ids import FileConnectorId, OrganizationId
from modelyard.settings import Settings

__all__ = ["File", "Found", "Place", "check_place", "find_place", "key_of"]


@dataclass(frozen=True, slots=True)
class Found:
    """A location with what opens it. Holds secrets, so it is neither kept nor shown."""

    location: str
    settings: Settings
    key: Key | None = None
    #: The connector that it is read through, for `uses.note_use`.
    connector_id: FileConnectorId | None = None

    def __repr__(self) -> str:
        return f"Found({self.location!r})"

    @contextmanager
    def open(self, *, to_write: bool = False) -> Iterator[Place]:
        """The location, open for reading, or for writing; InvalidParameterError says what can't be."""
        if self.key is not None:
            endpoint = endpoint_of(self.key) if self.key.is_operators else None
            egress = Egress.of(self.settings, *([endpoint] if endpoint else []))
            with Bucket(self.location, self.key, egress, self.settings.location_files) as bucket:
                yield bucket
        elif scheme_of(self.location) == "file":
            roots, setting = self.settings.file_roots, "file_roots"
            if to_write:
                roots, setting = self.settings.file_write_roots, "file_write_roots"
            yield Folder(self.location, roots, setting)
        else:
            yield Web(self.location, Egress.of(self.settings), self.settings.location_limit)

    def at(self, location: str) -> "Found":
        """Another location that the same connector opens."""
        return replace(self, location=location)


def find_place(session: Session, settings: Settings, organization_id: OrganizationId, location: str) -> Found:
    """What opens the location for that organisation; InvalidParameterError where nothing does."""
    scheme = scheme_of(location)
    if scheme in ("file", "https", "http"):
        return Found(location, settings)
    if scheme not in SCHEMES:
        raise InvalidParameterError(
            f"{scheme}: locations can't be used here"
            if scheme
            else f"{location[:200]!r} is no location: it has no scheme"
        ) from None
    split_location(location)
    connector = _covering(session, organization_id, location)
    if connector is None:
        raise refused(
            location,
            "no file connector of the organisation leads there; an administrator adds one (createFileConnector)",
        )
    return Found(location, settings, key_of(settings, connector), connector.file_connector_id)


def check_place(found: Found) -> None:
    """Raises InvalidParameterError where it is clear without asking anybody that the location can't be read."""
    if found.key is None:
        with found.open() as place:
            if isinstance(place, Folder):
                place.files()


def key_of(settings: Settings, connector: FileConnector) -> Key:
    """What opens the connector's bucket, decrypted."""
    opened = Vault(settings.home).open(connector.secrets, connector.file_connector_id)
    return Key(Store(connector.store), connector.options, opened, connector.is_operators)


def scheme_of(location: str) -> str:
    """`s3` of `s3://bucket`; nothing where there is none."""
    scheme, colon, _ = location.partition(":")
    return scheme.lower() if colon and scheme.isascii() and scheme.isalnum() else ""


def _covering(session: Session, organization_id: OrganizationId, location: str) -> FileConnector | None:
    """The connector with the longest bucket that the location lies in."""
    scheme, bucket, _ = split_location(location)
    start = f"{scheme}://{bucket}"
    query = select(FileConnector).where(
        FileConnector.organization_id == organization_id, FileConnector.bucket.startswith(start, autoescape=True)
    )
    fitting = [one for one in session.scalars(query) if f"{location.rstrip('/')}/".startswith(f"{one.bucket}/")]
    return max(fitting, key=lambda one: len(one.bucket), default=None)
