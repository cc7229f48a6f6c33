"""Which column a version predicts, as far as somebody has said so, and in which of its tables that stands.

`train` gets tables, not targets, so the platform knows it only by what was said: the key TARGET of the version's
training config, of the model's newest one (which takes no training), or the project's feature mapping TARGET.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.errors import ConflictError
from modelyard.feature_groups.materialize import TableVersion
from modelyard.feature_groups.records import ProjectFeatureGroup
from modelyard.models.heads import find_head
from modelyard.models.records import ModelVersion

#: Key of the training config, in capitals or not, at its top or among its KWARGS; and the feature mapping.
KEY = "TARGET"
#: Columns that an error names.
_NAMED = 20


class Target(NamedTuple):
    """A column, and the table that it is of."""

    column: str
    #: Its place among the version's tables.
    place: int
    table: TableVersion


def named_target(config: Mapping[str, Any] | None) -> str | None:
    """The column that the config names."""
    own = config or {}
    inner = own.get("KWARGS")
    for place in (own, inner if isinstance(inner, Mapping) else {}):
        for name, value in place.items():
            if name.upper() == KEY and isinstance(value, str) and value:
                return value
    return None


def find_target(session: Session, version: ModelVersion, tables: Sequence[TableVersion]) -> Target:
    """The column that the version predicts; ConflictError with what to do where nobody said which."""
    _, head = find_head(session, version.organization_id, version.model_id)
    for config in (version.training_config, head.training_config):
        if column := named_target(config):
            return _placed(column, tables)
    for place, name in _mapped(session, version, tables):
        return Target(name, place, tables[place])
    raise ConflictError(
        f"Which column model version {version.model_version} predicts is not known: set {KEY} in the training config "
        "to its name with setModelTrainingConfig (no new training is needed), or map the column to TARGET in the "
        "project with setFeatureMapping."
    )


def _placed(column: str, tables: Sequence[TableVersion]) -> Target:
    for place, table in enumerate(tables):
        if any(each.name == column for each in table.table.columns):
            return Target(column, place, table)
    known = [each.name for table in tables for each in table.table.columns]
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    raise ConflictError(
        f"{KEY} in the training config is {column[:100]!r}, and no table of the training has such a column. "
        f"They have {', '.join(known[:_NAMED])}{more}."
    )


def _mapped(session: Session, version: ModelVersion, tables: Sequence[TableVersion]) -> Iterator[tuple[int, str]]:
    query = select(ProjectFeatureGroup).where(
        ProjectFeatureGroup.project_id == version.project_id,
        ProjectFeatureGroup.feature_group_id.in_([table.feature_group_id for table in tables]),
    )
    of_group = {row.feature_group_id: row.mappings for row in session.scalars(query)}
    for place, table in enumerate(tables):
        columns = {each.name for each in table.table.columns}
        for name, mapping in of_group.get(table.feature_group_id, {}).items():
            if mapping == KEY and name in columns:
                yield place, name
