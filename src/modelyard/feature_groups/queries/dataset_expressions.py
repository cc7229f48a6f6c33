"""Feature expressions: the group of a dataset gives what a query makes of the imported rows, instead of those rows.

The definition names the dataset's version that it reads. An import gives the group a new definition thereby, so it is
outdated like any other group whose source has changed, and made when it is needed.
"""

import msgspec
from sqlalchemy.orm import Session

from modelyard.datasets.finding import newest_complete
from modelyard.datasets.records import DatasetVersion
from modelyard.errors import ConflictError, InvalidParameterError
from modelyard.execution import RunContext
from modelyard.feature_groups import versions
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.outcomes import Failure, TableVersion
from modelyard.feature_groups.queries.sql import Query
from modelyard.feature_groups.records import FeatureGroup, SourceType
from modelyard.ids import DatasetId, FeatureGroupId, FeatureGroupVersionId
from modelyard.storage import Table


def read(session: Session, group: FeatureGroup, text: str) -> Definition:
    """The definition with that expression; InvalidParameterError says what is wrong with it, and where."""
    if group.source_type != SourceType.DATASET or group.dataset_id is None:
        raise ConflictError(f"Feature group {group.table_name} is made from {group.source_type}, not from a dataset")
    if not text.strip():
        return Definition(dataset_id=group.dataset_id)
    query = Query(text)
    for use in query.tables:
        if use.name.lower() != group.table_name.lower():
            raise InvalidParameterError(
                f"{use.place}: the expression reads {use.name}, but it can only read {group.table_name} itself"
            )
    whole = newest_complete(session, group.dataset_id)
    if whole is not None and whole.table is not None:
        columns = [column.name for column in msgspec.convert(whole.table, Table).columns]
        query.check_columns({use.name: columns for use in query.tables})
    return Definition(
        dataset_id=group.dataset_id,
        dataset_version=whole.dataset_version if whole is not None else None,
        sql=text,
        engine_sql=query.in_engine_dialect({use.name: group.table_name for use in query.tables}),
    )


def keep(session: Session, group: FeatureGroup, definition: Definition) -> None:
    """Gives the group that definition; without an expression it has the imported rows again, at once."""
    whole = newest_complete(session, DatasetId(group.dataset_id or ""))
    was_given = group.is_given
    if definition.engine_sql is not None and whole is not None:
        definition = msgspec.structs.replace(definition, dataset_version=whole.dataset_version)
    group.definition, group.definition_digest = versions.to_json(definition), definition.digest
    session.flush()
    if definition.engine_sql is None and not was_given and whole is not None and whole.table is not None:
        table = msgspec.convert(whole.table, Table)
        versions.write_version_from_table(session, group, table, dataset_version=whole.dataset_version)


def raw_table(run: RunContext, definition: Definition, name: str) -> TableVersion | Failure:
    """The imported rows that the expression reads."""
    with run.read() as session:
        version = session.get(DatasetVersion, definition.dataset_version) if definition.dataset_version else None
        if version is None or version.table is None:
            return Failure("Its dataset has no rows yet, or the version that it reads was deleted")
        table = msgspec.convert(version.table, Table)
    return TableVersion(FeatureGroupId(""), FeatureGroupVersionId(""), name, table)
