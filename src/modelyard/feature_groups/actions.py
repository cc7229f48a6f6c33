"""Feature groups: define, look, materialise, download, query."""

from typing import Any

import msgspec
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from modelyard.actions import Call, FileBytes, action, while_status
from modelyard.database import Database
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    FailedDependencyError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
    NotReadyError,
    PermissionDeniedError,
)
from modelyard.execution import After
from modelyard.feature_groups import downloads, registering
from modelyard.feature_groups.described import columns_of
from modelyard.feature_groups.functions.reading import Function, read_function, read_sizes
from modelyard.feature_groups.in_projects.membership import get_membership, member_features
from modelyard.feature_groups.lineage import users_of
from modelyard.feature_groups.logs import function_logs
from modelyard.feature_groups.modifying import get_modifiable
from modelyard.feature_groups.online.groups import online_table_of
from modelyard.feature_groups.pruning import forget_group
from modelyard.feature_groups.queries import operations
from modelyard.feature_groups.queries.concatenating import concatenated
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, SourceType
from modelyard.feature_groups.registering import Particulars, read_sql
from modelyard.feature_groups.requests import request_version
from modelyard.feature_groups.schema import group_features
from modelyard.feature_groups.shapes import group_shape, group_shapes, operation_shape, version_shape
from modelyard.feature_groups.sizes import CpuSize
from modelyard.feature_groups.tables import get_feature_group, get_version, unknown_table
from modelyard.feature_groups.wire import (
    FeatureGroupShape,
    FeatureGroupVersionShape,
    FeatureShape,
    FunctionLogsShape,
    OperationShape,
)
from modelyard.ids import FeatureGroupId, FeatureGroupOperationRunId, FeatureGroupVersionId, ProjectId
from modelyard.online_rows.tables import drop_table
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import forget_target
from modelyard.source_code.users import forget_user as forget_source_user

_ROWS_ERRORS = (DataNotFoundError, ConflictError, NotReadyError)
_PART_ERRORS = (DataNotFoundError, ConflictError, NotReadyError, InvalidParameterError)


@action("GET", errors=(DataNotFoundError,))
def describe_feature_group(call: Call, *, feature_group_id: FeatureGroupId) -> FeatureGroupShape:
    """One feature group with its newest version."""
    return group_shape(call.session, get_feature_group(call.session, call.organization_id, feature_group_id))


@action("GET", errors=(DataNotFoundError,))
def describe_feature_group_by_table_name(call: Call, *, table_name: str) -> FeatureGroupShape:
    """The feature group whose table has that name."""
    group = registering.find_in_any_case(call.session, call.organization_id, table_name)
    if group is None:
        raise DataNotFoundError(unknown_table(call.session, call.organization_id, table_name))
    return group_shape(call.session, group)


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_feature_groups(
    call: Call,
    *,
    limit: int | None = None,
    start_after_id: FeatureGroupId | None = None,
    feature_group_template_id: str | None = None,
    is_including_detached_from_template: bool = False,  # noqa: ARG001 - without templates nothing is detached from one
) -> list[FeatureGroupShape]:
    """The organisation's feature groups, oldest first, `limit` of them after `startAfterId`."""
    if feature_group_template_id is not None:
        raise InvalidParameterError("There are no feature group templates here; leave featureGroupTemplateId out")
    query = select(FeatureGroup).where(FeatureGroup.organization_id == call.organization_id)
    if start_after_id is not None:
        after = get_feature_group(call.session, call.organization_id, start_after_id)
        position = (after.created_at, after.feature_group_id)
        query = query.where(tuple_(FeatureGroup.created_at, FeatureGroup.feature_group_id) > position)
    query = query.order_by(FeatureGroup.created_at, FeatureGroup.feature_group_id).limit(_page(call, limit))
    return group_shapes(call.session, call.session.scalars(query).all())


@action("POST", errors=(InvalidParameterError, AlreadyExistsError, ConflictError), own_transaction=True)
def create_feature_group(
    call: Call, *, table_name: str, sql: str, description: str | None = None, version_limit: int = 30
) -> FeatureGroupShape:
    """Creates a feature group from a SELECT statement over other feature groups.

    The statement is read and its tables and columns are looked up; it is run when the group is materialized.
    """
    registering.check_table_name(call.session, call.organization_id, table_name)
    definition = read_sql(call.session, call.organization_id, sql)
    particulars = Particulars(
        table_name=table_name, source_type=SourceType.SQL, description=description, version_limit=version_limit
    )
    return _described(call, registering.create(call, particulars, definition))


@action(
    "POST",
    errors=(
        MissingParameterError,
        InvalidParameterError,
        InvalidEnumParameterError,
        DataNotFoundError,
        AlreadyExistsError,
        ConflictError,
    ),
    own_transaction=True,
)
def create_feature_group_from_function(
    call: Call,
    *,
    table_name: str,
    function_source_code: str | None = None,
    function_name: str | None = None,
    input_feature_groups: list[str] | None = None,
    description: str | None = None,
    cpu_size: CpuSize | None = None,
    memory: int | None = None,
    package_requirements: list[str] | dict[str, str | None] | None = None,
    use_original_csv_names: bool = False,
    python_function_name: str | None = None,
    python_function_bindings: list[dict[str, Any]] | None = None,
    use_gpu: bool | None = None,
    version_limit: int = 30,
) -> FeatureGroupShape:
    """Creates a feature group from a Python function over the tables of other feature groups.

    The function gets a DataFrame for each input table, in order, and returns one. The source is checked, not run.
    `pythonFunctionName` names a registered function instead, whose variables `pythonFunctionBindings` gives values to;
    where a source is given, it is that source which counts.
    """
    registering.check_table_name(call.session, call.organization_id, table_name)
    sizes = read_sizes(cpu_size, memory, use_gpu)
    function = Function(
        source=function_source_code,
        name=function_name,
        registered=python_function_name if function_source_code is None else None,
        input_tables=input_feature_groups or [],
        bindings=python_function_bindings or [],
        requirements=package_requirements,
    )
    definition, notes = read_function(call, function)
    particulars = Particulars(
        table_name=table_name,
        source_type=SourceType.PYTHON,
        description=description,
        version_limit=version_limit,
        sizes=sizes,
        check_report=dict(msgspec.to_builtins(notes)),
        python_function_name=function.registered,
        python_function_bindings=python_function_bindings,
        use_original_csv_names=use_original_csv_names,
    )
    return _described(call, registering.create(call, particulars, definition))


@action("PATCH", errors=(DataNotFoundError, PermissionDeniedError))
def update_feature_group(
    call: Call, *, feature_group_id: FeatureGroupId, description: str | None = None
) -> FeatureGroupShape:
    """Changes the description of a feature group."""
    group = get_modifiable(call, feature_group_id)
    if description is not None:
        group.description, group.updated_at = description, call.clock()
    return group_shape(call.session, group)


@action(
    "PATCH",
    errors=(DataNotFoundError, InvalidParameterError, ConflictError, PermissionDeniedError),
    own_transaction=True,
)
def update_feature_group_sql_definition(call: Call, *, feature_group_id: FeatureGroupId, sql: str) -> FeatureGroupShape:
    """Gives a SQL feature group another statement. Its versions stay; the newest is outdated from now on."""
    group = get_modifiable(call, feature_group_id)
    if group.source_type != SourceType.SQL:
        raise ConflictError(f"Feature group {group.table_name} is made from {group.source_type}, not from SQL")
    own = read_sql(call.session, call.organization_id, sql)
    whole = concatenated(call.session, group, own, group.made_from.concatenation)
    registering.redefine(call, feature_group_id, whole)
    return _described(call, feature_group_id)


@action("DELETE", errors=(DataNotFoundError, ConflictError, PermissionDeniedError))
def delete_feature_group(call: Call, *, feature_group_id: FeatureGroupId) -> None:
    """Deletes a feature group with its versions. One that others stand on is refused with their names."""
    group = get_modifiable(call, feature_group_id)
    if group.dataset_id is not None:
        raise ConflictError(f"{group.table_name} is the table of dataset {group.dataset_id}; delete that instead")
    users = users_of(call.session, feature_group_id)
    if users:
        raise ConflictError(f"Feature group {group.table_name} is used by {', '.join(users)}; delete those first")
    forget_target(call.session, RefreshType.FEATUREGROUP, feature_group_id)
    forget_source_user(call.session, "feature group", feature_group_id)
    forget_group(call.session, group)
    if (table_id := online_table_of(group)) is not None:
        drop_table(call.session, table_id)
    call.session.delete(group)


@action("GET", errors=(DataNotFoundError,))
def get_feature_group_schema(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    project_id: ProjectId | None = None,
) -> list[FeatureShape]:
    """The columns of the newest complete version; none before there is one. With a project, what they are there."""
    if project_id is not None:
        return member_features(call.session, get_membership(call, project_id, feature_group_id))
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    return group_features(group, columns_of(call.session, group))


@action("POST", errors=(DataNotFoundError, InvalidParameterError, ConflictError))
def create_feature_group_version(
    call: Call, *, feature_group_id: FeatureGroupId, variable_bindings: dict[str, Any] | None = None
) -> FeatureGroupVersionShape:
    """Materializes a feature group: a new version, after what it reads has been brought up to date."""
    if variable_bindings:
        raise InvalidParameterError("There are no feature group templates here; leave variableBindings out")
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    return version_shape(request_version(call.session, call.settings, group), group)


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_feature_group_versions(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    limit: int | None = None,
    start_after_version: FeatureGroupVersionId | None = None,
) -> list[FeatureGroupVersionShape]:
    """The versions of a feature group, newest first, `limit` of them after `startAfterVersion`."""
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    query = select(FeatureGroupVersion).where(FeatureGroupVersion.feature_group_id == feature_group_id)
    if start_after_version is not None:
        after = get_version(call.session, call.organization_id, start_after_version)
        query = query.where(FeatureGroupVersion.number < after.number)
    query = query.order_by(FeatureGroupVersion.number.desc()).limit(_page(call, limit))
    return [version_shape(version, group) for version in call.session.scalars(query)]


@action("GET", errors=(DataNotFoundError,), under_way=while_status("PENDING", "GENERATING"))
def describe_feature_group_version(
    call: Call, *, feature_group_version: FeatureGroupVersionId
) -> FeatureGroupVersionShape:
    """One version."""
    version = get_version(call.session, call.organization_id, feature_group_version)
    return version_shape(version, call.session.get_one(FeatureGroup, version.feature_group_id))


@action("GET", errors=(DataNotFoundError,))
def get_materialization_logs(
    call: Call, *, feature_group_version: FeatureGroupVersionId, stdout: bool = False, stderr: bool = False
) -> list[FunctionLogsShape]:
    """What the function of a version printed, and the exception that ended it if one did."""
    version = get_version(call.session, call.organization_id, feature_group_version)
    return [function_logs(call.session, version, stdout=stdout, stderr=stderr)]


@action("GET", name="_getFeatureGroupVersionParts", errors=_ROWS_ERRORS, writes=True)
def get_feature_group_version_parts(call: Call, *, feature_group_version: FeatureGroupVersionId) -> list[str] | After:
    """The Avro parts of a version's rows, one at least. Waits until they have been made."""
    version = get_version(call.session, call.organization_id, feature_group_version)
    return downloads.list_parts(call, downloads.table_of(version, f"Feature group version {feature_group_version}"))


@action("GET", name="_downloadFeatureGroupVersionPartChunk", errors=_PART_ERRORS)
def download_feature_group_version_part_chunk(
    call: Call, *, feature_group_version: FeatureGroupVersionId, part: int, offset: int = 0
) -> FileBytes:
    """Bytes of a part from `offset` on; none past its end."""
    version = get_version(call.session, call.organization_id, feature_group_version)
    table = downloads.table_of(version, f"Feature group version {feature_group_version}")
    return downloads.read_part(call, table, part, offset)


@action("POST", errors=(MissingParameterError, InvalidParameterError, FailedDependencyError), own_transaction=True)
def execute_async_feature_group_operation(
    call: Call, *, query: str, fix_query_on_error: bool = False, use_latest_version: bool = True
) -> OperationShape:
    """Runs a SELECT statement once: over the newest versions, or over what the definitions would give now."""
    if fix_query_on_error:
        raise InvalidParameterError("Queries are not changed here; pass fixQueryOnError false")
    definition = read_sql(call.session, call.organization_id, query)
    with call.parts.get(Database).write() as session:
        return operation_shape(operations.start(session, call, query, definition, latest=use_latest_version))


@action("POST", errors=(DataNotFoundError,), writes=False, under_way=while_status("PENDING", "GENERATING"))
def describe_async_feature_group_operation(
    call: Call, *, feature_group_operation_run_id: FeatureGroupOperationRunId
) -> OperationShape:
    """How far a query has come."""
    return operation_shape(operations.get_operation(call.session, call.organization_id, feature_group_operation_run_id))


@action("POST", name="_getExecuteFeatureGroupOperationResultParts", errors=_ROWS_ERRORS)
def get_execute_feature_group_operation_result_parts(
    call: Call, *, feature_group_operation_run_id: FeatureGroupOperationRunId
) -> list[str] | After:
    """The Avro parts of a query's rows, one at least. Waits until they have been made."""
    operation = operations.get_operation(call.session, call.organization_id, feature_group_operation_run_id)
    return downloads.list_parts(call, downloads.table_of(operation, f"Query {feature_group_operation_run_id}"))


@action("GET", errors=_ROWS_ERRORS, writes=True)
def get_execute_feature_group_operation_result_part_count(
    call: Call, *, feature_group_operation_run_id: FeatureGroupOperationRunId
) -> int | After:
    """How many Avro parts a query's rows have, one at least. Waits until they have been made."""
    operation = operations.get_operation(call.session, call.organization_id, feature_group_operation_run_id)
    found = downloads.list_parts(call, downloads.table_of(operation, f"Query {feature_group_operation_run_id}"))
    return found if isinstance(found, After) else len(found)


@action("GET", errors=_PART_ERRORS)
def download_execute_feature_group_operation_result_part_chunk(
    call: Call,
    *,
    feature_group_operation_run_id: FeatureGroupOperationRunId,
    part: int,
    offset: int = 0,
    chunk_size: int = 10485760,
) -> FileBytes:
    """Bytes of a part from `offset` on, `chunkSize` of them at most; none past its end."""
    operation = operations.get_operation(call.session, call.organization_id, feature_group_operation_run_id)
    table = downloads.table_of(operation, f"Query {feature_group_operation_run_id}")
    return downloads.read_part(call, table, part, offset, chunk_size)


def _described(call: Call, feature_group_id: FeatureGroupId) -> FeatureGroupShape:
    with call.parts.get(Database).read() as session:
        return _shape(session, call, feature_group_id)


def _shape(session: Session, call: Call, feature_group_id: FeatureGroupId) -> FeatureGroupShape:
    return group_shape(session, get_feature_group(session, call.organization_id, feature_group_id))


def _page(call: Call, limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1")
    return limit or call.settings.page_size
