"""Where a table is to be written: for download, into files, or into a database. Checked before anything is promised.

The API says it in several ways: parameters of exportFeatureGroupVersionTo..., the SDK's FeatureGroupExportConfig and
its subclasses (whose keys come in snake_case), databaseOutputConfig of batch predictions. `read_config` reads all but
the first.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from sqlalchemy.orm import Session

from modelyard.connectors.databases import FILES, find_database
from modelyard.connectors.folders import Folder
from modelyard.connectors.locations import Found, find_place
from modelyard.connectors.uses import forget_uses, note_use
from modelyard.connectors.writing import WriteMode, form_of
from modelyard.database import JsonObject
from modelyard.errors import InvalidEnumParameterError, InvalidParameterError, MissingParameterError
from modelyard.ids import DatabaseConnectorId, OrganizationId
from modelyard.settings import Settings
from modelyard.storage import Table

#: What the actions that write into a table of a database are given, by every one of them in these words.
TableName = Annotated[str, "The table, `name` or `schema.name`. One that is not there is made."]
Mode = Annotated[WriteMode, "INSERT adds the rows, UPSERT goes by their ids, REPLACE takes others away."]
FeatureMapping = Annotated[dict[str, str], "Column -> feature; empty: all, under their own names."]
IdColumn = Annotated[str | None, "The column by which an UPSERT finds rows."]
MoreIdColumns = Annotated[list[str] | None, "More of them, which count together."]


class ExportFormat(StrEnum):
    """The formats that a table is written in. Read without regard to case."""

    #: Comma-separated values under one line of names.
    CSV = "CSV"
    #: The same with tabs.
    TSV = "TSV"
    #: One JSON object a line.
    JSON = "JSON"
    #: Avro object container files.
    AVRO = "AVRO"
    #: Parquet, compressed with zstd.
    PARQUET = "PARQUET"

    @classmethod
    def _missing_(cls, value: object) -> "ExportFormat | None":
        return next((each for each in cls if isinstance(value, str) and each.value == value.upper()), None)

    @property
    def ending(self) -> str:
        """What file names end in."""
        return "jsonl" if self is ExportFormat.JSON else self.value.lower()


class Kind(StrEnum):
    """The kinds of destinations."""

    #: Kept here, for download by a link.
    CONSOLE = "CONSOLE"
    #: A file, or a folder of files, at a location.
    FILE = "FILE"
    #: A table of a database.
    DATABASE = "DATABASE"


class Destination(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A place that rows are written to, and how."""

    kind: Kind
    location: str | None = None
    file_format: ExportFormat = ExportFormat.CSV
    overwrite: bool = False
    database_connector_id: DatabaseConnectorId | None = None
    object_name: str | None = None
    write_mode: WriteMode = WriteMode.INSERT
    #: Column there -> feature; empty: all, under their own names.
    mapping: dict[str, str] = {}
    id_column: str | None = None
    additional_id_columns: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns by which rows are the same."""
        return tuple(dict.fromkeys([*([self.id_column] if self.id_column else []), *self.additional_id_columns]))

    @property
    def as_json(self) -> JsonObject:
        """As a JSON column holds it."""
        return dict(msgspec.to_builtins(self))

    @property
    def as_config(self) -> dict[str, Any]:
        """As callers see it. Source: the SDK's FeatureGroupRefreshExportConfig."""
        if self.kind is Kind.FILE:
            return {"connectorType": "FILE", "location": self.location, "exportFileFormat": self.file_format}
        return {
            "connectorType": "DATABASE", "externalConnectionId": self.database_connector_id,
            "objectName": self.object_name, "writeMode": self.write_mode, "databaseFeatureMapping": self.mapping,
            "idColumn": self.id_column, "additionalIdColumns": list(self.additional_id_columns),
        }  # fmt: skip


def into_database(
    connector_id: DatabaseConnectorId, object_name: str, write_mode: WriteMode, mapping: dict[str, str],
    id_column: str | None, additional_id_columns: list[str] | None,
) -> Destination:  # fmt: skip
    """A table of a database, as the actions that write into one name it."""
    return Destination(
        kind=Kind.DATABASE,
        database_connector_id=connector_id,
        object_name=object_name,
        write_mode=write_mode,
        mapping=mapping,
        id_column=id_column,
        additional_id_columns=tuple(additional_id_columns or ()),
    )


def destination_of(kept: JsonObject) -> Destination:
    """What `as_json` gave."""
    return msgspec.convert(kept, Destination)


def read_format(name: str, given: str) -> ExportFormat:
    """The format of that name; InvalidEnumParameterError names those that there are."""
    try:
        return ExportFormat(given)
    except ValueError:
        raise InvalidEnumParameterError(
            f"Invalid value for {name}: {given[:100]!r}; it must be one of {', '.join(ExportFormat)}"
        ) from None


def read_mode(name: str, given: str) -> WriteMode:
    """The mode of that name; InvalidEnumParameterError names those that there are."""
    try:
        return WriteMode(given.upper())
    except ValueError:
        raise InvalidEnumParameterError(
            f"Invalid value for {name}: {given[:100]!r}; it must be one of {', '.join(WriteMode)}"
        ) from None


#: Every spelling of a field that a client sends, without case and underscores.
_FIELDS = {
    "connectortype": "kind", "location": "location", "outputlocation": "location", "exportfileformat": "file_format",
    "fileformat": "file_format", "databaseconnectorid": "database_connector_id",
    "externalconnectionid": "database_connector_id", "objectname": "object_name", "mode": "write_mode",
    "writemode": "write_mode", "datacolumns": "mapping", "databasefeaturemapping": "mapping", "idcolumn": "id_column",
    "additionalidcolumns": "additional_id_columns",
}  # fmt: skip


def read_config(name: str, given: Mapping[str, Any], **more: Any) -> Destination:
    """The destination that a config means, by names in snake_case or camelCase. It overwrites files that are there."""
    values: dict[str, Any] = {"overwrite": True, **more}
    for key, value in given.items():
        field = _FIELDS.get(key.replace("_", "").lower())
        if field is None:
            known = (
                "location, exportFileFormat, databaseConnectorId, objectName, writeMode, databaseFeatureMapping, ..."
            )
            raise InvalidParameterError(f"{name} has no key {key[:100]!r}; it has {known}")
        if value is not None and field != "kind":
            values[field] = value
    if isinstance(values.get("file_format"), str):
        values["file_format"] = read_format(f"{name}.exportFileFormat", values["file_format"])
    if isinstance(values.get("write_mode"), str):
        values["write_mode"] = read_mode(f"{name}.writeMode", values["write_mode"])
    values["kind"] = Kind.FILE if values.get("location") else Kind.DATABASE
    try:
        return msgspec.convert({_camel(key): value for key, value in values.items()}, Destination)
    except msgspec.ValidationError as error:
        raise InvalidParameterError(f"Invalid value for {name}: {error}") from None


def check_destination(
    session: Session, settings: Settings, organization_id: OrganizationId, destination: Destination
) -> None:
    """Raises an error for a destination that can't be written, as far as that is clear without asking anybody."""
    if destination.kind is Kind.FILE:
        check_file(open_place(session, settings, organization_id, destination))
    if destination.kind is Kind.DATABASE:
        _check_database(session, settings, organization_id, destination)


def open_place(
    session: Session, settings: Settings, organization_id: OrganizationId, destination: Destination
) -> Found:
    """What opens the location."""
    if not destination.location:
        raise MissingParameterError("Missing required parameter: location")
    return find_place(session, settings, organization_id, destination.location)


def check_file(found: Found) -> None:
    """Raises InvalidParameterError for a location where nothing can be written."""
    if any(char in found.location for char in "*?["):
        raise InvalidParameterError(
            f"The location {found.location[:200]!r} is a pattern; name a file, or a folder with a slash at its end"
        )
    if found.key is None:
        with found.open(to_write=True) as place:
            if not isinstance(place, Folder):
                place.names()


def check_columns(destination: Destination, table: Table) -> None:
    """Raises InvalidParameterError for features that the table lacks."""
    there = [column.name for column in table.columns]
    if missing := [feature for feature in destination.mapping.values() if feature not in there]:
        raise InvalidParameterError(
            f"databaseFeatureMapping names the feature {missing[0]!r}, which is not in the table; "
            f"it has {', '.join(there)[:500]}"
        )
    columns = list(destination.mapping) or there
    if unknown := [key for key in destination.keys if key not in columns]:
        raise InvalidParameterError(
            f"The id column {unknown[0]!r} is none of the columns that are written: {', '.join(columns)[:500]}"
        )


def note_destination(
    session: Session, destination: Destination | None, found: Found | None, kind: str, owner: str, name: str
) -> None:
    """Writes down that something exports through a connector whenever it is made anew; forgets what it did before."""
    forget_uses(session, kind, owner)
    connector_id = destination.database_connector_id if destination else None
    if found is not None and found.connector_id is not None:
        connector_id = found.connector_id  # type: ignore[assignment]  # an id of either kind
    if connector_id is not None:
        note_use(session, connector_id, kind, owner, name)


def _check_database(
    session: Session, settings: Settings, organization_id: OrganizationId, destination: Destination
) -> None:
    if destination.database_connector_id is None:
        raise MissingParameterError("Missing required parameter: databaseConnectorId")
    database = find_database(session, settings, organization_id, destination.database_connector_id)
    if not destination.object_name:
        raise MissingParameterError("Missing required parameter: objectName says which table is written")
    form_of(database.service)
    if database.service in FILES:
        Folder(str(database.auth["path"]), settings.file_write_roots, "file_write_roots")
    if any("\0" in name or not name for name in (destination.object_name, *destination.mapping, *destination.keys)):
        raise InvalidParameterError("objectName and columns must be names")
    if destination.write_mode is WriteMode.UPSERT and not destination.keys:
        raise MissingParameterError("Missing required parameter: idColumn, by which an UPSERT finds the rows to change")
    _check_keys(destination.mapping, destination.keys)


def _check_keys(mapping: Mapping[str, str], keys: Sequence[str]) -> None:
    if mapping and (unknown := [key for key in keys if key not in mapping]):
        raise InvalidParameterError(
            f"The id column {unknown[0]!r} is none of the columns that are written: {', '.join(mapping)[:500]}"
        )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
