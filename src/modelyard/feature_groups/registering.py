"""Registers definitions: reads the query or has the source checked, finds what it reads, refuses circles, and keeps it.

The thinking is done before the writing: a query may take a second to read and a source several to check, and a writer
keeps all others waiting. What was found is looked up again in the writing transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import Database, JsonObject
from modelyard.datasets import creating
from modelyard.datasets.creating import LEAST_VERSIONS
from modelyard.errors import AlreadyExistsError, ConflictError, InvalidParameterError
from modelyard.feature_groups import versions
from modelyard.feature_groups.definition import Definition, Input
from modelyard.feature_groups.lineage import find_cycle, set_inputs
from modelyard.feature_groups.online.groups import online_indexing
from modelyard.feature_groups.queries.sql import Query
from modelyard.feature_groups.records import FeatureGroup, SourceType, VersionStatus
from modelyard.feature_groups.tables import get_feature_group, newest_versions, unknown_table
from modelyard.ids import FeatureGroupId, OrganizationId, new_id
from modelyard.online_rows.tables import add_table
from modelyard.source_code.users import note_users


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What a function's guest is to be given."""

    cpu_size: str | None = None
    memory_gib: int | None = None
    use_gpu: bool = False


class Particulars(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a group beside its definition."""

    table_name: str
    source_type: SourceType
    description: str | None = None
    version_limit: int = LEAST_VERSIONS
    sizes: Sizes = Sizes()
    check_report: JsonObject | None = None
    python_function_bindings: list[dict[str, Any]] | None = None
    python_function_name: str | None = None
    use_original_csv_names: bool = False


def create(
    call: Call, particulars: Particulars, definition: Definition, *, primary_key: str | None = None
) -> FeatureGroupId:
    """Keeps a new group; AlreadyExistsError where its name is taken. With a primary key its rows are online."""
    creating.check_version_limit(particulars.version_limit)
    with call.parts.get(Database).write() as session:
        check_table_name(session, call.organization_id, particulars.table_name)
        if primary_key is not None:
            table = add_table(session, call.clock, call.organization_id, primary_key)
            definition = Definition(online_table_id=table.online_table_id)
        group = FeatureGroup(
            feature_group_id=FeatureGroupId(new_id()),
            organization_id=call.organization_id,
            table_name=particulars.table_name,
            source_type=particulars.source_type,
            description=particulars.description,
            definition=versions.to_json(definition),
            definition_digest=definition.digest,
            indexing=online_indexing(session, definition.online_table_id),
            check_report=particulars.check_report,
            cpu_size=particulars.sizes.cpu_size,
            memory_gib=particulars.sizes.memory_gib,
            use_gpu=particulars.sizes.use_gpu,
            use_original_csv_names=particulars.use_original_csv_names,
            python_function_name=particulars.python_function_name,
            python_function_bindings=particulars.python_function_bindings,
            version_limit=particulars.version_limit,
            last_version_number=0,
            created_at=call.clock(),
            updated_at=call.clock(),
        )
        session.add(group)
        _connect(session, group, definition)
    return group.feature_group_id


def redefine(
    call: Call, feature_group_id: FeatureGroupId, definition: Definition, columns: Mapping[str, Any] | None = None
) -> None:
    """Gives a group another definition; versions that were made from the former one stay as they are.

    `columns` are others of the group's that change along with it.
    """
    with call.parts.get(Database).write() as session:
        group = get_feature_group(session, call.organization_id, feature_group_id)
        parents = [each.feature_group_id for each in definition.inputs]
        cycle = find_cycle(session, feature_group_id, parents)
        if cycle is not None:
            path = " -> ".join(get_feature_group(session, call.organization_id, each).table_name for each in cycle)
            raise InvalidParameterError(f"That would make {group.table_name} read itself: {path}")
        group.definition = versions.to_json(definition)
        group.definition_digest = definition.digest
        for name, value in (columns or {}).items():
            setattr(group, name, value)
        group.updated_at = call.clock()
        _connect(session, group, definition)


def read_sql(session: Session, organization_id: OrganizationId, text: str) -> Definition:
    """The definition that a query makes; InvalidParameterError says what is wrong with it, and where."""
    query = Query(text)
    groups: dict[str, FeatureGroup] = {}
    for use in query.tables:
        group = find_in_any_case(session, organization_id, use.name)
        if group is None:
            raise InvalidParameterError(f"{use.place}: {unknown_table(session, organization_id, use.name)}")
        groups[use.name] = group
    query.check_columns(_columns(session, groups))
    inputs = {group.feature_group_id: Input(group.feature_group_id, group.table_name) for group in groups.values()}
    engine_sql = query.in_engine_dialect({name: group.table_name for name, group in groups.items()})
    return Definition(inputs=tuple(inputs.values()), sql=text, engine_sql=engine_sql)


def check_table_name(session: Session, organization_id: OrganizationId, name: str) -> None:
    """Refuses a name that is no table name, or is taken; names that differ in case only are the same to queries."""
    creating.check_table_name(name)
    taken = find_in_any_case(session, organization_id, name)
    if taken is not None:
        raise AlreadyExistsError(f"There is a table {taken.table_name} already; choose another name")


def find_in_any_case(session: Session, organization_id: OrganizationId, name: str) -> FeatureGroup | None:
    """The group whose table is called so, capitals or not."""
    same = (FeatureGroup.organization_id == organization_id, func.lower(FeatureGroup.table_name) == name.lower())
    return session.scalars(select(FeatureGroup).where(*same)).first()


def _columns(session: Session, groups: dict[str, FeatureGroup]) -> dict[str, Sequence[str]]:
    """The columns of those tables whose columns are known, by the name that the query writes."""
    ids = [group.feature_group_id for group in groups.values()]
    whole = newest_versions(session, ids, VersionStatus.COMPLETE)
    known: dict[str, Sequence[str]] = {}
    for name, group in groups.items():
        version = whole.get(group.feature_group_id)
        if version is not None and version.definition_digest == group.definition_digest:
            known[name] = [column.name for column in version.manifest.columns]
    return known


def _connect(session: Session, group: FeatureGroup, definition: Definition) -> None:
    for each in definition.inputs:
        if session.get(FeatureGroup, each.feature_group_id) is None:
            raise ConflictError(f"The table {each.table_name} was deleted meanwhile")
    set_inputs(session, group, [each.feature_group_id for each in definition.inputs])
    note_users(
        session, group.organization_id, "feature group", group.feature_group_id, group.table_name,
        modules=definition.modules, function=definition.python_function,
    )  # fmt: skip
