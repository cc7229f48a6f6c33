"""Feature groups and the registered Python functions that they are made by: change, bind, list."""

from typing import Annotated, Any

import msgspec
from sqlalchemy import select

from modelyard.actions import Call, action
from modelyard.errors import (
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
    PermissionDeniedError,
)
from modelyard.feature_groups import registering
from modelyard.feature_groups.functions.reading import Function, read_function, read_sizes
from modelyard.feature_groups.modifying import get_modifiable
from modelyard.feature_groups.records import FeatureGroup, SourceType
from modelyard.feature_groups.shapes import CheckNotes, group_shapes
from modelyard.feature_groups.sizes import CpuSize
from modelyard.feature_groups.wire import FeatureGroupShape
from modelyard.ids import FeatureGroupId
from modelyard.source_code.python_functions import get_function

Bindings = Annotated[
    list[dict[str, Any]] | None, "Values for the function's variables: objects with name, variableType and value."
]
_ERRORS = (
    DataNotFoundError,
    MissingParameterError,
    InvalidParameterError,
    InvalidEnumParameterError,
    PermissionDeniedError,
    ConflictError,
)


@action("PATCH", errors=_ERRORS, own_transaction=True)
def update_feature_group_python_function(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    python_function_name: Annotated[str, "The registered function that makes the rows from now on."],
    python_function_bindings: Bindings = None,
    cpu_size: CpuSize | None = None,
    memory: int | None = None,
    use_gpu: bool | None = None,
    use_original_csv_names: bool | None = None,
) -> None:
    """Has a feature group made by a registered Python function; what is left out, bindings too, stays.

    Its versions stay; the newest is outdated from now on.
    """
    group = _of_python(call, feature_group_id)
    bindings = group.python_function_bindings if python_function_bindings is None else python_function_bindings
    sizes = read_sizes(cpu_size, memory, use_gpu)
    columns: dict[str, Any] = {
        "cpu_size": sizes.cpu_size,
        "memory_gib": sizes.memory_gib,
        "use_gpu": use_gpu,
        "use_original_csv_names": use_original_csv_names,
    }
    tables = [each.table_name for each in group.made_from.inputs if each.binding is None]
    function = Function(
        source=None, name=None, registered=python_function_name, bindings=bindings or [],
        input_tables=tables if python_function_bindings is None else [],
    )  # fmt: skip
    _redefine(call, group, function, bindings, {name: value for name, value in columns.items() if value is not None})


@action("PATCH", errors=_ERRORS, own_transaction=True)
def update_feature_group_python_function_bindings(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    python_function_bindings: Annotated[
        list[dict[str, Any]], "Values for the function's variables, in place of those that there were."
    ],
) -> None:
    """Gives the function of a feature group other values. Its versions stay; the newest is outdated from now on."""
    group = _of_python(call, feature_group_id)
    made_from = group.made_from
    notes = msgspec.convert(group.check_report or {}, CheckNotes)
    function = Function(
        source=made_from.source_code,
        name=made_from.function_name,
        registered=made_from.python_function,
        input_tables=[each.table_name for each in made_from.inputs if each.binding is None],
        bindings=python_function_bindings,
        requirements=notes.requirements,
    )
    _redefine(call, group, function, python_function_bindings, {})


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_python_function_feature_groups(
    call: Call, *, name: Annotated[str, "Name of the Python function."], limit: int = 100
) -> list[FeatureGroupShape]:
    """The feature groups that are made by a registered Python function, oldest first."""
    if limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1")
    get_function(call.session, call.organization_id, name)
    query = select(FeatureGroup).where(
        FeatureGroup.organization_id == call.organization_id, FeatureGroup.python_function_name == name
    )
    query = query.order_by(FeatureGroup.created_at, FeatureGroup.feature_group_id).limit(limit)
    return group_shapes(call.session, call.session.scalars(query).all())


def _of_python(call: Call, feature_group_id: FeatureGroupId) -> FeatureGroup:
    group = get_modifiable(call, feature_group_id)
    if group.source_type != SourceType.PYTHON:
        raise ConflictError(f"Feature group {group.table_name} is made from {group.source_type}, not by a function")
    return group


def _redefine(
    call: Call, group: FeatureGroup, function: Function, bindings: list[dict[str, Any]] | None, columns: dict[str, Any]
) -> None:
    feature_group_id = group.feature_group_id
    definition, notes = read_function(call, function)
    columns |= {
        "python_function_name": definition.python_function,
        "python_function_bindings": bindings,
        "check_report": dict(msgspec.to_builtins(notes)),
    }
    registering.redefine(call, feature_group_id, definition, columns)
