"""What a dataset is read from where it is not uploaded: files at a location, or rows of a database.

A source names its connector by id only; secrets are looked up by the run that reads. The connector is told of its
users, so that it is not deleted under them.
"""

from dataclasses import dataclass

import msgspec
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.connectors.finding import get_database_connector
from modelyard.connectors.locations import check_place, find_place
from modelyard.connectors.questions import Question, check_question
from modelyard.connectors.uses import forget_uses, note_use
from modelyard.database import JsonObject
from modelyard.datasets.records import Dataset
from modelyard.errors import InvalidParameterError
from modelyard.ids import DatabaseConnectorId


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes are."""

    #: As callers see it: the location, or the object or query.
    name: str
    connector_id: str | None = None
    location: str | None = None
    #: `connectors.questions.Question` with the connector's id.
    database: JsonObject | None = None


def location_source(call: Call, location: str) -> Source:
    """The files at a location; InvalidParameterError where nothing can be read there."""
    found = find_place(call.session, call.settings, call.organization_id, location)
    check_place(found)
    return Source(location, found.connector_id, location=location)


def database_source(call: Call, connector_id: DatabaseConnectorId, question: Question) -> Source:
    """What is asked of a database; InvalidParameterError where it is no query."""
    connector = get_database_connector(call.session, call.organization_id, connector_id)
    check_question(connector.service, question)
    return _database(connector_id, question)


def next_database_source(call: Call, dataset: Dataset, asked: Question) -> Source:
    """What the dataset's next version asks: as the last one, but for what the caller says; the dataset keeps it."""
    config = dict(dataset.database_connector_config or {})
    connector_id = DatabaseConnectorId(config.pop("databaseConnectorId"))
    given = msgspec.to_builtins(asked)
    before = {} if asked.sql_query else config if not given else {**config, "sqlQuery": None}
    source = database_source(call, connector_id, msgspec.convert({**before, **given}, Question))
    dataset.database_connector_config, dataset.data_source = source.database, source.name
    return source


def set_database_source(call: Call, dataset: Dataset, connector_id: DatabaseConnectorId, asked: Question) -> None:
    """From the next version on the dataset asks that of that connector."""
    if dataset.database_connector_config is None:
        raise InvalidParameterError(
            f"Dataset {dataset.dataset_id} is not read from a database; createDatasetFromDatabaseConnector makes one"
        )
    source = database_source(call, connector_id, asked)
    dataset.database_connector_config, dataset.data_source = source.database, source.name
    note(call.session, dataset, source)


def source_of(dataset: Dataset) -> Source:
    """What a dataset was read from last, to be read again."""
    if dataset.database_connector_config is not None:
        return Source(str(dataset.data_source), database=dataset.database_connector_config)
    return Source(str(dataset.data_source), location=dataset.data_source)


def note(session: Session, dataset: Dataset, source: Source) -> None:
    """Tells the connector that the dataset is read through it now, and not through another."""
    forget_uses(session, "dataset", dataset.dataset_id)
    if source.connector_id is not None:
        note_use(session, source.connector_id, "dataset", dataset.dataset_id, dataset.feature_group_table_name)


def _database(connector_id: DatabaseConnectorId, question: Question) -> Source:
    name = question.object_name or str(question.sql_query)
    config: JsonObject = {**msgspec.to_builtins(question), "databaseConnectorId": connector_id}
    return Source(name[:2000], connector_id, database=config)
